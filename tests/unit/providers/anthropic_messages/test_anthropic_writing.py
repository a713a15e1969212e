"""Answers and streams for Claude's clients, with the official SDK as the judge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock
from claude_wire import NAMES, cut, decode, native_decoder, official, sample, written_events
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.anthropic_messages.count_tokens import read_counted
from ownkey.providers.anthropic_messages.write_answer import write_answer
from ownkey.providers.anthropic_messages.write_stream import AnthropicStreamWriter
from ownkey.providers.conversation import Answer, Citation, Finish, Media, Part, Refusal, Seal, Text, Thinking, ToolCall
from ownkey.providers.dialect import AnswerFailed
from ownkey.providers.stream_events import (
    Cited,
    Delta,
    Ended,
    KeepAlive,
    PartEnded,
    PartStarted,
    Sealed,
    Started,
    StreamEvent,
)

TOKENS = Tokens(input_uncached=19, cache_read=4, cache_write=7, output_text=7, output_reasoning=3)
SEAL = Seal(Dialect.OPENAI_RESPONSES, "gAAA", id="rs_1")
GEMINIS = Seal(Dialect.GEMINI, "Ci0B")
START = Started("chatcmpl-1", "gpt-9", 1)


def message(*parts: Part, finish: Finish = "stop", **fields: Any) -> Message:
    answer = Answer(id="m", model="gpt-9", created=1, parts=list(parts), finish=finish, tokens=TOKENS, **fields)
    return Message.model_validate_json(write_answer(answer))


def stream(*events: StreamEvent, tokens: Tokens | None = TOKENS) -> bytes:
    """Every event in a call of its own: what comes together is told to the writer together in `at_once`."""
    writer = AnthropicStreamWriter()
    return b"".join([*(writer.write([event], None) for event in events), writer.finish(tokens)])


def at_once(*events: StreamEvent) -> bytes:
    writer = AnthropicStreamWriter()
    return writer.write(events, None) + writer.finish(TOKENS)


def test_a_whole_answer() -> None:
    read = message(
        Thinking(text="Hm", seal=SEAL),
        Text(text="Hi", citations=[Citation(url="https://a.test", title="A", start=0, end=2)]),
        ToolCall(id="functions.look:0", name="look", arguments='{"at": "café"}'),
        finish="tool_calls",
    )

    assert [block.type for block in read.content] == ["thinking", "text", "tool_use"]
    assert isinstance(read.content[1], TextBlock)
    assert [citation.type for citation in read.content[1].citations or ()] == ["web_search_result_location"]
    assert isinstance(read.content[2], ToolUseBlock)
    # Claude refuses other ids, and the client may be sent there with its next request.
    assert (read.content[2].id, read.content[2].input) == ("functions_look_0", {"at": "café"})
    assert (read.id, read.model, read.role, read.stop_reason) == ("m", "gpt-9", "assistant", "tool_use")
    usage = read.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (19, 4, 7)
    assert (usage.output_tokens, usage.output_tokens_details and usage.output_tokens_details.thinking_tokens) == (10, 3)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("stop_sequence", "stop_sequence"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("refusal", "refusal"),
        ("pause", "pause_turn"),
    ],
)
def test_why_an_answer_ended(finish: Finish, reason: str) -> None:
    sequence = "END" if finish == "stop_sequence" else None
    whole = message(Text(text="a"), finish=finish, stop_sequence=sequence)
    streamed = official(
        stream(START, PartStarted(0, "text"), Delta(0, "a"), PartEnded(0), Ended(finish, stop_sequence=sequence))
    )

    for read in (whole, streamed):
        assert (read.stop_reason, read.stop_sequence) == (reason, sequence)
        assert (read.stop_details is not None) is (finish == "refusal")


def test_a_refusal_in_words() -> None:
    whole = message(Refusal(text="No."))
    streamed = official(stream(START, PartStarted(0, "refusal"), Delta(0, "No."), PartEnded(0), Ended("stop")))

    for read in (whole, streamed):
        assert read.stop_reason == "refusal"
        assert [block.text for block in read.content if isinstance(block, TextBlock)] == ["No."]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (ToolCall(id="a", name="f", arguments=""), {}),
        (ToolCall(id="a", name="f", arguments=" "), {}),
        (ToolCall(id="a", name="f", arguments='{"a": 1e2}'), {"a": 100}),
        (ToolCall(id="a", name="f", arguments='{"a":'), {"input": '{"a":'}),
        (ToolCall(id="a", name="f", arguments="[1]"), {"input": "[1]"}),
        (ToolCall(id="a", name="f", arguments="any text", freeform=True), {"input": "any text"}),
    ],
)
def test_arguments_are_an_object(call: ToolCall, expected: dict[str, Any]) -> None:
    block = message(call).content[0]

    assert isinstance(block, ToolUseBlock)
    assert block.input == expected


def test_an_answer_of_nothing_and_without_usage() -> None:
    read = Message.model_validate_json(write_answer(Answer(id="", model="", created=0, parts=[], finish="stop")))

    assert (read.content, read.usage.input_tokens, read.usage.output_tokens) == ([], 0, 0)
    assert official(stream(START, Ended("stop"), tokens=None)).content == []


def test_a_picture_has_no_place_and_is_paid_for_all_the_same() -> None:
    with pytest.raises(AnswerFailed) as caught:
        message(Media(kind="image", media_type="image/png", data="iVBO"))

    assert caught.value.failure.outcome is Outcome.CANNOT_CARRY
    assert caught.value.tokens == TOKENS


def test_the_order_of_a_stream() -> None:
    output = stream(
        START,
        PartStarted(0, "thinking"),
        Delta(0, "Hm"),
        Sealed(0, SEAL),
        PartEnded(0),
        PartStarted(1, "text"),
        Delta(1, 'a "b"\n\u2028'),
        KeepAlive(),
        Cited(1, Citation(url="https://a.test", title="A")),
        PartEnded(1),
        PartStarted(2, "tool_call", "call.1", "look"),
        Delta(2, '{"at":'),
        Delta(2, "1}"),
        PartEnded(2),
        Ended("tool_calls"),
    )

    assert [(event["type"], event.get("index")) for event in written_events(output)] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("ping", None),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]
    read = official(output)
    thought, text, call = read.content
    assert isinstance(thought, ThinkingBlock)
    assert (thought.thinking, thought.signature[:8]) == ("Hm", "ownkey1.")
    assert isinstance(text, TextBlock)
    assert (text.text, len(text.citations or ())) == ('a "b"\n\u2028', 1)
    assert isinstance(call, ToolUseBlock)
    assert (call.id, call.name, call.input) == ("call_1", "look", {"at": 1})
    assert (read.id, read.model, read.stop_reason) == ("chatcmpl-1", "gpt-9", "tool_use")
    assert (read.usage.input_tokens, read.usage.cache_read_input_tokens, read.usage.output_tokens) == (19, 4, 10)


def test_calls_that_arrive_interleaved_are_written_one_after_the_other() -> None:
    events: list[StreamEvent] = [
        START,
        PartStarted(0, "tool_call", "a", "f"),
        PartStarted(1, "tool_call", "b", "g"),
        Delta(1, '{"n":'),
        Delta(0, '{"m":'),
        PartStarted(2, "tool_call", "c", "h"),
        Delta(2, "{}"),
        PartEnded(2),
        Delta(0, "1}"),
        PartEnded(0),
        Delta(1, "2}"),
        PartEnded(1),
        Ended("tool_calls"),
    ]

    for output in (stream(*events), at_once(*events)):
        assert [(block.id, block.input) for block in official(output).content if isinstance(block, ToolUseBlock)] == [
            ("a", {"m": 1}),
            ("b", {"n": 2}),
            ("c", {}),
        ]
        _check_one_block_at_a_time(output)


def test_calls_that_nobody_ended() -> None:
    output = stream(
        START,
        PartStarted(0, "tool_call", "a", "f"),
        PartStarted(1, "tool_call", "b", "g"),
        Delta(1, "{}"),
        Ended("length"),
    )

    assert len(official(output).content) == 2
    _check_one_block_at_a_time(output)


def test_a_hidden_thought_has_a_block_of_its_own() -> None:
    hidden = Seal(Dialect.ANTHROPIC_MESSAGES, "EmwK", redacted=True)
    output = stream(START, PartStarted(0, "thinking"), Sealed(0, hidden), PartEnded(0), Ended("stop"))

    assert [block.type for block in official(output).content] == ["redacted_thinking"]


def test_a_thought_of_nothing_is_not_written() -> None:
    assert official(stream(START, PartStarted(0, "thinking"), PartEnded(0), Ended("stop"))).content == []


def test_the_seal_of_a_call_stands_beside_it() -> None:
    events: list[StreamEvent] = [
        START,
        PartStarted(0, "tool_call", "a", "f"),
        Delta(0, "{}"),
        Sealed(0, GEMINIS),
        PartEnded(0),
        Ended("tool_calls"),
    ]

    for output, order in ((at_once(*events), ["thinking", "tool_use"]), (stream(*events), ["tool_use", "thinking"])):
        content = official(output).content
        assert [block.type for block in content] == order
        thought = next(block for block in content if isinstance(block, ThinkingBlock))
        assert (thought.thinking, thought.signature[-2:]) == ("", "@a")
        _check_one_block_at_a_time(output)


def test_the_input_is_told_at_the_start_where_it_is_known() -> None:
    start = written_events(stream(Started("m", "x", 1, Tokens(input_uncached=5, cache_read=2)), Ended("stop")))[0]

    assert start["message"]["usage"]["input_tokens"] == 5
    assert start["message"]["usage"]["cache_read_input_tokens"] == 2


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.OVERLOADED, "overloaded_error"),
        (Outcome.RATE_LIMITED, "rate_limit_error"),
        (Outcome.STREAM_BROKEN, "api_error"),
    ],
)
def test_a_broken_stream_ends_with_an_error(outcome: Outcome, kind: str) -> None:
    failure = Failure(outcome=outcome, message="It broke.")
    (event,) = written_events(AnthropicStreamWriter().break_off(failure))

    assert event == {"type": "error", "error": {"type": kind, "message": "It broke."}}


def test_the_end_is_written_once() -> None:
    writer = AnthropicStreamWriter()
    writer.write([START, Ended("stop")], None)

    assert writer.finish(TOKENS)
    assert writer.finish(TOKENS) == b""


def _check_one_block_at_a_time(output: bytes) -> None:
    is_open, count = False, 0
    for event in written_events(output):
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == count
                is_open, count = True, count + 1
            case "content_block_delta":
                assert is_open
                assert event["index"] == count - 1
            case "content_block_stop":
                assert is_open
                is_open = False
    assert not is_open


@st.composite
def orders(draw: st.DrawFn) -> list[StreamEvent]:
    """Any order of events that `stream_events` allows: parallel calls overlap, other parts do not."""
    events: list[StreamEvent] = [START]
    index = 0
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            kind = draw(st.sampled_from(["text", "thinking", "refusal"]))
            inner: list[StreamEvent] = [Delta(index, text) for text in draw(st.lists(st.text(max_size=4), max_size=3))]
            if kind == "thinking" and draw(st.booleans()):
                inner.append(Sealed(index, draw(st.sampled_from([SEAL, GEMINIS]))))
            events += [PartStarted(index, kind), *inner, PartEnded(index)]
            index += 1
            continue
        lanes: list[list[StreamEvent]] = []
        for _ in range(draw(st.integers(1, 3))):
            seal = [Sealed(index, GEMINIS)] if draw(st.booleans()) else []
            pieces = [Delta(index, piece) for piece in ('{"n":', f"{index}", "}")]
            lanes.append([PartStarted(index, "tool_call", f"id{index}", "f"), *pieces, *seal, PartEnded(index)])
            index += 1
        while any(lanes):
            lane = draw(st.sampled_from([lane for lane in lanes if lane]))
            events.append(lane.pop(0))
    return [*events, Ended(draw(st.sampled_from(["stop", "tool_calls", "length"])))]


@given(orders(), st.lists(st.integers(0, 60), max_size=6))
def test_any_allowed_order_is_a_stream_that_the_sdk_reads(events: list[StreamEvent], places: list[int]) -> None:
    writer = AnthropicStreamWriter()
    edges = [0, *sorted({place % (len(events) + 1) for place in places}), len(events)]
    pieces: list[Sequence[StreamEvent]] = [events[start:end] for start, end in pairwise(edges)]
    output = b"".join([*(writer.write(piece, None) for piece in pieces), writer.finish(TOKENS)])
    read = official(output)

    _check_one_block_at_a_time(output)
    begun = [event for event in events if isinstance(event, PartStarted)]
    calls = {block.id: block.input for block in read.content if isinstance(block, ToolUseBlock)}
    assert calls == {part.call_id: {"n": part.index} for part in begun if part.kind == "tool_call"}
    said = "".join(block.text for block in read.content if isinstance(block, TextBlock))
    shown = {part.index for part in begun if part.kind in ("text", "refusal")}
    assert said == "".join(event.text for event in events if isinstance(event, Delta) and event.index in shown)


@given(st.sampled_from([name for name in NAMES if name != "anthropic_new_events"]), st.lists(st.integers(0, 10_000)))
def test_what_claude_streams_is_read_and_written_again(name: str, places: list[int]) -> None:
    decoder = native_decoder()
    output = decode(decoder, cut(sample(name), places))

    assert decoder.complete is output.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    if decoder.complete:
        original, written = official(sample(name)), official(output)
        assert (written.content, written.stop_reason) == (original.content, original.stop_reason)
        assert written.usage == original.usage or name == "anthropic_refusal"


def test_counted_tokens() -> None:
    assert read_counted(b'{"input_tokens":14,"more":{}}') == 14
    assert read_counted(b'{"input_tokens":-1}') == 0
    for body in (b"{}", b"[]", b"<html>", b'{"input_tokens":"1"}'):
        with pytest.raises(ValueError):
            read_counted(body)
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(AnswerFailed) as caught:
        read_counted(json.dumps(error).encode())
    assert caught.value.failure.outcome is Outcome.OVERLOADED
