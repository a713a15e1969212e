"""At most one call in an answer, for a client that asked for that: not every provider can be told.

The first call is handed on and the others are not. After the result of the first the model calls again, so nothing but
time is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Tokens
from ownkey.providers.conversation import Answer, ToolCall
from ownkey.providers.stream_events import Ended, KeepAlive, PartStarted, Started, StreamEvent

if TYPE_CHECKING:
    from ownkey.providers.translation import StreamReader


def keep_first_call(answer: Answer) -> None:
    """Take all calls but the first out of a whole answer."""
    first = next((part for part in answer.parts if isinstance(part, ToolCall)), None)
    answer.parts = [part for part in answer.parts if part is first or not isinstance(part, ToolCall)]


class OneCallReader:
    """A `StreamReader` that gives out the events of no call but the first. The parts keep their order and no gaps."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._places: dict[int, int | None] = {}  # by the reader's index; None: not handed on
        self._count = 0
        self._called = False

    @property
    def complete(self) -> bool:
        """Whether the stream came to its proper end."""
        return self._reader.complete

    @property
    def failure(self) -> Failure | None:
        """The error inside the stream."""
        return self._reader.failure

    @property
    def tokens(self) -> Tokens | None:
        """The usage that was reported so far."""
        return self._reader.tokens

    @property
    def raw_usage(self) -> bytes | None:
        """That usage in the provider's words."""
        return self._reader.raw_usage

    def feed(self, data: bytes) -> list[StreamEvent]:
        """The events in these bytes."""
        return self._filter(self._reader.feed(data))

    def finish(self) -> list[StreamEvent]:
        """What is left at the end of the connection."""
        return self._filter(self._reader.finish())

    def _filter(self, events: list[StreamEvent]) -> list[StreamEvent]:
        return [kept for event in events if (kept := self._keep(event)) is not None]

    def _keep(self, event: StreamEvent) -> StreamEvent | None:
        if isinstance(event, Started | Ended | KeepAlive):
            return event
        if isinstance(event, PartStarted):
            refused = event.kind == "tool_call" and self._called
            self._called = self._called or event.kind == "tool_call"
            self._places[event.index] = None if refused else self._count
            self._count += not refused
        place = self._places.get(event.index)
        if place is None or place == event.index:
            return event if place is not None else None
        return replace(event, index=place)
