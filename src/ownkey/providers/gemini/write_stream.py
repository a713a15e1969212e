"""A stream of responses for Google's clients.

A text goes out piece by piece, a call only when it is complete: Google's calls are whole. No comment may stand in the
stream, since Google's Python SDK takes every line for JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Tokens
from ownkey.providers.conversation import Citation, Conversation, Finish, Logprob, Seal, Thinking, ToolCall
from ownkey.providers.gemini.citations import write_grounding
from ownkey.providers.gemini.error_event import write_error_event
from ownkey.providers.gemini.finish import write_finish
from ownkey.providers.gemini.usage import write_usage
from ownkey.providers.gemini.write_answer import (
    shows_thoughts,
    write_call,
    write_logprobs,
    write_malformed,
    write_thought,
)
from ownkey.providers.stream_events import (
    Cited,
    Delta,
    Ended,
    KeepAlive,
    PartEnded,
    PartKind,
    PartStarted,
    Sealed,
    Started,
    StreamEvent,
)

_HEAD: Final = b'data: {"candidates":[{"content":{"parts":['
_EMPTY: Final = b'{"text":""}'
_encode: Final = msgspec.json.Encoder().encode


class _OpenPart(Struct):
    kind: PartKind
    call_id: str = ""
    name: str = ""
    freeform: bool = False
    pieces: list[str] = []
    citations: list[Citation] = []
    seal: Seal | None = None


class GeminiStreamWriter:
    """See `StreamWriter`."""

    def __init__(self, conversation: Conversation) -> None:
        self._shows = shows_thoughts(conversation)
        self._tail = b"}\n\n"
        self._parts: dict[int, _OpenPart] = {}
        self._signed = False
        self._malformed: dict[str, Any] | None = None
        self._finish: Finish = "stop"
        self._cited: list[tuple[int, str, Sequence[Citation]]] = []

    def write(self, events: Sequence[StreamEvent], tokens: Tokens | None) -> bytes:
        """The client's bytes for these events."""
        return b"".join([self._write(event) for event in events])

    def finish(self, tokens: Tokens | None) -> bytes:
        """The last response: why the answer ended, and its usage."""
        candidate: dict[str, Any] = {"content": {"parts": [{"text": ""}], "role": "model"}}
        candidate["finishReason"] = write_finish(self._finish)
        if self._malformed is not None:
            candidate.update(self._malformed)
        candidate["index"] = 0
        grounding = write_grounding(self._cited)
        if grounding is not None:
            candidate["groundingMetadata"] = grounding
        usage = b"" if tokens is None else b',"usageMetadata":' + _encode(write_usage(tokens))
        return b'data: {"candidates":[' + _encode(candidate) + b"]" + usage + self._tail

    def break_off(self, failure: Failure) -> bytes:
        """The in-band error."""
        return write_error_event(failure)

    def _write(self, event: StreamEvent) -> bytes:
        kind = type(event)
        if kind is Delta:
            return self._delta(event)  # type: ignore[arg-type]
        if isinstance(event, PartStarted):
            self._parts[event.index] = _OpenPart(event.kind, event.call_id, event.name, event.freeform)
        elif isinstance(event, PartEnded):
            return self._end_part(event.index)
        elif isinstance(event, Sealed):
            self._parts[event.index].seal = event.seal
        elif isinstance(event, Cited):
            self._parts[event.index].citations.append(event.citation)
        elif isinstance(event, Started):
            names = _encode({"modelVersion": event.model, "responseId": event.id})
            self._tail = b"," + names[1:] + b"\n\n"
        elif isinstance(event, Ended):
            self._finish = event.finish
        elif isinstance(event, KeepAlive):
            return self._say(_EMPTY)
        return b""

    def _delta(self, event: Delta) -> bytes:
        part = self._parts[event.index]
        kind = part.kind
        if kind == "text" or kind == "refusal":
            part.pieces.append(event.text)
            return self._say(b'{"text":' + _encode(event.text) + b"}", event.logprobs)
        if kind == "thinking" and self._shows:
            return self._say(b'{"text":' + _encode(event.text) + b',"thought":true}')
        part.pieces.append(event.text)
        return b""

    def _end_part(self, index: int) -> bytes:
        part = self._parts.pop(index)
        if part.kind == "thinking":
            if part.seal is None:
                return b""
            # What was shown already comes back in front of the seal.
            thought = Thinking(text="".join(part.pieces), seal=part.seal)
            return self._say(_encode(write_thought(thought)))
        if part.kind == "tool_call":
            return self._call(part)
        if part.citations:
            # Clients join the pieces of a stream to one text before they look at its sources.
            self._cited.append((0, "".join(part.pieces), part.citations))
        return b""

    def _call(self, part: _OpenPart) -> bytes:
        arguments = "".join(part.pieces)
        call = ToolCall(id=part.call_id, name=part.name, arguments=arguments, freeform=part.freeform, seal=part.seal)
        written = write_call(call, first=not self._signed)
        if written is None:
            self._malformed = write_malformed(part.name, arguments)
            return b""
        self._signed = True
        return self._say(_encode(written))

    def _say(self, part: bytes, logprobs: Sequence[Logprob] = ()) -> bytes:
        """One response with one part."""
        if logprobs:
            likely = _encode(write_logprobs(logprobs))
            return _HEAD + part + b'],"role":"model"},"index":0,"logprobsResult":' + likely + b"}]" + self._tail
        return _HEAD + part + b'],"role":"model"},"index":0}]' + self._tail
