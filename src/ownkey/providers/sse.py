"""Server-sent events as bytes: where one ends, and what its fields say.

The rules are those of the HTML standard, section 9.2.6: a line ends with LF, CRLF or CR, an empty line ends an
event, a line that begins with a colon is a comment, several `data` lines are joined with LF.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

# One event of a provider: base64 images and long tool calls fit, a stream without any empty line does not.
EVENT_LIMIT_BYTES: Final = 16 * 1024 * 1024

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
# Two line ends in a row; each group is atomic, so that CRLF is never read as CR and LF.
_EVENT_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


class EventTooLong(ValueError):
    """A stream went on without an empty line for longer than any event is."""


class Event(Struct, frozen=True):
    """One event: its type (empty where none was given) and its data lines joined."""

    type: bytes
    data: bytes


class EventSplitter:
    """Cuts a stream into whole events, wherever the network happened to cut it.

    The bytes themselves are kept as they are: what goes in comes out, only later. `held` is the beginning of an
    event whose end has not come yet.
    """

    __slots__ = ("_limit", "_searched", "held")

    def __init__(self, limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self.held = bytearray()
        self._limit = limit_bytes
        self._searched = 0

    def feed(self, data: bytes) -> bytes:
        """All events that are complete now, as one block that ends with an empty line; possibly nothing.

        Raises EventTooLong when a single event exceeds the limit.
        """
        held = self.held
        if not held:
            # The ordinary case: a provider writes whole events, and JSON never holds a raw CR.
            if data.endswith((b"\n\n", b"\r\n\r\n")):
                return data
            cut = _last_event_end(data, 0)
            held += data[cut:]
            block = data[:cut]
        else:
            held += data
            cut = _last_event_end(held, self._searched)
            block = bytes(held[:cut])
            del held[:cut]
        # An event's end is at most four bytes long: three of them may be here already.
        self._searched = max(len(held) - 3, 0)
        if len(held) > self._limit:
            raise EventTooLong
        return block

    def finish(self) -> bytes:
        """What is left: an event that was never ended."""
        rest = bytes(self.held)
        self.held.clear()
        self._searched = 0
        return rest


def _last_event_end(data: bytes | bytearray, start: int) -> int:
    """Where the last whole event ends, or 0."""
    if data.find(b"\r", start) < 0:
        position = data.rfind(b"\n\n", start)
        return position + 2 if position >= 0 else 0
    end = 0
    for match in _EVENT_END.finditer(data, start):
        end = match.end()
    # After CRLF a last CR may be the first half of another CRLF: the next chunk tells.
    if end == len(data) and data.endswith(b"\r\n\r"):
        end = 0
        for match in _EVENT_END.finditer(data, start, len(data) - 1):
            end = match.end()
    return end


def split_events(block: bytes) -> list[bytes]:
    """The events of a block, each with the empty line that ends it."""
    if block.find(b"\r") < 0:
        if block.find(b"\n\n") == len(block) - 2:
            return [block]  # the ordinary case
        parts = block.split(b"\n\n")
        tail = parts.pop()
        events = [part + b"\n\n" for part in parts]
        return [*events, tail] if tail else events
    if _is_one_line(block):
        return [block]  # Google's ordinary case
    events, start = [], 0
    for match in _EVENT_END.finditer(block):
        events.append(block[start : match.end()])
        start = match.end()
    return [*events, block[start:]] if start < len(block) else events


def _is_one_line(event: bytes) -> bool:
    """Whether an event is a single line that ends with CRLF, as the empty line after it does."""
    end = len(event) - 4
    return event.endswith(b"\r\n\r\n") and event.find(b"\r") == end and event.find(b"\n") == end + 1


def read_event(event: bytes) -> Event:
    """The type and the data of one event. An event of comments only has neither."""
    # Nearly all are a line of data, with or without a line that names the type.
    start = event.find(b"\n") + 1 if event.startswith(b"event: ") else 0
    plain = event.endswith(b"\n\n") and event.startswith(b"data: ", start) and event.find(b"\r") < 0
    if plain and event.find(b"\n", start) == len(event) - 2:
        return Event(event[7 : start - 1] if start else b"", event[start + 6 : -2])
    if event.startswith(b"data: ") and _is_one_line(event):
        return Event(b"", event[6:-4])
    kind, data = b"", []
    for line in _LINE_END.split(event) if event.find(b"\r") >= 0 else event.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line.startswith(b"event:"):
            kind = line[6:].removeprefix(b" ")
        elif line == b"data":
            data.append(b"")
    return Event(kind, data[0] if len(data) == 1 else b"\n".join(data))
