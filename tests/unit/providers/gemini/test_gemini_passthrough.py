"""Google's clients at Gemini itself: bytes pass through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gemini_wire import BASE_URL, MODEL, PROVIDER, SIGNATURE, make_call, sample
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.errors import RequestError
from ownkey.providers.conversation import Seal
from ownkey.providers.dialect import AnswerFailed, StreamDecoder
from ownkey.providers.gemini.passthrough import GeminiPassthrough
from ownkey.providers.gemini.signatures import UNSIGNED
from ownkey.providers.seals import write_seal
from ownkey.providers.sse import split_events

ADAPTER = GeminiPassthrough()
FOREIGN = write_seal(Seal(Dialect.ANTHROPIC_MESSAGES, "ErUB+/="), Dialect.GEMINI)
# As one that was wrapped for another reason would be: the same dialect, but with more than its data.
OWN = write_seal(Seal(Dialect.GEMINI, SIGNATURE, id="x"), Dialect.GEMINI)


def encode(body: bytes, **fields: Any) -> Any:
    return ADAPTER.encode(PROVIDER, BASE_URL, make_call(body, **fields))


def decoder(body: bytes = b'{"contents":[]}') -> StreamDecoder:
    return ADAPTER.stream_decoder(PROVIDER, make_call(body, stream=True))


def test_the_body_is_not_touched() -> None:
    body = b'{ "contents" : [ {"parts":[{"text":"\\u0048i"}]} ], "anything": 1.50 }'
    request = encode(body, stream=True)
    assert request.body == body
    assert request.url == f"{BASE_URL}/models/{MODEL}:streamGenerateContent?alt=sse"
    assert request.auth_header == ("x-goog-api-key", "")
    assert encode(body).url.endswith(":generateContent")


def test_other_dialects_seals_come_out() -> None:
    parts = [
        {"text": "Hm.", "thought": True, "thoughtSignature": FOREIGN},
        {"text": "", "thoughtSignature": FOREIGN},
        {"text": "So.", "thought_signature": FOREIGN.replace("+", "-").replace("/", "_")},
        {"functionCall": {"name": "f"}, "thoughtSignature": FOREIGN},
        {"function_call": {"name": "g"}, "thought_signature": OWN},
        {"functionCall": {"name": "h"}, "thoughtSignature": SIGNATURE},
    ]
    body = {
        "contents": [
            {"role": "user", "parts": {"text": "Hi"}},
            {"role": "model", "parts": [parts[0]]},
            {"role": "model", "parts": parts},
        ]
    }
    cleaned = json.loads(encode(json.dumps(body).encode()).body)
    assert cleaned["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "So."},
                {"functionCall": {"name": "f"}, "thoughtSignature": UNSIGNED},
                {"function_call": {"name": "g"}, "thought_signature": SIGNATURE},
                {"functionCall": {"name": "h"}, "thoughtSignature": SIGNATURE},
            ],
        }
    ]
    assert cleaned["contents"][0]["parts"] in ({"text": "Hi"}, [{"text": "Hi"}])
    counted = json.dumps({"generateContentRequest": {"model": "models/x", **body}}).encode()
    inner = json.loads(encode(counted, operation="count_tokens").body)["generateContentRequest"]
    assert inner == {"model": f"models/{MODEL}", **cleaned}


def test_embeddings_and_counts_repeat_the_model() -> None:
    single = encode(b'{"model":"models/x","content":{"parts":[{"text":"a"}]}}', operation="embeddings")
    assert single.url == f"{BASE_URL}/models/{MODEL}:embedContent"
    assert json.loads(single.body)["model"] == f"models/{MODEL}"
    batch = encode(b'{"requests":[{"model":"models/x","content":{}},{"content":{}}]}', operation="embeddings")
    assert batch.url.endswith(":batchEmbedContents")
    assert [request["model"] for request in json.loads(batch.body)["requests"]] == [f"models/{MODEL}"] * 2
    bare = encode(b'{"contents":[]}', operation="count_tokens")
    assert bare.url.endswith(":countTokens")
    assert bare.body == b'{"contents":[]}'


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"requests":5}'])
def test_what_is_no_request_for_embeddings(body: bytes) -> None:
    with pytest.raises(RequestError):
        encode(body, operation="embeddings")
    with pytest.raises(RequestError):
        encode(b"{}", operation="images")


@pytest.mark.parametrize(
    ("name", "finish", "tokens"),
    [
        ("text", "stop", Tokens(input_uncached=9, output_text=14)),
        ("tools", "tool_calls", Tokens(input_uncached=80, output_text=28, output_reasoning=30)),
        ("length", "length", Tokens(input_uncached=5, output_text=3)),
        ("blocked", "content_filter", Tokens(input_uncached=12)),
        ("recitation", "content_filter", Tokens(input_uncached=7)),
        ("malformed", "stop", Tokens(input_uncached=50, output_reasoning=33)),
    ],
)
def test_whole_answers(name: str, finish: str, tokens: Tokens) -> None:
    body = sample(f"{name}.json")
    decoded = ADAPTER.decode(body, make_call())
    assert decoded.body is body
    assert decoded.tokens == tokens
    assert decoded.finish_reason == finish
    assert b"promptTokenCount" in (decoded.raw_usage or b"")


def test_other_answers() -> None:
    decoded = ADAPTER.decode(
        b'{"embeddings":[{"values":[1]}],"usageMetadata":{"promptTokenCount":3}}', make_call(operation="embeddings")
    )
    assert decoded.tokens == Tokens(input_uncached=3)
    assert ADAPTER.decode(b'{"embedding":{"values":[1]}}', make_call(operation="embeddings")).tokens is None
    assert ADAPTER.decode(b'{"totalTokens":3}', make_call(operation="count_tokens")).body == b'{"totalTokens":3}'


@pytest.mark.parametrize("operation", ["chat", "embeddings", "count_tokens"])
def test_what_is_no_answer(operation: str) -> None:
    call = make_call(operation=operation)
    for body in (b"", b"{}", b"[]", b"[" * 100_000):
        with pytest.raises(ValueError, match=r"answer|count"):
            ADAPTER.decode(body, call)
    with pytest.raises(AnswerFailed) as caught:
        ADAPTER.decode(b'{"error":{"code":404,"status":"NOT_FOUND"}}', call)
    assert caught.value.failure.outcome is Outcome.MODEL_UNAVAILABLE


STREAMS = {
    "text": "stop",
    "thinking": "stop",
    "tools": "tool_calls",
    "tools_without_ids": "tool_calls",
    "length": "length",
    "blocked": "content_filter",
    "safety": "content_filter",
    "grounding": "stop",
    "unspecified": "stop",
    "usage_after": "stop",
    "malformed": "stop",
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_stream_passes_unchanged_and_is_understood(name: str, size: int) -> None:
    data = sample(f"{name}.sse")
    stream = decoder()
    output = b"".join(stream.feed(data[at : at + size]) for at in range(0, len(data), size)) + stream.finish()
    assert output == data
    assert stream.complete
    assert stream.committed
    assert stream.failure is None
    assert stream.finish_reason == STREAMS[name]
    assert stream.tokens is not None
    assert stream.raw_usage is not None


def test_nothing_goes_out_before_the_first_content() -> None:
    stream = decoder()
    start = b'data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"}}]}\n\n'
    assert stream.feed(start) == b""
    assert not stream.committed
    text = b'data: {"candidates":[{"content":{"parts":[{"text":"So"}],"role":"model"}}]}\n\n'
    assert stream.feed(text) == start + text
    assert stream.committed
    assert not stream.complete


def test_usage_of_a_cut_stream_is_that_of_the_last_event() -> None:
    stream = decoder()
    data = sample("cut.sse")
    output = stream.feed(data) + stream.finish()
    assert not stream.complete
    assert stream.failure is None
    assert stream.tokens == Tokens(input_uncached=9, output_text=2)
    assert output == data[: data.rindex(b"data:")]


@pytest.mark.parametrize("name", ["error_later", "error_first", "error_bare", "error_in_list"])
def test_errors_are_not_passed_on(name: str) -> None:
    stream = decoder()
    output = stream.feed(sample(f"{name}.sse")) + stream.finish()
    assert stream.failure is not None
    assert stream.failure.outcome is Outcome.OVERLOADED
    assert b"error" not in output
    assert stream.committed is (name == "error_later")
    assert bool(output) is (name == "error_later")
    broken = stream.break_off(Failure(outcome=Outcome.RATE_LIMITED, message="Slow down"))
    assert broken.startswith(b'data: {"error":{"code":429,')


def test_an_event_without_its_empty_line_is_one_all_the_same() -> None:
    stream = decoder()
    data = sample("no_last_line_end.sse")
    assert stream.feed(data) + stream.finish() == data + b"\n\n"
    assert stream.complete


def test_every_candidate_must_end() -> None:
    event = 'data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP","index":%d}],%s}\n\n'
    usage = '"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}'
    for name in ("candidateCount", "candidate_count"):
        stream = decoder(b'{"contents":[],"generationConfig":{"%b":2}}' % name.encode())
        stream.feed((event % (0, usage)).encode())
        assert not stream.complete
        stream.feed((event % (1, usage)).encode())
        assert stream.complete


def test_what_is_not_for_us_to_judge_is_passed_on() -> None:
    stream = decoder()
    data = split_events(sample("text.sse"))
    strange = b"data: strange\n\n"
    assert stream.feed(data[0]) + stream.feed(strange) == data[0] + strange
    stream = decoder()
    stream.feed(b'data: {"x":' + b"[" * 100_000 + b"\n\n")
    assert stream.failure is not None
    silent = decoder()
    held = b": nothing\n\n" * 100_000
    assert silent.feed(held) == held


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(1, 500), max_size=20))
def test_any_cut_passes(name: str, sizes: list[int]) -> None:
    data = sample(f"{name}.sse")
    stream, output, rest = decoder(), b"", data
    for size in sizes:
        output += stream.feed(rest[:size])
        rest = rest[size:]
    assert output + stream.feed(rest) + stream.finish() == data
    assert stream.complete


def test_failures_are_read_by_googles_codes() -> None:
    body = b'[{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]'
    assert ADAPTER.read_failure(400, {}, body).outcome is Outcome.AUTH_INVALID
