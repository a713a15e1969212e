"""A provider's stream in the neutral form.

A part begins with its first word: an item that was announced may stay empty, and until there is content another
provider can take over. What was not streamed is taken from the `done` events, which hold each part whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.openai_responses.wire_items import (
    ABSENT,
    WireAnnotation,
    WireContent,
    WireEnd,
    WireItem,
    WireResponse,
    WireToken,
    finish_of,
    read_item,
)
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
from ownkey.providers.stream_events import (
    Cited,
    Delta,
    Ended,
    PartEnded,
    PartKind,
    PartStarted,
    Sealed,
    Started,
    StreamEvent,
)
from ownkey.providers.unreadable import TOO_DEEP, UNREADABLE


class _Event(Struct):
    """One event, with what any of its types needs."""

    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str = ""
    arguments: str | None = None
    input: str | None = None
    item: Raw = ABSENT
    part: WireContent | None = None
    annotation: WireAnnotation | None = None
    logprobs: list[WireToken] | None = None
    response: Raw = ABSENT
    error: Raw = ABSENT


class _OpenPart(Struct):
    """A part that has begun: its index in the neutral stream, and whether anything was said."""

    index: int
    kind: PartKind
    said: bool = False
    ended: bool = False
    summary_index: int = 0


_EVENT: Final = msgspec.json.Decoder(_Event)
_RESPONSE: Final = msgspec.json.Decoder(WireResponse)
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_UNREADABLE: Final = Failure(
    outcome=Outcome.STREAM_BROKEN, message="The provider's stream holds something that cannot be read."
)
_GAVE_UP: Final = Failure(outcome=Outcome.OVERLOADED, message="The provider gave up on its answer.")
_CONTENT_KINDS: Final[dict[str, PartKind]] = {"output_text": "text", "refusal": "refusal"}


class ResponsesStreamReader:
    """Reads one stream. See `StreamReader`."""

    def __init__(self) -> None:
        self.complete = False
        self.failure: Failure | None = None
        self.tokens: Tokens | None = None
        self.raw_usage: bytes | None = None
        self._splitter = EventSplitter()
        self._events: list[StreamEvent] = []
        self._started = False
        self._called = self._refused = False
        # By output index, and the content index of a message's part.
        self._parts: dict[tuple[int, int], _OpenPart] = {}
        self._open_parts: dict[int, _OpenPart] = {}
        self._last: _OpenPart | None = None

    def feed(self, data: bytes) -> list[StreamEvent]:
        """The events in these bytes, however the network cut them."""
        if self.failure is not None or self.complete:
            return []
        try:
            block = self._splitter.feed(data)
        except EventTooLong:
            self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an endless event.")
            return []
        for event in split_events(block):
            self._read(read_event(event).data)
        events, self._events = self._events, []
        return events

    def finish(self) -> list[StreamEvent]:
        """What is left at the end of the connection."""
        rest = self._splitter.finish().strip()
        if not rest or self.complete or self.failure is not None:
            return []
        if not self._started and rest.startswith((b"{", b"[")):
            # Not a stream at all: an error as plain JSON with status 200.
            self.failure = read_failure_in_answer(rest)
            return []
        return self.feed(rest + b"\n\n")

    def _read(self, data: bytes) -> None:
        if not data or self.complete:
            return
        try:
            event = _EVENT.decode(data)
        except RecursionError:
            self._fail(TOO_DEEP)
            return
        except UNREADABLE:
            return  # `[DONE]` of those who copied the dialect, or an event that is none
        error = bytes(event.error)
        if event.type == "error" or (not event.type and error != b"null"):
            self._fail(read_failure_in_answer(data if error == b"null" else error))
            return
        read = _READERS.get(event.type)
        # After an error nothing counts but the usage of the response that failed.
        if read is None or (self.failure is not None and event.type != "response.failed"):
            return
        try:
            read(self, event)
        except UNREADABLE:
            self._fail(_UNREADABLE)

    def _fail(self, failure: Failure) -> None:
        self.failure = self.failure or failure

    def _begin(self, event: _Event) -> None:
        if not self._started:
            response = _RESPONSE.decode(event.response) if bytes(event.response) != b"null" else WireResponse()
            self._started = True
            created = int(response.created_at or time.time())
            self._events.append(Started(response.id or "", response.model or "", created))

    def _open(self, key: tuple[int, int], started: PartStarted) -> _OpenPart:
        """A part at its beginning. The one before it is over, unless both are calls."""
        if not self._started:
            self._begin(_Event())
        last = self._last
        if last is not None and not last.ended and (last.kind != "tool_call" or started.kind != "tool_call"):
            self._close_all()
        self._last = part = _OpenPart(len(self._parts), started.kind)
        self._parts[key] = part
        self._open_parts[part.index] = part
        self._events.append(started)
        return part

    def _close(self, part: _OpenPart) -> None:
        if not part.ended:
            part.ended = True
            del self._open_parts[part.index]
            self._events.append(PartEnded(part.index))

    def _close_all(self) -> None:
        for part in list(self._open_parts.values()):
            self._close(part)

    def _find(self, event: _Event, kind: PartKind) -> _OpenPart:
        """The text, refusal or thinking that an event is about; it begins if it has not."""
        key = (event.output_index, -1 if kind == "thinking" else event.content_index)
        part = self._parts.get(key)
        if part is None:
            part = self._open(key, PartStarted(len(self._parts), kind))
        return part

    def _say(self, part: _OpenPart, text: str, event: _Event) -> None:
        if (text or event.logprobs) and not part.ended:
            part.said = True
            logprobs = tuple([token.read() for token in event.logprobs]) if event.logprobs else ()
            self._events.append(Delta(part.index, text, logprobs))

    def _text_delta(self, event: _Event) -> None:
        if event.delta or event.logprobs:
            self._say(self._find(event, "text"), event.delta, event)

    def _refusal_delta(self, event: _Event) -> None:
        if event.delta:
            self._refused = True
            self._say(self._find(event, "refusal"), event.delta, event)

    def _thinking_delta(self, event: _Event) -> None:
        if not event.delta:
            return
        part = self._find(event, "thinking")
        index = event.summary_index or event.content_index
        # Several summaries are one thinking part; a blank line stands between them.
        separator = "\n\n" if part.said and index != part.summary_index else ""
        part.summary_index = index
        self._say(part, separator + event.delta, event)

    def _call_delta(self, event: _Event) -> None:
        part = self._parts.get((event.output_index, -1))
        if part is not None:
            self._say(part, event.delta, event)

    def _call_done(self, event: _Event) -> None:
        part = self._parts.get((event.output_index, -1))
        said = event.input if event.arguments is None else event.arguments
        if part is not None and not part.said and said:
            self._say(part, said, event)

    def _annotation(self, event: _Event) -> None:
        citation = event.annotation.read() if event.annotation is not None else None
        if citation is not None:
            part = self._find(event, "text")
            if not part.ended:
                self._events.append(Cited(part.index, citation))

    def _item_added(self, event: _Event) -> None:
        item = read_item(event.item)
        if item.type in _CALLS:
            self._open_call(event.output_index, item)

    def _open_call(self, output_index: int, item: WireItem) -> _OpenPart:
        part = self._parts.get((output_index, -1))
        if part is not None:
            return part
        self._called = True
        identifier, freeform = item.call_id or item.id or "", item.type == "custom_tool_call"
        started = PartStarted(len(self._parts), "tool_call", identifier, item.name or "", freeform)
        return self._open((output_index, -1), started)

    def _content_done(self, event: _Event) -> None:
        """The end of a text or a refusal, which is here as a whole."""
        if event.part is not None:
            self._end_content(event, event.part)

    def _end_content(self, event: _Event, content: WireContent) -> None:
        kind = _CONTENT_KINDS.get(content.type)
        said = content.refusal if kind == "refusal" else content.text
        part = self._parts.get((event.output_index, event.content_index))
        if kind is None or (part is None and not said):
            return
        part = part or self._find(event, kind)
        self._refused = self._refused or kind == "refusal"
        if not part.said and said:
            event.logprobs = content.logprobs
            self._say(part, said, event)
        self._close(part)

    def _item_done(self, event: _Event) -> None:
        item = read_item(event.item)
        if item.type == "message":
            for index, content in enumerate(item.content or ()):
                event.content_index = index
                self._end_content(event, content)
        elif item.type == "reasoning":
            self._end_thinking(event, item)
        elif item.type in _CALLS:
            part = self._open_call(event.output_index, item)
            if not part.said:
                self._say(part, item.said, event)
            self._close(part)

    def _end_thinking(self, event: _Event, item: WireItem) -> None:
        text, seal = item.thoughts, item.seal
        part = self._parts.get((event.output_index, -1))
        if part is None:
            if not text and seal is None:
                return
            part = self._find(event, "thinking")
        if part.ended:
            return
        if not part.said:
            self._say(part, text, event)
        if seal is not None:
            self._events.append(Sealed(part.index, seal))
        self._close(part)

    def _end(self, event: _Event) -> None:
        response = _RESPONSE.decode(event.response)
        self._count(response)
        if response.failure is not None:
            self._fail(response.failure)
            return
        self._begin(event)
        if not self._parts:
            # Some stream nothing but the end.
            for index, raw in enumerate(response.output or ()):
                self._item_done(_Event(output_index=index, item=raw))
        self._close_all()
        self._events.append(Ended(finish_of(response, called=self._called, refused=self._refused)))
        self.complete = True

    def _failed(self, event: _Event) -> None:
        response = _RESPONSE.decode(event.response)
        self._count(response)
        self._fail(response.failure or _GAVE_UP)

    def _count(self, response: WireEnd) -> None:
        tokens = response.tokens
        if tokens is not None:
            self.tokens, self.raw_usage = tokens, response.raw_usage


_READERS: Final[dict[str, Callable[[ResponsesStreamReader, _Event], None]]] = {
    "response.output_text.delta": ResponsesStreamReader._text_delta,
    "response.refusal.delta": ResponsesStreamReader._refusal_delta,
    "response.reasoning_summary_text.delta": ResponsesStreamReader._thinking_delta,
    "response.reasoning_text.delta": ResponsesStreamReader._thinking_delta,
    "response.function_call_arguments.delta": ResponsesStreamReader._call_delta,
    "response.custom_tool_call_input.delta": ResponsesStreamReader._call_delta,
    "response.function_call_arguments.done": ResponsesStreamReader._call_done,
    "response.custom_tool_call_input.done": ResponsesStreamReader._call_done,
    "response.output_text.annotation.added": ResponsesStreamReader._annotation,
    "response.content_part.done": ResponsesStreamReader._content_done,
    "response.output_item.added": ResponsesStreamReader._item_added,
    "response.output_item.done": ResponsesStreamReader._item_done,
    "response.created": ResponsesStreamReader._begin,
    "response.in_progress": ResponsesStreamReader._begin,
    "response.completed": ResponsesStreamReader._end,
    "response.incomplete": ResponsesStreamReader._end,
    "response.failed": ResponsesStreamReader._failed,
}
