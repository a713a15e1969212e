"""A stream for clients that did not ask for `alt=sse`: Google then answers with one JSON array, piece by piece."""

from __future__ import annotations

from ownkey.providers.sse import EventSplitter, read_event, split_events


class JSONArrayStream:
    """Turns the bytes of a stream of events into those of an array. An error inside the stream is its last element."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """The array's bytes for these events."""
        return b"".join([self._write(event) for event in split_events(self._splitter.feed(data))])

    def finish(self) -> bytes:
        """The end of the array."""
        return self._write(self._splitter.finish()) + (b"\n]\n" if self._begun else b"[]\n")

    def _write(self, event: bytes) -> bytes:
        data = read_event(event).data
        if not data:
            return b""
        mark, self._begun = (b",\r\n" if self._begun else b"["), True
        return mark + data
