"""A chunk that comes whole and alone is passed on past the parser: what comes out is the same, however it is cut."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ownkey.upstream.http1 import Connection, Deadlines

DEADLINES = Deadlines(first_byte=60, idle=60, total=60, keep_alive=60)
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
# Much of it looks like framing, and must not be taken for it.
CONTENT = st.lists(
    st.sampled_from([b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"\n", b"a", b"data: x\n\n", b"2\r\n", b"d" * 300]),
    min_size=1,
    max_size=6,
).map(b"".join)
SIZE_LINES = st.sampled_from([b"%x\r\n", b"%X\r\n", b"0%x\r\n", b"%x;a=b\r\n"])


class Wire:
    """The transport of a connection whose bytes a test hands in itself."""

    closing = False

    def write(self, data: bytes) -> None:
        """A request: nobody reads it."""

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True


async def receive(pieces: Sequence[bytes]) -> tuple[bytes, list[bytes], bool]:
    """What came of the body, what of that came past the parser, and whether all of it has come."""
    connection = Connection(DEADLINES, set())
    connection.connection_made(Wire())
    asked = asyncio.ensure_future(connection.start(b"GET / HTTP/1.1\r\n\r\n", b""))
    await asyncio.sleep(0)
    connection.data_received(HEAD)
    await asked
    body, past = list[bytes](), list[bytes]()

    def take() -> None:
        body.append(connection.take())

    def take_chunk(framed: bytes, content: bytes) -> None:
        assert framed.endswith(content + b"\r\n")
        body.append(content)
        past.append(framed)

    connection.on_news, connection.on_chunk = take, take_chunk
    for piece in pieces:
        connection.data_received(piece)
    complete = connection.complete
    connection.connection_lost(None)
    return b"".join(body), past, complete


@given(
    contents=st.lists(st.tuples(SIZE_LINES, CONTENT), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 2_000), max_size=12),
    apart=st.booleans(),
)
@example(contents=[(b"%x\r\n", b"5\r\nhello\r\n")], cuts=[3, 13], apart=False)
# A piece ends within a size, and the next one would be a whole chunk of another one.
@example(contents=[(b"%x\r\n", b"aa"), (b"%x\r\n", b"hello\r\n" + b"x" * 14)], cuts=[8, 18], apart=False)
def test_a_body_is_the_same_however_it_is_cut(
    contents: list[tuple[bytes, bytes]], cuts: list[int], apart: bool
) -> None:
    chunks = [line % len(content) + content + b"\r\n" for line, content in contents]
    wire = b"".join(chunks) + b"0\r\n\r\n"
    ends = set(itertools.accumulate(map(len, chunks))) if apart else set()
    places = sorted({0, len(wire)} | ends | {cut for cut in cuts if cut < len(wire)})
    pieces = [wire[begin:end] for begin, end in itertools.pairwise(places)]
    body, past, complete = asyncio.run(receive(pieces))
    assert body == b"".join(content for _, content in contents)
    assert complete
    assert set(past) <= set(chunks)


async def test_chunks_that_come_one_by_one_go_past_the_parser() -> None:
    chunks = [b"%x\r\n%b\r\n" % (len(content), content) for content in (b"data: 1\n\n", b"data: 22\n\n", b"y" * 40_000)]
    body, past, complete = await receive([*chunks, b"0\r\n\r\n"])
    # Until the first one is over, nobody knows where the parser stands.
    assert past == chunks[1:]
    assert complete
    assert body == b"data: 1\n\ndata: 22\n\n" + b"y" * 40_000


@pytest.mark.parametrize("end", [b"0\r\n", b"0\r\nx: y\r\n", b"0\r\n\r\n"], ids=["trailers", "more trailers", "whole"])
async def test_behind_the_last_chunk_there_is_none(end: bytes) -> None:
    body, past, _ = await receive([b"2\r\naa\r\n", end, b"5\r\nhello\r\n"])
    assert body == b"aa"
    assert past == []


async def test_one_byte_in_each_chunk_is_counted_as_the_waste_that_it_is() -> None:
    body, past, _ = await receive([b"1\r\na\r\n"] * 30)
    assert body == b"a" * 30
    assert past == []
