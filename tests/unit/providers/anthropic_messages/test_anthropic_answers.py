"""Claude's answers and streams become what an OpenAI client expects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from claude_wire import CHAT as ADAPTER
from claude_wire import NAMES, chat_call, chat_decoder, chunks, cut, decode, events, sample
from claude_wire import chat_text as text
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.dialect import AnswerFailed, Decoded

CALL = chat_call()
TOKENS = Tokens(input_uncached=19, cache_read=4, cache_write=7, output_text=7, output_reasoning=3)
USAGE = {
    "input_tokens": 19,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 7,
    "output_tokens": 10,
    "output_tokens_details": {"thinking_tokens": 3},
    "service_tier": "standard",
}
OPENAI_USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 10,
    "total_tokens": 40,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 7},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def answer(content: list[dict[str, Any]], stop_reason: str | None = "end_turn", **fields: Any) -> Decoded:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": USAGE,
        **fields,
    }
    return ADAPTER.decode(json.dumps(body).encode(), CALL)


def without_time(output: bytes) -> list[dict[str, Any]]:
    """The chunks without the second in which they were made."""
    return [{key: value for key, value in chunk.items() if key != "created"} for chunk in chunks(output)]


def test_a_whole_answer() -> None:
    decoded = answer([{"type": "text", "text": "Hi "}, {"type": "text", "text": "you", "citations": None}])
    completion = json.loads(decoded.body)

    assert completion.pop("created") > 1_700_000_000
    assert completion == {
        "id": "msg_1",
        "object": "chat.completion",
        "model": "claude-sonnet-5-5",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi you", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": OPENAI_USAGE,
    }
    assert decoded.tokens == TOKENS
    assert json.loads(decoded.raw_usage or b"") == USAGE
    assert decoded.finish_reason == "stop"


def test_tool_calls_and_thinking() -> None:
    message = json.loads(
        answer(
            [
                {"type": "thinking", "thinking": "Hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "café"}},
                {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
            ],
            "tool_use",
        ).body
    )["choices"][0]["message"]

    assert message["content"] is None
    assert message["reasoning_content"] == "Hm"
    assert [(call["id"], call["function"]["name"]) for call in message["tool_calls"]] == [
        ("toolu_1", "look"),
        ("toolu_2", "now"),
    ]
    assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [{"at": "café"}, {}]


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("a_new_reason", "stop"),
    ],
)
def test_why_an_answer_ended(stop_reason: str, finish_reason: str) -> None:
    decoded = answer([], stop_reason)

    assert decoded.finish_reason == finish_reason
    assert json.loads(decoded.body)["choices"][0]["finish_reason"] == finish_reason


def test_an_error_that_came_as_a_success() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(AnswerFailed) as caught:
        ADAPTER.decode(json.dumps(body).encode(), CALL)
    assert caught.value.failure.outcome is Outcome.OVERLOADED


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"type":"message"}', b"<html>", b"\xff"])
def test_another_kind_of_body_is_not_an_answer(body: bytes) -> None:
    with pytest.raises(ValueError):
        ADAPTER.decode(body, CALL)


def test_a_text_stream() -> None:
    decoder = chat_decoder()
    output = decode(decoder, [sample("anthropic")])
    base = {"id": "msg_014p7gG3", "object": "chat.completion.chunk", "model": "claude-sonnet-5-5"}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**base, "choices": [choice]}

    assert without_time(output) == [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": "Hello"}),
        chunk({"content": ' "wörld"\n\u2028[DONE]'}),
        chunk({}, "stop"),
    ]
    assert output.endswith(b"data: [DONE]\n\n")
    assert (decoder.committed, decoder.complete, decoder.failure) == (True, True, None)
    assert (decoder.tokens, decoder.finish_reason) == (TOKENS, "stop")
    assert json.loads(decoder.raw_usage or b"")["output_tokens"] == 10


def test_usage_comes_last_for_those_who_asked() -> None:
    usual = without_time(decode(chat_decoder(), [sample("anthropic")]))
    asked = without_time(decode(chat_decoder(wants_usage=True), [sample("anthropic")]))

    assert [{**chunk, "usage": None} for chunk in usual] == asked[:-1]
    assert (asked[-1]["choices"], asked[-1]["usage"]) == ([], OPENAI_USAGE)


def test_thinking_is_reasoning_content() -> None:
    output = decode(chat_decoder(), [sample("anthropic_thinking")])

    assert (text(output, "reasoning_content"), text(output)) == ("Hm", "Hi")
    assert b"EqQB" not in output


def test_parallel_tool_calls_in_a_stream() -> None:
    decoder = chat_decoder()
    output = decode(decoder, [sample("anthropic_tools")])
    calls: dict[int, dict[str, str]] = {}
    for chunk in chunks(output):
        for part in chunk["choices"][0]["delta"].get("tool_calls", ()):
            call = calls.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
            call["id"] += part.get("id", "")
            call["name"] += part["function"].get("name", "")
            call["arguments"] += part["function"]["arguments"]

    assert calls == {
        0: {"id": "toolu_1", "name": "get_weather", "arguments": '{"city": "Paris"}'},
        1: {"id": "toolu_2", "name": "now", "arguments": "{}"},
    }
    assert decoder.finish_reason == "tool_calls"


def test_nothing_goes_out_before_the_first_content() -> None:
    decoder = chat_decoder()
    events = [event + b"\n\n" for event in sample("anthropic").split(b"\n\n")]

    assert b"".join(map(decoder.feed, events[:3])) == b""
    assert not decoder.committed
    assert text(decoder.feed(events[3])) == "Hello"
    assert decoder.committed
    # From then on a ping keeps the client's connection alive.
    assert decoder.feed(events[4]) == b": ping\n\n"


def test_an_error_before_content_leaves_room_for_another_provider() -> None:
    decoder = chat_decoder()

    assert decode(decoder, [sample("anthropic_error_first")]) == b""
    assert not decoder.committed
    assert decoder.failure is not None
    assert decoder.failure.outcome is Outcome.OVERLOADED
    assert decoder.tokens is not None  # the input was counted and is billed


def test_an_error_after_content() -> None:
    decoder = chat_decoder()
    output = decode(decoder, [sample("anthropic_error_later")])

    assert text(output) == "Hel"
    assert decoder.failure is not None
    assert not decoder.complete
    assert b"[DONE]" not in output


def test_a_refusal_is_an_answer() -> None:
    decoder = chat_decoder()
    output = decode(decoder, [sample("anthropic_refusal")])

    assert decoder.complete
    assert chunks(output)[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    decoder = chat_decoder()
    output = decode(decoder, [sample("anthropic_cut")])

    assert (decoder.complete, decoder.failure) == (False, None)
    assert b"[DONE]" not in output
    assert decoder.tokens is not None


def test_events_of_tomorrow_are_ignored() -> None:
    decoder = chat_decoder()
    output = decode(decoder, [sample("anthropic_new_events")])

    assert text(output) == "Hi"
    assert decoder.complete
    assert decoder.finish_reason == "stop"


@given(st.sampled_from(NAMES), st.booleans(), st.lists(st.integers(0, 10_000), max_size=10))
def test_where_the_network_cuts_makes_no_difference(name: str, wants_usage: bool, places: list[int]) -> None:
    whole, pieces = chat_decoder(wants_usage=wants_usage), chat_decoder(wants_usage=wants_usage)

    at_once = decode(whole, [sample(name)])
    in_pieces = decode(pieces, cut(sample(name), places))

    assert without_time(in_pieces) == without_time(at_once)
    assert in_pieces.endswith(b"data: [DONE]\n\n") is at_once.endswith(b"data: [DONE]\n\n") is whole.complete
    for attribute in ("committed", "complete", "failure", "tokens", "raw_usage", "finish_reason"):
        assert getattr(pieces, attribute) == getattr(whole, attribute), attribute


@pytest.mark.parametrize("name", NAMES)
def test_crlf_streams_are_the_same(name: str) -> None:
    data = sample(name)

    crlf = decode(chat_decoder(), [data.replace(b"\n", b"\r\n")])
    assert without_time(crlf) == without_time(decode(chat_decoder(), [data]))


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_can_break_the_decoder(pieces: list[bytes]) -> None:
    assert decode(chat_decoder(), pieces) in (b"", b": ping\n\n")


START = {
    "type": "message_start",
    "message": {"id": "m", "model": "c", "usage": {"input_tokens": 3, "output_tokens": 0}},
}
STOP = {"type": "message_stop"}


def test_a_tool_whose_input_came_at_once() -> None:
    block = {"type": "tool_use", "id": "t", "name": "look", "input": {"at": "café"}}
    output = decode(
        chat_decoder(),
        [
            events(
                START,
                {"type": "content_block_start", "index": 0, "content_block": block},
                {"type": "content_block_stop", "index": 0},
                STOP,
            )
        ],
    )
    parts = [part for chunk in chunks(output) for part in chunk["choices"][0]["delta"].get("tool_calls", ())]

    assert json.loads("".join(part["function"]["arguments"] for part in parts)) == {"at": "café"}


def test_text_that_came_with_the_start_of_its_block() -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}}

    assert text(decode(chat_decoder(), [events(START, block, STOP)])) == "Hi"


def test_an_answer_of_nothing_is_still_an_answer() -> None:
    decoder = chat_decoder()
    output = decode(decoder, [events(START, STOP)])

    assert decoder.complete
    assert chunks(output)[-1]["choices"][0]["finish_reason"] == "stop"
    assert output.endswith(b"data: [DONE]\n\n")


def test_what_cannot_be_read_is_passed_over() -> None:
    odd = (
        b"data: {broken\n\n: comment\n\n"
        + events({"type": "content_block_start"}, {"type": "content_block_delta"}, {"type": "message_delta"})
        + events({"type": "content_block_delta", "index": 9, "delta": {"partial_json": "{}"}})
        + events({"type": "message_delta", "delta": {}, "usage": []})
    )
    decoder = chat_decoder()

    assert decode(decoder, [odd]) == b""
    assert decoder.failure is None


def test_nothing_follows_the_end_or_an_error() -> None:
    ended, failed = chat_decoder(), chat_decoder()
    decode(ended, [sample("anthropic")])
    decode(failed, [sample("anthropic_error_later")])

    assert ended.feed(sample("anthropic")) == b""
    assert failed.feed(sample("anthropic")) == b""


def test_an_endless_event_is_a_broken_stream() -> None:
    decoder = chat_decoder()
    for _ in range(17):
        assert decoder.feed(b"x" * (1 << 20)) == b""

    assert decoder.failure is not None
    assert decoder.failure.outcome is Outcome.STREAM_BROKEN


@pytest.mark.parametrize("reason", ["key sk-1\n", "x" * 41])
def test_a_reason_that_claude_made_up_is_not_noted_in_its_words(reason: str) -> None:
    decoder = chat_decoder()
    decode(decoder, [events(START, {"type": "message_delta", "delta": {"stop_reason": reason}}, STOP)])

    assert (decoder.finish_reason, answer([], reason).finish_reason) == ("stop", "stop")


WEB = {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "encrypted_index": "E"}
PLACE = {"type": "char_location", "cited_text": "x", "document_index": 0}


def test_sources_on_the_web_become_annotations() -> None:
    whole = json.loads(answer([{"type": "text", "text": "Hi you", "citations": [WEB, PLACE]}]).body)
    annotations = whole["choices"][0]["message"]["annotations"]
    streamed = decode(
        chat_decoder(),
        [
            events(
                START,
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi you"}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": WEB}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": PLACE}},
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
                STOP,
            )
        ],
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(streamed)]

    assert [annotation["url_citation"]["url"] for annotation in annotations] == ["https://a.test"]
    assert [delta["annotations"] for delta in deltas if "annotations" in delta] == [annotations]


def test_the_words_of_a_refusal() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    whole = json.loads(answer([{"type": "text", "text": "Well,"}], "refusal", stop_details=details).body)
    streamed = decode(
        chat_decoder(),
        [events(START, {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}}, STOP)],
    )

    assert whole["choices"][0]["message"]["refusal"] == "Not this."
    assert text(streamed, "refusal") == "Not this."


def test_blocks_of_server_tools_are_passed_over() -> None:
    """Nobody asked for them in another dialect; they leave no gap."""
    output = decode(
        chat_decoder(),
        [
            events(
                START,
                {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use", "id": "s"}},
                {"type": "content_block_delta", "index": 0, "delta": {"partial_json": "{}"}},
                {"type": "content_block_stop", "index": 0},
                {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "Hi"}},
                {"type": "content_block_stop", "index": 1},
                STOP,
            )
        ],
    )

    assert text(output) == "Hi"
    assert not any("tool_calls" in chunk["choices"][0]["delta"] for chunk in chunks(output))


def test_a_stream_that_never_stopped_its_blocks() -> None:
    block = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    output = decode(
        chat_decoder(),
        [
            events(
                START,
                {"type": "content_block_start", "index": 0, "content_block": block},
                {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
                STOP,
            )
        ],
    )
    parts = [part for chunk in chunks(output) for part in chunk["choices"][0]["delta"].get("tool_calls", ())]

    assert "".join(part["function"]["arguments"] for part in parts) == "{}"


def test_an_error_that_came_instead_of_a_stream() -> None:
    decoder = chat_decoder()

    assert decode(decoder, [b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}']) == b""
    assert decoder.failure is not None
    assert decoder.failure.outcome is Outcome.RATE_LIMITED


def test_byte_by_byte() -> None:
    for name in NAMES:
        whole, pieces = chat_decoder(), chat_decoder()
        at_once = decode(whole, [sample(name)])
        assert without_time(decode(pieces, [bytes([byte]) for byte in sample(name)])) == without_time(at_once)
