"""OpenAI's streams pass through byte for byte; usage, errors and ends are seen on the way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_reading import SAMPLES, cut, decode, decoder_for, sample, text

from ownkey.domain.usage import Outcome, Tokens

DONE = b"data: [DONE]\n\n"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.sse") if not path.stem.startswith("anthropic"))


def tokens(uncached: int, read: int, text_tokens: int, reasoning: int) -> Tokens:
    return Tokens(input_uncached=uncached, cache_read=read, output_text=text_tokens, output_reasoning=reasoning)


@pytest.mark.parametrize(
    ("name", "finish_reason", "counted"),
    [
        ("openai", "stop", tokens(15, 4, 7, 3)),
        ("openai_tools", "tool_calls", tokens(15, 4, 7, 3)),
        ("azure", "stop", tokens(15, 4, 7, 3)),
        ("groq", "stop", tokens(19, 0, 10, 0)),
        ("mistral", "stop", tokens(19, 0, 10, 0)),
        ("gemini", "stop", tokens(19, 0, 10, 25)),
        ("deepseek", "stop", tokens(3, 16, 6, 4)),
        ("openrouter", "stop", tokens(15, 4, 7, 3)),
        ("crlf", "stop", tokens(15, 4, 7, 3)),
        ("cr", "stop", tokens(15, 4, 7, 3)),
        ("spaced", "stop", tokens(15, 4, 7, 3)),
        ("no_space", "stop", tokens(15, 4, 7, 3)),
        ("no_done", "length", None),
        ("no_last_line_end", "stop", None),
        ("done_then_comment", None, None),
    ],
)
def test_a_stream_that_ends_well(name: str, finish_reason: str | None, counted: Tokens | None) -> None:
    decoder = decoder_for(name)
    output = decode(decoder, [sample(name)])

    assert decoder.failure is None
    assert decoder.committed
    assert decoder.complete
    assert decoder.finish_reason == finish_reason
    assert decoder.tokens == counted
    assert (decoder.raw_usage is not None) is (counted is not None)
    assert output.count(b"[DONE]") == sample(name).count(b"[DONE]") or output.endswith(DONE)
    assert name == "openai_tools" or text(output)


@pytest.mark.parametrize("name", ["openai", "openai_tools", "azure", "crlf", "cr", "spaced", "no_space"])
def test_a_client_that_asked_for_usage_gets_every_byte(name: str) -> None:
    assert decode(decoder_for(name, wants_usage=True), [sample(name)]) == sample(name)


@pytest.mark.parametrize("name", ["openai", "openai_tools", "azure", "crlf", "cr", "spaced", "no_space"])
def test_a_client_that_did_not_ask_gets_every_byte_but_the_usage_chunk(name: str) -> None:
    data = sample(name)
    end = b"\r\n\r\n" if name == "crlf" else b"\r\r" if name == "cr" else b"\n\n"
    events = data.split(end)
    expected = end.join(event for event in events if b'"choices":[],"usage"' not in event.replace(b" ", b""))
    assert len(expected) < len(data)

    assert decode(decoder_for(name), [data]) == expected


@pytest.mark.parametrize("name", ["groq", "mistral", "gemini", "deepseek", "openrouter"])
def test_usage_that_comes_with_a_choice_stays(name: str) -> None:
    assert decode(decoder_for(name), [sample(name)]) == sample(name)


@given(st.sampled_from(NAMES), st.booleans(), st.lists(st.integers(0, 10_000), max_size=10))
def test_where_the_network_cuts_makes_no_difference(name: str, wants_usage: bool, places: list[int]) -> None:
    whole, pieces = decoder_for(name, wants_usage=wants_usage), decoder_for(name, wants_usage=wants_usage)

    at_once = decode(whole, [sample(name)])
    in_pieces = decode(pieces, cut(sample(name), places))

    if whole.failure is None:
        assert in_pieces == at_once
    else:
        # What came before the error may or may not have gone out already.
        assert in_pieces.startswith(at_once)
    for attribute in ("complete", "failure", "tokens", "raw_usage", "finish_reason"):
        assert getattr(pieces, attribute) == getattr(whole, attribute), attribute


@pytest.mark.parametrize("name", NAMES)
def test_byte_by_byte(name: str) -> None:
    one, other = decoder_for(name), decoder_for(name)
    data = sample(name)

    output = decode(one, [data[index : index + 1] for index in range(len(data))])

    assert output.startswith(decode(other, [data]))
    assert (one.complete, one.failure, one.tokens) == (other.complete, other.failure, other.tokens)


def test_nothing_goes_out_before_the_first_content() -> None:
    decoder = decoder_for("openai")
    events = [event + b"\n\n" for event in sample("openai").split(b"\n\n")]

    assert decoder.feed(events[0]) == b""
    assert not decoder.committed
    assert decoder.feed(events[1]) == events[0] + events[1]
    assert decoder.committed
    assert decoder.feed(events[2]) == events[2]


@pytest.mark.parametrize(
    "delta",
    [
        '{"content":"x"}',
        '{"reasoning_content":"x"}',
        '{"reasoning":"x"}',
        '{"refusal":"x"}',
        '{"tool_calls":[{"index":0}]}',
        '{"content":[{"type":"thinking"}]}',
        '{"audio":{"id":"a"}}',
    ],
)
def test_what_counts_as_content(delta: str) -> None:
    decoder = decoder_for("openai")
    event = f'data: {{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}\n\n'.encode()

    assert decoder.feed(event) == event
    assert decoder.committed


@pytest.mark.parametrize(
    "delta", ["{}", '{"content":""}', '{"content":null}', '{"tool_calls":[]}', '{"role":"assistant"}']
)
def test_what_does_not(delta: str) -> None:
    decoder = decoder_for("openai")

    assert decoder.feed(f'data: {{"choices":[{{"delta":{delta}}}]}}\n\n'.encode()) == b""
    assert not decoder.committed


@pytest.mark.parametrize(
    ("name", "outcome", "committed"),
    [
        ("openai_error_first", Outcome.OVERLOADED, False),
        ("vllm_error", Outcome.OVERLOADED, False),
        ("openrouter_error", Outcome.OVERLOADED, True),
        ("groq_error", Outcome.OVERLOADED, True),
    ],
)
def test_an_error_inside_the_stream(name: str, outcome: Outcome, committed: bool) -> None:
    decoder = decoder_for(name)
    data = sample(name)
    pieces = [event + b"\n\n" for event in data.split(b"\n\n") if event]

    output = decode(decoder, pieces)

    assert decoder.failure is not None
    assert decoder.failure.outcome == outcome
    assert decoder.failure.message
    assert decoder.committed is committed
    assert not decoder.complete
    assert b"error" not in output
    assert b"[DONE]" not in output
    assert bool(output) is committed


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"error":{"message":"Slow down","code":429}}', Outcome.RATE_LIMITED),
        (b'[{"error":{"code":503,"message":"Overloaded","status":"UNAVAILABLE"}}]\n', Outcome.OVERLOADED),
    ],
)
def test_an_error_instead_of_a_stream(body: bytes, outcome: Outcome) -> None:
    decoder = decoder_for("openai")

    assert decode(decoder, [body]) == b""
    assert decoder.failure is not None
    assert decoder.failure.outcome is outcome


def test_an_error_may_tell_what_it_has_cost() -> None:
    decoder = decoder_for("openai")
    failed = b'data: {"choices":[],"error":{"code":502,"message":"gone"},"usage":{"prompt_tokens":3}}\n\n'

    assert decode(decoder, [failed]) == b""
    assert decoder.failure is not None
    assert decoder.tokens == tokens(3, 0, 0, 0)


@pytest.mark.parametrize("name", ["openai_cut", "xai_cut", "two_choices_cut", "only_comments"])
def test_a_stream_that_breaks_off_is_not_complete(name: str) -> None:
    decoder = decoder_for(name, body=b'{"n":2}' if name == "two_choices_cut" else b"{}")
    output = decode(decoder, [sample(name)])

    assert not decoder.complete
    assert decoder.failure is None
    assert b"[DONE]" not in output
    assert not output.endswith(b"choi")


def test_a_broken_stream_keeps_the_usage_that_it_reported() -> None:
    decoder = decoder_for("xai_cut")
    pieces = [event + b"\n\n" for event in sample("xai_cut").split(b"\n\n") if event]
    for piece in pieces:
        decoder.feed(piece)

    assert decoder.tokens == tokens(19, 0, 2, 40)
    assert decoder.raw_usage is not None


def test_a_provider_without_done_gets_one() -> None:
    assert decode(decoder_for("no_done"), [sample("no_done")]) == sample("no_done") + DONE


def test_an_answer_of_nothing_is_still_an_answer() -> None:
    decoder = decoder_for("openai")
    data = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    assert decode(decoder, [data]) == data
    assert decoder.committed
    assert decoder.complete


def test_a_provider_that_never_gets_to_the_point_is_let_through() -> None:
    decoder = decoder_for("openai")
    comment = b": " + b"x" * 1000 + b"\n\n"

    output = b"".join(decoder.feed(comment) for _ in range(2000))

    assert decoder.committed
    assert output == comment * 2000


def test_an_endless_event_is_a_broken_stream() -> None:
    decoder = decoder_for("openai")
    piece = b"x" * (1 << 20)
    for _ in range(17):
        assert decoder.feed(piece) == b""

    assert decoder.failure is not None
    assert decoder.failure.outcome is Outcome.STREAM_BROKEN


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_can_break_the_decoder(pieces: list[bytes]) -> None:
    decoder = decoder_for("openai")

    output = decode(decoder, pieces)

    assert b"".join(pieces).startswith(output.removesuffix(DONE)) or decoder.failure is not None


CONTENT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize("after", [b": end\n\n", b"event: end\n\n", b": a\n\n: b\n\n", b"\n", b"data: {}\n\n"])
@pytest.mark.parametrize("together", [True, False])
def test_a_comment_after_the_end_changes_nothing(after: bytes, together: bool) -> None:
    decoder = decoder_for("openai")
    decoder.feed(CONTENT)
    pieces = [CONTENT + DONE + after] if together else [CONTENT, DONE, after]
    output = decode(decoder, [*pieces, b": ping\n\n", b": ping\n\n"])

    assert decoder.complete
    assert decoder.failure is None
    assert output.count(b"[DONE]") == 1


@pytest.mark.parametrize("reason", ["stop\nX-Evil: 1", "x" * 41, "so so", "ключ"])
def test_a_reason_that_is_no_word_is_not_noted(reason: str) -> None:
    decoder = decoder_for("openai")
    chunk = CONTENT.replace(b"null", json.dumps(reason).encode())

    assert decode(decoder, [chunk, DONE]) == chunk + DONE
    assert decoder.complete
    assert decoder.finish_reason is None
