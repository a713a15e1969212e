"""Events are found wherever the network cuts a stream, and no byte is lost or changed on the way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.providers.sse import Event, EventSplitter, EventTooLong, read_event, split_events

LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=20).map(str.encode)
STREAM = st.tuples(
    st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=6)
)


def render(stream: tuple[bytes, list[list[bytes]]]) -> bytes:
    end, events = stream
    return b"".join(end.join(b"x" + line for line in lines) + end + end for lines in events)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(STREAM, st.lists(st.integers(0, 10_000), max_size=12))
def test_cutting_changes_nothing(stream: tuple[bytes, list[list[bytes]]], places: list[int]) -> None:
    data = render(stream)
    splitter = EventSplitter()

    blocks = [splitter.feed(chunk) for chunk in cut(data, places)]
    rest = splitter.finish()

    assert b"".join(blocks) + rest == data
    assert [event for block in blocks for event in split_events(block)] + ([rest] if rest else []) == split_events(data)
    assert len(split_events(data)) == len(stream[1])


@given(STREAM)
def test_every_event_is_given_out_as_soon_as_it_is_whole(stream: tuple[bytes, list[list[bytes]]]) -> None:
    end, events = stream
    splitter = EventSplitter()
    for position, lines in enumerate(events):
        event = render((end, [lines]))
        given_out = b"".join(splitter.feed(event[index : index + 1]) for index in range(len(event)))
        # After CRLF CR the next byte tells whether the event has ended: LF ends it, so nothing is ever late.
        assert given_out == event, position


def test_what_has_no_end_is_kept() -> None:
    splitter = EventSplitter()

    assert splitter.feed(b"data: 1\n\ndata: 2\n") == b"data: 1\n\n"
    assert splitter.feed(b"\ndata: 3") == b"data: 2\n\n"
    assert splitter.finish() == b"data: 3"
    assert splitter.finish() == b""


def test_an_endless_event_is_refused() -> None:
    splitter = EventSplitter(limit_bytes=100)
    splitter.feed(b"data: " + b"x" * 90)

    with pytest.raises(EventTooLong):
        splitter.feed(b"x" * 90)


def test_a_large_event_is_fine_when_it_ends() -> None:
    splitter = EventSplitter(limit_bytes=100)

    assert splitter.feed(b"data: " + b"x" * 500 + b"\n\n").endswith(b"xx\n\n")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b"data: x\n\n", Event(b"", b"x")),
        (b"data:x\n\n", Event(b"", b"x")),
        (b"data:  x\n\n", Event(b"", b" x")),
        (b"data: a\ndata: b\n\n", Event(b"", b"a\nb")),
        (b"data\ndata: b\n\n", Event(b"", b"\nb")),
        (b"event: ping\ndata: {}\n\n", Event(b"ping", b"{}")),
        (b"event:ping\r\ndata: {}\r\n\r\n", Event(b"ping", b"{}")),
        (b"data: x\r\n\r\n", Event(b"", b"x")),
        (b"data: x\ndata: y\r\n\r\n", Event(b"", b"x\ny")),
        (b"data:  x\r\n\r\n", Event(b"", b" x")),
        (b"id: 7\rdata: a\r\r", Event(b"", b"a")),
        (b": a comment\n\n", Event(b"", b"")),
        (b": a comment\ndata: x\n\n", Event(b"", b"x")),
        (b"database: x\n\n", Event(b"", b"")),
        (b"\n", Event(b"", b"")),
    ],
)
def test_an_events_fields(event: bytes, expected: Event) -> None:
    assert read_event(event) == expected
