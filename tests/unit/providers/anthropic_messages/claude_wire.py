"""Claude's wire in the tests: recorded streams in pieces, and what the official SDK makes of what was written."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from ownkey.domain.provider import Dialect
from ownkey.providers.anthropic_messages.inbound import AnthropicInbound
from ownkey.providers.anthropic_messages.outbound import AnthropicOutbound
from ownkey.providers.anthropic_messages.passthrough import AnthropicPassthrough
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call, StreamDecoder
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound
from ownkey.providers.translation import Translation

SAMPLES = Path(__file__).parents[3] / "wire" / "streams"
NAMES = sorted(path.stem for path in SAMPLES.glob("anthropic*.sse"))
CLAUDE = load_catalog()["anthropic"]
CHAT = Translation(OpenAIChatInbound(), AnthropicOutbound())
NATIVE = Translation(AnthropicInbound(), AnthropicOutbound())
PASSING = AnthropicPassthrough()
_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def sample(name: str) -> bytes:
    """A recorded stream."""
    return (SAMPLES / f"{name}.sse").read_bytes()


def chat_call(body: bytes = b'{"messages":[{"role":"user","content":"a"}]}', **fields: Any) -> Call:
    """A call of a client that speaks OpenAI's chat."""
    return Call(operation="chat", body=body, **{"model": "m", **fields})


def claude_call(body: bytes = b'{"messages":[{"role":"user","content":"a"}]}', **fields: Any) -> Call:
    """A call of a client that speaks Anthropic's dialect."""
    return chat_call(body, dialect=Dialect.ANTHROPIC_MESSAGES, **fields)


def chat_decoder(*, wants_usage: bool = False) -> StreamDecoder:
    """A fresh decoder of Claude's stream for a client that speaks OpenAI's chat."""
    return CHAT.stream_decoder(CLAUDE, chat_call(stream=True, wants_usage=wants_usage))


def native_decoder() -> StreamDecoder:
    """One that reads Claude's stream and writes it again."""
    return NATIVE.stream_decoder(CLAUDE, claude_call(stream=True))


def passing_decoder() -> StreamDecoder:
    """One that passes Claude's stream on."""
    return PASSING.stream_decoder(CLAUDE, claude_call(stream=True))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def decode(decoder: StreamDecoder, pieces: list[bytes]) -> bytes:
    """Everything that the client gets."""
    return b"".join([*map(decoder.feed, pieces), decoder.finish()])


def chunks(output: bytes) -> list[dict[str, Any]]:
    """The chunks of an OpenAI stream; `[DONE]` must be the last event."""
    lines = [line[5:].strip() for line in output.split(b"\n") if line.startswith(b"data:")]
    assert b"[DONE]" not in lines[:-1]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def chat_text(output: bytes, field: str = "content") -> str:
    """The text of all deltas of the first choice."""
    return "".join(choice["delta"].get(field) or "" for chunk in chunks(output) for choice in chunk["choices"][:1])


def events(*documents: dict[str, Any]) -> bytes:
    """Claude's events."""
    return b"".join(f"event: {document['type']}\ndata: {json.dumps(document)}\n\n".encode() for document in documents)


def written_events(output: bytes) -> list[dict[str, Any]]:
    """The events of a Messages stream: each has its type in both places, and one line of data."""
    read = []
    for block in output.decode().split("\n\n")[:-1]:
        first, second = block.split("\n")
        assert first.startswith("event: ")
        assert second.startswith("data: ")
        document = json.loads(second[6:])
        assert document["type"] == first[7:]
        read.append(document)
    return read


def official(output: bytes) -> Message:
    """The message that Anthropic's SDK puts together from a stream, every event checked against its types."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for document in written_events(output):
        if document["type"] != "ping":
            event = _EVENT.validate_python(document)
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return Message.model_validate(snapshot.to_dict())
