"""Gemini's wire in tests: samples of what Google sends, and the SDK's types as the judge of what is written."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from google.genai import types

from ownkey.domain.provider import Dialect, Provider
from ownkey.providers.conversation import Answer, Citation, Conversation, Part, Seal, Text, Thinking, ToolCall, Turn
from ownkey.providers.dialect import Call
from ownkey.providers.gemini.outbound import GeminiOutbound
from ownkey.providers.gemini.read_stream import GeminiStreamReader
from ownkey.providers.sse import read_event, split_events
from ownkey.providers.stream_events import Cited, Delta, Ended, PartEnded, PartStarted, Sealed, Started, StreamEvent

SAMPLES = Path(__file__).parents[3] / "wire" / "gemini"
BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
PROVIDER = Provider(
    id="gemini", label="Google Gemini", dialect=Dialect.GEMINI, base_url=BASE_URL, auth="header:x-goog-api-key"
)
MODEL = "gemini-3.8-flash"
SIGNATURE = "EtkCCtYCAdHtim9Kk+/d+//+IHRlc3Q="
SEAL = Seal(Dialect.GEMINI, SIGNATURE)


def sample(name: str) -> bytes:
    """What Google sends."""
    return (SAMPLES / name).read_bytes()


def make_call(body: Any = None, *, model: str = MODEL, stream: bool = False, operation: str = "chat") -> Call:
    """A call of a client of Google's."""
    raw = body if isinstance(body, bytes) else json.dumps({"contents": []} if body is None else body).encode()
    return Call(operation=operation, body=raw, model=model, dialect=Dialect.GEMINI, stream=stream)


def ask(*parts: Part, **fields: Any) -> Conversation:
    """A conversation of one user's turn."""
    return Conversation(turns=[Turn(role="user", parts=list(parts) or [Text(text="Hi")])], **fields)


def write(conversation: Conversation, model: str = MODEL, *, stream: bool = False) -> dict[str, Any]:
    """The body that Google gets, after the SDK's types have checked every field of it."""
    call = make_call(model=model, stream=stream)
    body = json.loads(GeminiOutbound().write_request(PROVIDER, BASE_URL, call, conversation).body)
    judge_request(body)
    return body


def judge_request(body: dict[str, Any]) -> None:
    """Every field of a request is one that the SDK knows, and of its type."""
    judges: dict[str, Any] = {
        "systemInstruction": types.Content,
        "toolConfig": types.ToolConfig,
        "generationConfig": types.GenerationConfig,
        "serviceTier": types.ServiceTier,
    }
    assert body.keys() <= {*judges, "contents", "tools"}
    for content in body["contents"]:
        types.Content.model_validate(content)
        assert content["role"] in ("user", "model")
        assert content["parts"]
    assert all(before["role"] != after["role"] for before, after in pairwise(body["contents"]))
    for tool in body.get("tools", []):
        types.Tool.model_validate(tool)
    for name, judge in judges.items():
        if name in body:
            judge(body[name]) if judge is types.ServiceTier else judge.model_validate(body[name])


def read_responses(output: bytes) -> list[types.GenerateContentResponse]:
    """The events of a stream for a client."""
    blocks = split_events(output)
    assert all(block.startswith(b"data: ") and block.endswith(b"\n\n") for block in blocks)
    return [types.GenerateContentResponse.model_validate_json(read_event(block).data) for block in blocks]


def read_stream(data: bytes, *, size: int | None = None) -> tuple[GeminiStreamReader, list[StreamEvent]]:
    """What a reader makes of a stream that arrives in pieces of `size` bytes."""
    reader = GeminiStreamReader(make_call(stream=True))
    events: list[StreamEvent] = []
    for start in range(0, len(data), size or len(data)):
        events += reader.feed(data[start : start + (size or len(data))])
    return reader, [*events, *reader.finish()]


def assemble(events: list[StreamEvent]) -> Answer:
    """The answer that a stream's events are of; checks their order on the way."""
    assert isinstance(events[0], Started)
    answer = Answer(id=events[0].id, model=events[0].model, created=events[0].created, parts=[], finish="stop")
    open_parts: dict[int, list[Any]] = {}
    parts: dict[int, Part] = {}
    for event in events[1:]:
        match event:
            case PartStarted():
                assert event.index == len(parts)
                assert event.index not in open_parts
                open_parts[event.index] = []
                if event.kind == "tool_call":
                    parts[event.index] = ToolCall(id=event.call_id, name=event.name, arguments="")
                else:
                    parts[event.index] = Thinking() if event.kind == "thinking" else Text(text="")
            case Delta():
                part = parts[event.index]
                assert event.index in open_parts
                if isinstance(part, ToolCall):
                    part.arguments += event.text
                elif isinstance(part, Text | Thinking):
                    part.text += event.text
                answer.logprobs = [*(answer.logprobs or []), *event.logprobs] or None
            case Sealed():
                assert event.index in open_parts
                parts[event.index].seal = event.seal  # type: ignore[union-attr]
            case Cited():
                assert event.index in open_parts
                parts[event.index].citations = [*_citations(parts[event.index]), event.citation]  # type: ignore[union-attr]
            case PartEnded():
                del open_parts[event.index]
            case Ended():
                assert not open_parts
                answer.finish = event.finish
    answer.parts = list(parts.values())
    return answer


def _citations(part: Part) -> list[Citation]:
    assert isinstance(part, Text)
    return part.citations
