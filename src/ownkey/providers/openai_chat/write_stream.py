"""Events as chat completion chunks.

What all chunks of a stream share is encoded once; each one is then put together from bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Tokens
from ownkey.providers.conversation import Citation, Conversation, Logprob, Seal
from ownkey.providers.dialect import Call
from ownkey.providers.freeform import Unwrapper
from ownkey.providers.openai_chat.error_event import write_error_event
from ownkey.providers.openai_chat.reasoning_details import write_call_seal, write_thinking
from ownkey.providers.openai_chat.usage import write_usage
from ownkey.providers.openai_chat.write_answer import (
    finish_reason,
    freeform_names,
    new_completion_id,
    write_annotations,
    write_logprob,
)
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

DONE: Final = b"data: [DONE]\n\n"
_KEEP_ALIVE: Final = b": ping\n\n"
_NO_REASON: Final = b"null"
_HEADS: Final = {"text": b'{"content":', "thinking": b'{"reasoning_content":', "refusal": b'{"refusal":'}

_encode: Final = msgspec.json.Encoder().encode


class _Part(Struct):
    """A part under way. `position` is a tool call's among the calls; `head` and `tail` enclose a delta's text."""

    kind: str
    head: bytes
    tail: bytes
    begun: bool = False
    position: int = 0
    call_id: str = ""
    unwrapper: Unwrapper | None = None
    seal: Seal | None = None
    pieces: list[str] = []
    length: int = 0
    citations: list[Citation] = []


class ChatStreamWriter:
    """Writes the stream of one chat completion. See `StreamWriter`."""

    def __init__(self, call: Call, conversation: Conversation) -> None:
        self._wants_usage = call.wants_usage
        self._model = call.model
        self._freeform = freeform_names(conversation)
        self._parts: dict[int, _Part] = {}
        self._head = self._chunk_head(Started("", self._model, 0))
        self._tail = b',"usage":null}\n\n' if call.wants_usage else b"}\n\n"
        self._opened = False
        self._refused = False
        self._calls = 0
        self._content_length = 0
        self._annotations: list[dict[str, Any]] = []

    def write(self, events: Sequence[StreamEvent], tokens: Tokens | None) -> bytes:
        """The chunks for these events."""
        return b"".join([self._write(event) for event in events])

    def finish(self, tokens: Tokens | None) -> bytes:
        """The usage chunk, if the client asked for it, and the terminator."""
        if not self._wants_usage or tokens is None:
            return DONE
        return self._head + b'],"usage":%b}\n\n' % _encode(write_usage(tokens)) + DONE

    def break_off(self, failure: Failure) -> bytes:
        """The in-band error as OpenAI's clients raise it. No `[DONE]` follows."""
        return write_error_event(failure)

    def _write(self, event: StreamEvent) -> bytes:
        match event:
            case Delta():
                return self._delta(event)
            case PartStarted():
                return self._part_started(event)
            case PartEnded():
                return self._part_ended(event.index)
            case Sealed():
                self._parts[event.index].seal = event.seal
            case Cited():
                self._parts[event.index].citations.append(event.citation)
            case Started():
                self._head = self._chunk_head(event)
            case Ended():
                return self._ended(event)
            case KeepAlive():
                return _KEEP_ALIVE
        return b""

    def _chunk_head(self, started: Started) -> bytes:
        return b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            _encode(started.id or new_completion_id()),
            started.created,
            _encode(started.model),
        )

    def _chunk(self, delta: bytes, logprobs: bytes = b"null", reason: bytes = _NO_REASON) -> bytes:
        choice = b'{"index":0,"delta":%b,"logprobs":%b,"finish_reason":%b}]' % (delta, logprobs, reason)
        return self._head + choice + self._tail

    def _open(self, content: bytes) -> bytes:
        """The first chunk, which says whose words these are."""
        if self._opened:
            return b""
        self._opened = True
        return self._chunk(b'{"role":"assistant","content":%b,"refusal":null}' % content)

    def _part_started(self, event: PartStarted) -> bytes:
        if event.kind == "tool_call":
            return self._call_started(event)
        self._refused = self._refused or event.kind == "refusal"
        self._parts[event.index] = _Part(event.kind, _HEADS[event.kind], b"}")
        return self._open(b'""' if event.kind == "text" else b"null")

    def _call_started(self, event: PartStarted) -> bytes:
        position = self._calls
        self._calls += 1
        custom = event.freeform or event.name in self._freeform
        kind, field = (b"custom", b"input") if custom else (b"function", b"arguments")
        self._parts[event.index] = _Part(
            "custom" if custom else "function",
            b'{"tool_calls":[{"index":%d,"%b":{"%b":' % (position, kind, field),
            b"}}]}",
            position=position,
            call_id=event.call_id,
            unwrapper=Unwrapper() if custom and not event.freeform else None,
        )
        call = b'{"tool_calls":[{"index":%d,"id":%b,"type":"%b","%b":{"name":%b,"%b":""}}]}' % (
            position,
            _encode(event.call_id),
            kind,
            kind,
            _encode(event.name),
            field,
        )
        return self._open(b"null") + self._chunk(call)

    def _delta(self, event: Delta) -> bytes:
        part = self._parts[event.index]
        text = event.text
        if part.unwrapper is not None:
            text = part.unwrapper.feed(text)
        elif part.kind == "thinking":
            part.pieces.append(text)
        elif part.kind == "text":
            part.length += len(text)
        if not (text or event.logprobs):
            return b""
        part.begun = True
        logprobs = _write_logprobs(event.logprobs, part.kind) if event.logprobs else b"null"
        return self._chunk(part.head + _encode(text) + part.tail, logprobs)

    def _part_ended(self, index: int) -> bytes:
        part = self._parts.pop(index)
        output = b""
        match part.kind:
            case "text":
                self._annotations += write_annotations(part.citations, self._content_length, part.length)
                self._content_length += part.length
            case "thinking":
                if part.seal is not None or part.pieces:
                    output = self._detail(write_thinking(index, "".join(part.pieces), part.seal))
            case "custom":
                rest = part.unwrapper.finish() if part.unwrapper is not None else ""
                output = self._chunk(part.head + _encode(rest) + part.tail) if rest else b""
            case "function":
                # A client parses what it got, and nothing is no JSON.
                output = b"" if part.begun else self._chunk(part.head + b'"{}"' + part.tail)
        if part.seal is not None and part.call_id:
            output += self._detail(write_call_seal(index, part.call_id, part.seal))
        return output

    def _detail(self, detail: dict[str, Any]) -> bytes:
        return self._chunk(b'{"reasoning_details":[%b]}' % _encode(detail))

    def _ended(self, event: Ended) -> bytes:
        output = self._open(b'""')
        if self._annotations:
            # All at once: clients that put lists together want an index in each entry of a later one.
            output += self._chunk(b'{"annotations":%b}' % _encode(self._annotations))
        reason = finish_reason(event.finish, refused=self._refused)
        return output + self._chunk(b"{}", reason=_encode(reason))


def _write_logprobs(logprobs: Sequence[Logprob], kind: str) -> bytes:
    tokens = _encode([write_logprob(one) for one in logprobs])
    if kind == "refusal":
        return b'{"content":null,"refusal":%b}' % tokens
    return b'{"content":%b,"refusal":null}' % tokens
