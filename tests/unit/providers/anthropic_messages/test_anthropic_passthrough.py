"""Claude's clients at Claude: bytes pass through, and what the gateway must know is read on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from claude_wire import CLAUDE, NAMES, PASSING, claude_call, cut, decode, events, official, passing_decoder, sample
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.usage import Outcome, Tokens
from ownkey.errors import RequestError
from ownkey.providers.dialect import AnswerFailed

TOKENS = Tokens(input_uncached=19, cache_read=4, cache_write=7, output_text=7, output_reasoning=3)
FAILING = ("anthropic_error_first", "anthropic_error_later")


def test_a_request_keeps_every_byte_but_the_model() -> None:
    body = b'{ "model":"task:coding","max_tokens" : 1e2, "messages":[{"role":"user","content":"Gr\\u00fc\xc3\x9fe"}] }'
    request = PASSING.encode(CLAUDE, "https://b.test/v1", claude_call(body, model="claude-x", stream=True))

    assert request.url == "https://b.test/v1/messages"
    assert dict(request.headers)["anthropic-version"] == "2023-06-01"
    assert dict(request.headers)["accept"] == "text/event-stream"
    assert request.auth_header == ("x-api-key", "")
    assert request.body == (
        b'{"model":"claude-x","max_tokens":1e2,"messages":[{"role":"user","content":"Gr\\u00fc\xc3\x9fe"}]}'
    )


def test_counting_tokens_passes_through_too() -> None:
    call = claude_call(b'{"model":"x","messages":[]}', model="claude-x")
    counting = type(call)(operation="count_tokens", body=call.body, model=call.model, dialect=call.dialect)
    request = PASSING.encode(CLAUDE, "https://b.test/v1", counting)
    decoded = PASSING.decode(b'{"input_tokens": 14}', counting)

    assert request.url == "https://b.test/v1/messages/count_tokens"
    assert (decoded.body, decoded.tokens) == (b'{"input_tokens": 14}', None)


def test_a_row_without_the_version_header_gets_one() -> None:
    bare = Provider(id="p", label="P", dialect=Dialect.ANTHROPIC_MESSAGES, base_url="https://p.test")

    assert ("anthropic-version", "2023-06-01") in PASSING.encode(bare, bare.base_url, claude_call()).headers


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"messages":'])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        PASSING.encode(CLAUDE, CLAUDE.base_url, claude_call(body))


def test_what_claude_has_not_is_refused() -> None:
    call = claude_call()
    with pytest.raises(RequestError):
        PASSING.encode(CLAUDE, CLAUDE.base_url, type(call)(operation="embeddings", body=call.body, model="m"))


def test_an_answer_is_not_touched() -> None:
    usage: dict[str, Any] = {
        "input_tokens": 19,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"thinking_tokens": 3},
        "server_tool_use": {"web_search_requests": 2},
    }
    body = json.dumps(
        {"type": "message", "content": [{"type": "a_new_block"}], "stop_reason": "tool_use", "usage": usage}
    ).encode()
    decoded = PASSING.decode(body, claude_call())

    assert (decoded.body, decoded.tokens, decoded.finish_reason) == (body, TOKENS, "tool_calls")
    assert json.loads(decoded.raw_usage or b"") == usage


def test_an_error_that_came_as_a_success() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(AnswerFailed) as caught:
        PASSING.decode(json.dumps(body).encode(), claude_call())
    assert caught.value.failure.outcome is Outcome.OVERLOADED


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"type":"message"}', b"<html>", b"\xff"])
def test_another_kind_of_body_is_not_an_answer(body: bytes) -> None:
    with pytest.raises(ValueError):
        PASSING.decode(body, claude_call())


def test_a_refusal_by_status() -> None:
    body = b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'

    assert PASSING.read_failure(401, {}, body).outcome is Outcome.AUTH_INVALID


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FAILING])
def test_a_stream_passes_unchanged(name: str) -> None:
    decoder = passing_decoder()

    assert decode(decoder, [sample(name)]) == sample(name)
    assert decoder.committed
    assert decoder.failure is None
    assert decoder.complete is not name.endswith("_cut")
    assert decoder.tokens is not None


def test_what_is_read_of_a_stream() -> None:
    decoder = passing_decoder()
    decode(decoder, [sample("anthropic")])

    assert (decoder.tokens, decoder.finish_reason) == (TOKENS, "stop")
    assert json.loads(decoder.raw_usage or b"")["output_tokens"] == 10


def test_usage_of_server_tools_is_kept() -> None:
    decoder = passing_decoder()
    decode(
        decoder,
        [
            events(
                START,
                {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use", "id": "s"}},
                {"type": "message_delta", "delta": {}, "usage": {"server_tool_use": {"web_search_requests": 2}}},
            )
        ],
    )

    assert json.loads(decoder.raw_usage or b"")["server_tool_use"] == {"web_search_requests": 2}


START = {
    "type": "message_start",
    "message": {"id": "m", "model": "c", "usage": {"input_tokens": 3, "output_tokens": 0}},
}


def test_nothing_goes_out_before_the_first_content() -> None:
    decoder = passing_decoder()
    pieces = [piece + b"\n\n" for piece in sample("anthropic").split(b"\n\n")]

    assert b"".join(map(decoder.feed, pieces[:3])) == b""
    assert not decoder.committed
    assert decoder.feed(pieces[3]) == b"".join(pieces[:4])
    assert decoder.feed(pieces[4]) == pieces[4]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "id": "t", "name": "look", "input": {}},
        {"type": "text", "text": "Hi"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "a_new_block"},
    ],
)
def test_some_blocks_are_content_from_their_start(block: dict[str, Any]) -> None:
    decoder = passing_decoder()
    decoder.feed(events(START, {"type": "content_block_start", "index": 0, "content_block": block}))

    assert decoder.committed


def test_an_error_before_content_leaves_room_for_another_provider() -> None:
    decoder = passing_decoder()

    assert decode(decoder, [sample("anthropic_error_first")]) == b""
    assert not decoder.committed
    assert decoder.failure is not None
    assert decoder.failure.outcome is Outcome.OVERLOADED
    assert decoder.tokens is not None


def test_an_error_after_content_is_not_passed_on_and_nothing_after_it() -> None:
    decoder = passing_decoder()
    output = decode(decoder, [sample("anthropic_error_later")])

    assert sample("anthropic_error_later").startswith(output)
    assert b"event: error" not in output
    assert decoder.failure is not None
    assert not decoder.complete
    assert decoder.feed(sample("anthropic")) == b""
    assert decoder.break_off(decoder.failure).startswith(b'event: error\ndata: {"type":"error","error":{"type":')


def test_words_that_look_like_an_end_are_words() -> None:
    text = '"message_stop" {"type":"error"} "message_delta"'
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    decoder = passing_decoder()
    piece = events(delta)

    assert decode(decoder, [events(START, delta)])
    assert decoder.feed(piece) == piece
    assert decoder.failure is None
    assert not decoder.complete


@given(st.sampled_from(NAMES), st.lists(st.integers(0, 10_000), max_size=10), st.booleans())
def test_where_the_network_cuts_makes_no_difference(name: str, places: list[int], crlf: bool) -> None:
    data = sample(name).replace(b"\n", b"\r\n") if crlf else sample(name)
    whole, pieces = passing_decoder(), passing_decoder()

    assert decode(pieces, cut(data, places)) == decode(whole, [data])
    for attribute in ("committed", "complete", "failure", "tokens", "raw_usage", "finish_reason"):
        assert getattr(pieces, attribute) == getattr(whole, attribute), attribute


def test_byte_by_byte() -> None:
    decoder = passing_decoder()
    data = sample("anthropic_tools")
    output = decode(decoder, [bytes([byte]) for byte in data])

    assert output == data
    assert official(output).stop_reason == "tool_use"


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_can_break_the_decoder(pieces: list[bytes]) -> None:
    decode(passing_decoder(), pieces)


def test_an_error_that_is_no_stream() -> None:
    decoder = passing_decoder()
    output = decode(decoder, [b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}'])

    assert output == b""
    assert decoder.failure is not None
    assert decoder.failure.outcome is Outcome.RATE_LIMITED


def test_an_event_that_was_cut_is_not_passed_on() -> None:
    whole = events(START, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}})
    stop = b'event: message_stop\ndata: {"type":"message_stop"}'

    for rest, complete in ((stop, True), (stop[:-3], False)):
        decoder = passing_decoder()
        output = decode(decoder, [whole + rest])
        assert decoder.complete is complete
        assert output == (whole + rest + b"\n\n" if complete else whole)


def test_an_endless_event_is_a_broken_stream() -> None:
    decoder = passing_decoder()
    for _ in range(17):
        assert decoder.feed(b"x" * (1 << 20)) == b""

    assert decoder.failure is not None
    assert decoder.failure.outcome is Outcome.STREAM_BROKEN


def test_a_provider_that_says_nothing_for_a_megabyte_gets_its_way() -> None:
    decoder = passing_decoder()
    comment = b": " + b"x" * 100_000 + b"\n\n"

    assert b"".join(decoder.feed(comment) for _ in range(12))


def test_an_event_nested_too_deeply_is_a_broken_stream() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    decoder = passing_decoder()
    decode(decoder, [b'data: {"type":"content_block_delta","more":%b}\n\n' % deep])

    assert decoder.failure is not None
    assert decoder.failure.outcome is Outcome.STREAM_BROKEN
