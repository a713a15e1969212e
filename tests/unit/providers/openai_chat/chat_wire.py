"""Requests, answers and streams of the chat dialect, read as OpenAI's own client reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from openai._streaming import SSEDecoder
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import TypeAdapter

from ownkey.domain.provider import Dialect, Provider, Quirk
from ownkey.domain.usage import Tokens
from ownkey.providers.conversation import Conversation
from ownkey.providers.dialect import Call
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound
from ownkey.providers.openai_chat.outbound import OpenAIChatOutbound
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
from ownkey.providers.translation import StreamReader

INBOUND, OUTBOUND = OpenAIChatInbound(), OpenAIChatOutbound()
SAMPLES = Path(__file__).parents[3] / "wire" / "streams"
HELLO = [{"role": "user", "content": "Hello"}]

_MESSAGES = TypeAdapter(list[ChatCompletionMessageParam])


def provider(*quirks: Quirk) -> Provider:
    return Provider(
        id="some",
        label="Some",
        dialect=Dialect.OPENAI_CHAT,
        base_url="https://some.test/v1",
        quirks=frozenset(quirks),
    )


def call_of(body: bytes = b"{}", **fields: Any) -> Call:
    return Call(operation="chat", body=body, **{"model": "the-model", **fields})


def read(messages: Sequence[dict[str, Any]] = HELLO, **fields: Any) -> Conversation:
    """The neutral form of a request."""
    return INBOUND.read_request(call_of(json.dumps({"model": "x", "messages": messages, **fields}).encode()))


def write(conversation: Conversation, *quirks: Quirk, model: str = "the-model", stream: bool = False) -> dict[str, Any]:
    """The request for a provider with these quirks; its messages are what OpenAI's types allow."""
    request = OUTBOUND.write_request(
        provider(*quirks), "https://some.test/v1", call_of(model=model, stream=stream), conversation
    )
    body: dict[str, Any] = json.loads(request.body)
    for message in _MESSAGES.validate_python(body["messages"]):
        for part in message.get("content") or () if not isinstance(message.get("content"), str) else ():
            assert part["type"]
    return body


def completion(body: bytes) -> ChatCompletion:
    """A whole answer as the client has it, after a strict check."""
    return ChatCompletion.model_validate_json(body, strict=True)


def chunks(stream: bytes) -> list[ChatCompletionChunk]:
    """The chunks of a complete stream as the client has them."""
    events = list(SSEDecoder().iter_bytes(iter([stream])))
    assert events[-1].data == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(event.data, strict=True) for event in events[:-1]]


def put_together(stream: bytes) -> ChatCompletion:
    """The completion that OpenAI's client puts together from a stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks(stream):
        state.handle_chunk(chunk)
    return state.current_completion_snapshot


def write_stream(
    events: Iterable[StreamEvent],
    conversation: Conversation | None = None,
    *,
    wants_usage: bool = False,
    tokens: Tokens | None = None,
) -> bytes:
    """What a client gets for these events, which come one by one."""
    writer = INBOUND.stream_writer(call_of(stream=True, wants_usage=wants_usage), conversation or Conversation())
    return b"".join([*(writer.write([event], tokens) for event in events), writer.finish(tokens)])


def read_stream(pieces: Iterable[bytes], model: str = "the-model") -> tuple[list[StreamEvent], StreamReader]:
    """The events in these pieces, and the reader at the end."""
    reader = OUTBOUND.stream_reader(call_of(model=model, stream=True))
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.finish()
    check_order(events, whole=reader.complete)
    return events, reader


def single_bytes(data: bytes) -> list[bytes]:
    return [data[position : position + 1] for position in range(len(data))]


def chunk(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    """One chunk of a provider."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **fields}
    return event({"choices": [choice]})


def event(fields: dict[str, Any]) -> bytes:
    frame = {"id": "c1", "object": "chat.completion.chunk", "created": 1790000000, "model": "m-1"}
    return b"data: " + json.dumps({**frame, **fields}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def joined(events: Iterable[StreamEvent]) -> list[tuple[Any, ...]]:
    """The parts of a stream as (kind, text), and calls as (kind, id, name, arguments), in the order of their start."""
    parts: dict[int, list[Any]] = {}
    for one in events:
        if isinstance(one, PartStarted):
            named = [one.call_id, one.name] if one.kind == "tool_call" else []
            parts[one.index] = [one.kind, *named, ""]
        elif isinstance(one, Delta):
            parts[one.index][-1] += one.text
    return [tuple(parts[index]) for index in sorted(parts)]


def check_order(events: Sequence[StreamEvent], *, whole: bool) -> None:
    """The order that `stream_events` promises."""
    open_parts: dict[int, str] = {}
    next_index = 0
    for position, one in enumerate(events):
        match one:
            case Started():
                assert position == 0
            case PartStarted():
                assert one.index == next_index
                next_index += 1
                assert one.kind == "tool_call" or not open_parts
                assert set(open_parts.values()) <= {"tool_call"}
                open_parts[one.index] = one.kind
            case Delta():
                assert one.index in open_parts
            case Cited():
                assert open_parts[one.index] == "text"
            case Sealed():
                assert open_parts[one.index] in ("thinking", "tool_call")
            case PartEnded():
                del open_parts[one.index]
            case Ended():
                assert not open_parts
                assert position == len(events) - 1
            case KeepAlive():
                pass
    if whole:
        assert isinstance(events[0], Started)
        assert isinstance(events[-1], Ended)
