"""Claude's stream as neutral events."""

from __future__ import annotations

import time
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.anthropic_messages.read_answer import Source, StopDetails, read_source, sign
from ownkey.providers.anthropic_messages.stop_reasons import read_stop_reason
from ownkey.providers.anthropic_messages.usage import StreamUsage
from ownkey.providers.conversation import Seal
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
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
from ownkey.providers.unreadable import TOO_DEEP, UNREADABLE

_ABSENT: Final = Raw(b"null")
_KINDS: Final[dict[str, PartKind]] = {"text": "text", "thinking": "thinking", "redacted_thinking": "thinking"}


class _Delta(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: Source | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class _Block(Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _Message(Struct):
    id: str = ""
    model: str = ""
    usage: Raw = _ABSENT


class _Event(Struct):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


class _OpenPart(Struct):
    """A block under way. A text or a thought begins with its first words: an empty one says nothing."""

    index: int
    kind: PartKind
    begun: bool = False
    input: bytes = b""
    said_arguments: bool = False


_EVENT: Final = msgspec.json.Decoder(_Event)


class AnthropicStreamReader:
    """Reads Messages events. See `StreamReader` for the attributes."""

    def __init__(self) -> None:
        self.complete = False
        self.failure: Failure | None = None
        self._splitter = EventSplitter()
        self._usage = StreamUsage()
        self._parts: dict[int, _OpenPart] = {}
        self._next_part = 0
        self._started = self._ended = False

    @property
    def tokens(self) -> Tokens | None:
        """The usage that was reported so far, of a broken stream too."""
        return self._usage.tokens

    @property
    def raw_usage(self) -> bytes | None:
        """That usage in the provider's words."""
        return self._usage.raw

    def feed(self, data: bytes) -> list[StreamEvent]:
        """The events in these bytes."""
        if self.failure is not None or self.complete:
            return []
        try:
            block = self._splitter.feed(data)
        except EventTooLong:
            self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an endless event.")
            return []
        events: list[StreamEvent] = []
        for event in split_events(block):
            self._read(read_event(event).data, events)
        return events

    def finish(self) -> list[StreamEvent]:
        """What is left: an event without an empty line after it, or an error that came instead of a stream."""
        rest = self._splitter.finish()
        if not self._started and rest.lstrip().startswith(b"{") and self.failure is None:
            self.failure = read_failure_in_answer(rest)
        return self.feed(rest.rstrip(b"\r\n") + b"\n\n") if rest.strip() else []

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        if not data or self.failure is not None or self.complete:
            return
        try:
            event = _EVENT.decode(data)
        except RecursionError:
            self.failure = TOO_DEEP
            return
        except UNREADABLE:
            return  # Anthropic may add events; unknown ones are to be ignored
        match event.type:
            case "content_block_delta":
                if event.delta is not None:
                    self._read_delta(event.index, event.delta, events)
            case "content_block_start":
                if event.content_block is not None:
                    self._start_part(event.index, event.content_block, events)
            case "content_block_stop":
                self._end_part(event.index, events)
            case "message_start":
                self._start(event.message or _Message(), events)
            case "message_delta":
                self._usage.add(bytes(event.usage))
                if event.delta is not None and event.delta.stop_reason:
                    self._end(event.delta, events)
            case "message_stop":
                self._end(_Delta(), events)
                self.complete = True
            case "ping":
                if self._next_part:
                    events.append(KeepAlive())
            case "error":
                self.failure = read_failure_in_answer(bytes(event.error))

    def _start(self, message: _Message, events: list[StreamEvent]) -> None:
        self._usage.add(bytes(message.usage))
        if not self._started:
            self._started = True
            events.append(Started(message.id, message.model, int(time.time()), self._usage.tokens))

    def _start_part(self, index: int, block: _Block, events: list[StreamEvent]) -> None:
        if self._ended:
            return  # why the answer ended was said before
        self._start(_Message(), events)
        self._make_room(index, block.type, events)
        if block.type == "tool_use":
            part = _OpenPart(self._take_index(), "tool_call", begun=True, input=bytes(block.input))
            self._parts[index] = part
            events.append(PartStarted(part.index, "tool_call", block.id, block.name))
            return
        kind = _KINDS.get(block.type)
        if kind is None:
            return  # a server tool's, which nobody asked for
        self._parts[index] = part = _OpenPart(-1, kind)
        text = block.text or block.thinking
        if text:
            self._say(part, text, events)
        if block.signature:
            self._seal(part, sign(block.signature), events)
        if block.data:
            self._seal(part, Seal(Dialect.ANTHROPIC_MESSAGES, block.data, redacted=True), events)

    def _make_room(self, index: int, kind: str, events: list[StreamEvent]) -> None:
        """End what a provider has left open. Only calls may be open beside each other."""
        self._end_part(index, events)
        other = next(iter(self._parts.values()), None)
        if other is not None and not (kind == "tool_use" and other.kind == "tool_call"):
            for open_index in list(self._parts):
                self._end_part(open_index, events)

    def _read_delta(self, index: int, delta: _Delta, events: list[StreamEvent]) -> None:
        part = self._parts.get(index)
        if part is None:
            return
        text = delta.partial_json if part.kind == "tool_call" else delta.text or delta.thinking
        if text:
            part.said_arguments = True
            self._say(part, text, events)
        elif delta.signature:
            self._seal(part, sign(delta.signature), events)
        elif delta.citation is not None and part.begun:
            citation = read_source(delta.citation)
            if citation is not None:
                events.append(Cited(part.index, citation))

    def _say(self, part: _OpenPart, text: str, events: list[StreamEvent]) -> None:
        self._begin(part, events)
        events.append(Delta(part.index, text))

    def _seal(self, part: _OpenPart, seal: Seal | None, events: list[StreamEvent]) -> None:
        if seal is not None and part.kind == "thinking":
            self._begin(part, events)
            events.append(Sealed(part.index, seal))

    def _begin(self, part: _OpenPart, events: list[StreamEvent]) -> None:
        if not part.begun:
            part.begun, part.index = True, self._take_index()
            events.append(PartStarted(part.index, part.kind))

    def _take_index(self) -> int:
        self._next_part += 1
        return self._next_part - 1

    def _end_part(self, index: int, events: list[StreamEvent]) -> None:
        part = self._parts.pop(index, None)
        if part is None or not part.begun:
            return
        if part.kind == "tool_call" and not part.said_arguments:
            # A tool without arguments gets no delta, but a client parses what it got: `{}`, not nothing.
            events.append(Delta(part.index, part.input.decode()))
        events.append(PartEnded(part.index))

    def _end(self, delta: _Delta, events: list[StreamEvent]) -> None:
        if self._ended:
            return
        self._ended = True
        self._start(_Message(), events)
        for index in list(self._parts):
            self._end_part(index, events)
        words = delta.stop_details.explanation if delta.stop_details is not None else None
        if words:
            index = self._take_index()
            events += (PartStarted(index, "refusal"), Delta(index, words), PartEnded(index))
        events.append(Ended(read_stop_reason(delta.stop_reason), delta.stop_sequence))
