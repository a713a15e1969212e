"""Reading what a client of `/responses` gets, with the types of the official SDK as the judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Tokens
from ownkey.providers.catalog import load_catalog
from ownkey.providers.conversation import Answer, Citation, Part, Refusal, Seal, Text, Thinking, ToolCall
from ownkey.providers.dialect import Call
from ownkey.providers.openai_responses.inbound import ResponsesInbound
from ownkey.providers.stream_events import (
    Cited,
    Delta,
    Ended,
    PartEnded,
    PartStarted,
    Sealed,
    Started,
    StreamEvent,
)

SAMPLES = Path(__file__).parents[3] / "wire" / "responses"
CATALOG = load_catalog()
OPENAI = CATALOG["openai"]
BASE_URL = "https://api.openai.com/v1"
TOKENS = Tokens(input_uncached=10, cache_read=4, cache_write=1, output_text=7, output_reasoning=3)
ASKED: dict[str, Any] = {"model": "gpt-5", "input": "Hi"}

_EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def sample(name: str) -> bytes:
    """A recorded answer or stream."""
    return (SAMPLES / name).read_bytes()


def make_call(body: dict[str, Any] | None = None, *, stream: bool = False, model: str = "gpt-5") -> Call:
    """A client's call."""
    raw = json.dumps({**ASKED, **(body or {})}).encode()
    return Call(operation="chat", body=raw, model=model, dialect=Dialect.OPENAI_RESPONSES, stream=stream)


def make_answer(*parts: Part, **more: Any) -> Answer:
    """An answer with these parts."""
    given: dict[str, Any] = {"id": "msg_01", "model": "claude-sonnet-5", "created": 1_790_000_000, "finish": "stop"}
    return Answer(parts=list(parts), **{**given, "tokens": TOKENS, **more})


def write(answer: Answer, body: dict[str, Any] | None = None) -> Response:
    """The whole answer as the SDK reads it, every field checked."""
    call, inbound = make_call(body), ResponsesInbound()
    written = inbound.write_answer(answer, call, inbound.read_request(call))
    return Response.model_validate_json(written)


def write_events(events: list[StreamEvent], body: dict[str, Any] | None = None) -> bytes:
    """A client's whole stream, one neutral event at a time."""
    call, inbound = make_call({"stream": True, **(body or {})}, stream=True), ResponsesInbound()
    writer = inbound.stream_writer(call, inbound.read_request(call))
    return b"".join([*(writer.write([event], None) for event in events), writer.finish(TOKENS)])


def read_events(output: bytes) -> list[Any]:
    """The events of a stream as the SDK reads them, every field checked; numbers and names must fit."""
    events = []
    for block in output.split(b"\n\n"):
        if not block or block.startswith(b":"):
            continue
        name, _, data = block.partition(b"\n")
        document = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + document["type"].encode()
        assert document["sequence_number"] == len(events)
        events.append(_EVENTS.validate_python(document))
    return events


def accumulate(output: bytes) -> Response:
    """The response of a stream as the SDK puts it together."""
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    last = None
    for event in read_events(output):
        for seen in state.handle_event(event):
            last = seen
    assert last is not None
    return Response.model_validate(last.response.to_dict())


def events_of(*parts: list[StreamEvent], finish: Any = "stop") -> list[StreamEvent]:
    """A stream of these parts."""
    inner = [event for part in parts for event in part]
    return [Started("msg_01", "claude-sonnet-5", 1_790_000_000), *inner, Ended(finish)]


def part_events(
    index: int, kind: Any, *texts: str, more: list[StreamEvent] | None = None, **call: Any
) -> list[StreamEvent]:
    """The events of one part."""
    deltas: list[StreamEvent] = [Delta(index, text) for text in texts]
    return [PartStarted(index, kind, **call), *deltas, *(more or []), PartEnded(index)]


def rebuild(events: list[StreamEvent]) -> list[Part]:
    """The parts that a neutral stream tells; its order is checked on the way."""
    parts: list[Part] = []
    texts: dict[int, list[str]] = {}
    started: dict[int, PartStarted] = {}
    seals: dict[int, Seal] = {}
    citations: dict[int, list[Citation]] = {}
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Ended)
    for event in events[1:-1]:
        match event:
            case PartStarted():
                assert event.index == len(parts)
                assert not started or event.kind == "tool_call" or not texts
                parts.append(Text(text=""))
                started[event.index], texts[event.index] = event, []
            case Delta():
                texts[event.index].append(event.text)
            case Sealed():
                seals[event.index] = event.seal
            case Cited():
                citations.setdefault(event.index, []).append(event.citation)
            case PartEnded(index=index):
                parts[index] = _build(started[index], "".join(texts.pop(index)), seals.get(index), citations.get(index))
            case _:
                raise AssertionError(event)
    assert not texts
    return parts


def _build(started: PartStarted, text: str, seal: Seal | None, citations: list[Citation] | None) -> Part:
    match started.kind:
        case "text":
            return Text(text=text, citations=citations or [])
        case "thinking":
            return Thinking(text=text, seal=seal)
        case "refusal":
            return Refusal(text=text)
    return ToolCall(id=started.call_id, name=started.name, arguments=text, freeform=started.freeform, seal=seal)
