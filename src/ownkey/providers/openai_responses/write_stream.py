"""A stream for a client: every event of Responses in the order that its clients expect.

An event is put together from bytes, and what is the same in every delta of a part is encoded once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Tokens
from ownkey.providers.conversation import Citation, Conversation, Finish, Logprob, Seal, ToolCall
from ownkey.providers.dialect import Call
from ownkey.providers.freeform import Unwrapper
from ownkey.providers.openai_responses.error_event import failed_error, write_error
from ownkey.providers.openai_responses.ids import answer_base, item_id, response_id
from ownkey.providers.openai_responses.output_items import (
    Status,
    read_call_names,
    write_call,
    write_citation,
    write_logprob,
    write_message,
    write_refusal,
    write_text,
)
from ownkey.providers.openai_responses.response_frame import ResponseFrame, cut_reason
from ownkey.providers.openai_responses.sealed_items import write_call_seal, write_reasoning
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

_KEEP_ALIVE: Final = b": ping\n\n"
_DELTAS: Final[dict[PartKind, str]] = {
    "text": "response.output_text.delta",
    "refusal": "response.refusal.delta",
    "thinking": "response.reasoning_summary_text.delta",
    "tool_call": "response.function_call_arguments.delta",
}
_encode: Final = msgspec.json.Encoder().encode


class _Part(Struct):
    """A part under way. `position` is that of its output item, -1 until it has one."""

    kind: PartKind
    call_id: str = ""
    name: str = ""
    freeform: bool = False
    unwrapper: Unwrapper | None = None
    position: int = -1
    content_index: int = 0
    item: str = ""
    head: bytes = b""
    pieces: list[str] = []
    length: int = 0
    citations: list[Citation] = []
    logprobs: list[Logprob] = []
    seal: Seal | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def call(self, arguments: str) -> ToolCall:
        """The tool call with what is known of its arguments."""
        return ToolCall(id=self.call_id, name=self.name, arguments=arguments, freeform=self.freeform)

    @property
    def place(self) -> dict[str, Any]:
        """Where its events belong."""
        place: dict[str, Any] = {"item_id": self.item, "output_index": self.position}
        if self.kind == "thinking":
            place["summary_index"] = 0
        elif self.kind != "tool_call":
            place["content_index"] = self.content_index
        return place


class _Message(Struct):
    """The message that texts and refusals are put into."""

    item: str
    position: int
    content: list[dict[str, Any]] = []
    parts: int = 0


class ResponsesStreamWriter:
    """Writes one client's stream. See `StreamWriter`."""

    def __init__(self, call: Call, conversation: Conversation) -> None:
        self._call, self._conversation = call, conversation
        self._names = read_call_names(call, conversation)
        self._frame: ResponseFrame | None = None
        self._base = ""
        self._sequence = 0
        self._output: list[bytes] = []
        self._parts: dict[int, _Part] = {}
        self._message: _Message | None = None
        self._finish: Finish = "stop"
        self._refused = False

    def write(self, events: Sequence[StreamEvent], tokens: Tokens | None) -> bytes:
        """The client's bytes for these events."""
        return b"".join([self._write(event) for event in events])

    def finish(self, tokens: Tokens | None) -> bytes:
        """The last event, which holds the whole answer."""
        frame, rest = self._begun_frame()
        cut = cut_reason(self._finish, self._refused) is not None
        rest += self._close_message(cut=cut)
        response = frame.write_ended(self._finish, self._refused, self._output, tokens)
        kind = "response.incomplete" if cut else "response.completed"
        return rest + self._event(kind, {"response": Raw(response)})

    def break_off(self, failure: Failure) -> bytes:
        """OpenAI's own two events for that: what its SDKs raise, and the end of the response."""
        frame, begun = self._begun_frame()
        error = self._event("error", {"error": write_error(failure)})
        response = frame.write_failed(failed_error(failure), [item for item in self._output if item])
        return begun + error + self._event("response.failed", {"response": Raw(response)})

    def _write(self, event: StreamEvent) -> bytes:
        match event:
            case Delta():
                return self._delta(event)
            case PartStarted():
                return self._part_started(event)
            case PartEnded():
                part = self._parts.pop(event.index, None)
                return self._end(part) if part is not None else b""
            case Cited():
                return self._cited(event)
            case Sealed():
                if event.index in self._parts:
                    self._parts[event.index].seal = event.seal
                return b""
            case Started():
                return self._begin_response(event)[1] if self._frame is None else b""
            case Ended():
                return self._ended(event)
            case KeepAlive():
                return _KEEP_ALIVE if self._frame is not None else b""

    def _event(self, kind: str, fields: dict[str, Any]) -> bytes:
        data = _encode({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _begin_response(self, event: Started) -> tuple[ResponseFrame, bytes]:
        self._base = answer_base(event.id)
        created = event.created or int(time.time())
        tier = self._conversation.service_tier
        self._frame = frame = ResponseFrame(self._call, response_id(self._base), event.model, created, tier)
        response = {"response": Raw(frame.write_begun())}
        return frame, self._event("response.created", response) + self._event("response.in_progress", response)

    def _begun_frame(self) -> tuple[ResponseFrame, bytes]:
        """The frame, and the events that begin a stream which has not begun."""
        if self._frame is not None:
            return self._frame, b""
        return self._begin_response(Started("", self._call.model, 0))

    def _part_started(self, event: PartStarted) -> bytes:
        part = _Part(event.kind, event.call_id, event.name, event.freeform)
        self._parts[event.index] = part
        if event.kind in ("text", "refusal"):
            return b""  # begins with its first word
        closed = self._close_message(cut=False)
        if event.kind == "thinking":
            return closed
        if not part.freeform and part.name in self._names.freeform:
            part.freeform, part.unwrapper = True, Unwrapper()
        return closed + self._begin(part)

    def _begin(self, part: _Part) -> bytes:
        """The events before a part's first delta."""
        kind = _DELTAS[part.kind]
        if part.kind in ("text", "refusal"):
            begun = self._begin_content(part)
        else:
            part.position = self._add_position()
            if part.kind == "thinking":
                part.item = item_id("rs", self._base, part.position)
                item: dict[str, Any] = {"id": part.item, "type": "reasoning", "summary": []}
            else:
                part.item = item_id("ctc" if part.freeform else "fc", self._base, part.position)
                item = write_call(part.item, "in_progress", part.call(""), self._names)
                if part.freeform:
                    kind = "response.custom_tool_call_input.delta"
            begun = self._event("response.output_item.added", {"output_index": part.position, "item": item})
        head = _encode({"type": kind, **part.place})
        part.head = b'event: %b\ndata: %b,"delta":' % (kind.encode(), head[:-1])
        return begun

    def _begin_content(self, part: _Part) -> bytes:
        begun = b""
        if self._message is None:
            position = self._add_position()
            self._message = _Message(item_id("msg", self._base, position), position)
            item = write_message(self._message.item, "in_progress", [])
            begun = self._event("response.output_item.added", {"output_index": position, "item": item})
        message = self._message
        part.item, part.position, part.content_index = message.item, message.position, message.parts
        message.parts += 1
        empty = write_text("") if part.kind == "text" else write_refusal("")
        return begun + self._event("response.content_part.added", {**part.place, "part": empty})

    def _add_position(self) -> int:
        self._output.append(b"")
        return len(self._output) - 1

    def _delta(self, event: Delta) -> bytes:
        part = self._parts.get(event.index)
        if part is None:
            return b""
        text = event.text if part.unwrapper is None else part.unwrapper.feed(event.text)
        if not text and not event.logprobs:
            return b""
        begun = b""
        if part.position < 0:
            begun = self._begin(part)
        if part.kind == "thinking" and not part.pieces:
            begun += self._event("response.reasoning_summary_part.added", {**part.place, "part": _summary("")})
        part.pieces.append(text)
        part.length += len(text)
        if part.kind != "text":
            return begun + self._write_delta(part, text, b"")
        if not event.logprobs:
            return begun + self._write_delta(part, text, b',"logprobs":[]')
        part.logprobs += event.logprobs
        logprobs = _encode([write_logprob(logprob) for logprob in event.logprobs])
        return begun + self._write_delta(part, text, b',"logprobs":' + logprobs)

    def _write_delta(self, part: _Part, text: str, more: bytes) -> bytes:
        number = self._sequence
        self._sequence = number + 1
        return b'%b%b%b,"sequence_number":%d}\n\n' % (part.head, _encode(text), more, number)

    def _cited(self, event: Cited) -> bytes:
        part = self._parts.get(event.index)
        if part is None or part.kind != "text":
            return b""
        begun = self._begin(part) if part.position < 0 else b""
        part.citations.append(event.citation)
        fields = {
            **part.place,
            "annotation_index": len(part.citations) - 1,
            "annotation": write_citation(event.citation, part.length),
        }
        return begun + self._event("response.output_text.annotation.added", fields)

    def _end(self, part: _Part) -> bytes:
        """The events after a part's last delta."""
        if part.kind == "tool_call":
            return self._end_call(part)
        if part.kind == "thinking":
            return self._end_thinking(part)
        if part.position < 0:
            return b""
        text = part.text
        if part.kind == "text":
            content = write_text(text, part.citations, part.logprobs)
            fields = {**part.place, "text": text, "logprobs": content["logprobs"]}
            done = self._event("response.output_text.done", fields)
        else:
            self._refused = True
            content = write_refusal(text)
            done = self._event("response.refusal.done", {**part.place, "refusal": text})
        if self._message is not None:
            self._message.content.append(content)
        return done + self._event("response.content_part.done", {**part.place, "part": content})

    def _end_thinking(self, part: _Part) -> bytes:
        text = part.text
        if not text and part.seal is None:
            return b""
        done = self._begin(part) if part.position < 0 else b""
        if text:
            done += self._event("response.reasoning_summary_text.done", {**part.place, "text": text})
            done += self._event("response.reasoning_summary_part.done", {**part.place, "part": _summary(text)})
        return done + self._item_done(part.position, write_reasoning(text, part.seal, self._base, part.position))

    def _end_call(self, part: _Part) -> bytes:
        rest = part.unwrapper.finish() if part.unwrapper is not None else ""
        if not part.pieces and not part.freeform:
            rest = "{}"  # a client parses what it got
        done = b""
        if rest:
            part.pieces.append(rest)
            done = self._write_delta(part, rest, b"")
        text = part.text
        if part.freeform:
            done += self._event("response.custom_tool_call_input.done", {**part.place, "input": text})
        else:
            done += self._event("response.function_call_arguments.done", {**part.place, "arguments": text})
        item = write_call(part.item, "completed", part.call(text), self._names)
        done += self._item_done(part.position, item)
        if part.seal is None:
            return done
        position = self._add_position()
        sealed = write_call_seal(part.seal, part.call_id, self._base, position)
        added = self._event("response.output_item.added", {"output_index": position, "item": sealed})
        return done + added + self._item_done(position, sealed)

    def _item_done(self, position: int, item: dict[str, Any]) -> bytes:
        encoded = _encode(item)
        self._output[position] = encoded
        return self._event("response.output_item.done", {"output_index": position, "item": Raw(encoded)})

    def _close_message(self, *, cut: bool) -> bytes:
        message, self._message = self._message, None
        if message is None:
            return b""
        status: Status = "incomplete" if cut else "completed"
        return self._item_done(message.position, write_message(message.item, status, message.content))

    def _ended(self, event: Ended) -> bytes:
        open_parts, self._parts = self._parts, {}
        rest = b"".join([self._end(part) for part in open_parts.values()])
        self._finish = event.finish
        return rest + self._close_message(cut=cut_reason(event.finish, self._refused) is not None)


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}
