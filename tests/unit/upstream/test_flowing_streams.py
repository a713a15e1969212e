"""A stream whose pieces are passed on as they come: what ends that, and that nothing is lost or said twice then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from requests_to import request_to
from scripted_server import CHUNKED, Connection, ScriptedServer, chunk

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome
from ownkey.providers.dialect import Call
from ownkey.providers.openai_chat.passing_stream import OpenAIStreamDecoder
from ownkey.services.answer import AnswerStream

FIRST = b'data: {"choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]}\n\n'
MORE = b'data: {"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"it broke","type":"server_error","code":"500"}}\n\n'


@dataclass
class Stage:
    """A stream after its first content; what is put into `script` the provider sends, None ends its answer."""

    stream: AnswerStream
    script: asyncio.Queue[bytes | None]
    settled: list[Failure | None]
    received: list[bytes]
    written: list[bytes] = field(default_factory=list)
    framed: list[bytes] = field(default_factory=list)
    takes: int = 1_000_000

    def write(self, data: bytes) -> bool:
        self.written.append(data)
        self.takes -= 1
        return self.takes > 0

    def write_chunk(self, framed: bytes) -> bool:
        size, _, rest = framed.partition(b"\r\n")
        assert len(rest) == int(size, 16) + 2
        assert rest.endswith(b"\r\n")
        self.framed.append(framed)
        return self.write(rest[:-2])

    async def flow(self) -> None:
        await self.stream.flow(self.write, self.write_chunk)

    async def see_through(self) -> list[bytes]:
        """As an exchange does: read, then let it flow, and so on; what was written and read, in order."""
        out = self.written
        while (data := await self.stream.read()) is not None:
            out.append(data)
            await self.flow()
        return out


Open = Callable[..., Any]


@pytest.fixture
def begin(open_pool: Callable[..., Any]) -> Open:
    @asynccontextmanager
    async def begin(frame: Callable[[bytes], bytes] = chunk, **limits: Any) -> AsyncIterator[Stage]:
        script: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def handler(connection: Connection) -> None:
            await connection.read_request()
            await connection.send(CHUNKED + chunk(FIRST))
            while (piece := await script.get()) is not None:
                if piece == b"reset":
                    connection.reset()
                    return
                if piece.startswith(b"at once "):
                    await connection.send(chunk(piece[8:]) + b"0\r\n\r\n")
                    await connection.wait_gone()
                    return
                await connection.send(frame(piece))
            await connection.send(b"0\r\n\r\n")
            await connection.wait_gone()

        async with ScriptedServer(handler) as server:
            response = await open_pool(**limits).send(request_to(server.base_url))
            decoder = OpenAIStreamDecoder(Call(operation="chat", body=b"{}", model="m", stream=True))
            first = b""
            while not decoder.committed:
                first += decoder.feed(await response.read_chunk())
            settled: list[Failure | None] = []
            received: list[bytes] = []
            stream = AnswerStream(
                response, decoder, first, lambda _, failure: settled.append(failure), lambda one: one, received.append
            )
            yield Stage(stream, script, settled, received)
            await stream.close()

    return begin


async def send_one_by_one(stage: Stage, pieces: list[bytes | None]) -> None:
    """Each when the one before has been written, so that each comes by itself."""
    for piece in pieces:
        before = len(stage.written)
        stage.script.put_nowait(piece)
        if piece is not None and piece.startswith(b'data: {"choices"'):
            async with asyncio.timeout(5):
                while len(stage.written) == before:
                    await asyncio.sleep(0)


async def test_every_piece_is_passed_on_by_itself(begin: Open) -> None:
    async with begin() as stage:
        sending = asyncio.create_task(send_one_by_one(stage, [*(MORE % n for n in range(20)), LAST, DONE, None]))
        written = await stage.see_through()
        await sending
    assert written == [FIRST, *(MORE % n for n in range(20)), LAST, DONE]
    assert stage.settled == [None]
    assert b"".join(stage.received) == b"".join(written[1:])


@pytest.mark.parametrize(
    ("form", "as_it_came"),
    [(b"%x\r\n", True), (b"%X\r\n", True), (b"0%x\r\n", False), (b"%x;a=b\r\n", False)],
)
async def test_a_chunk_of_the_usual_form_is_passed_on_as_it_came(begin: Open, form: bytes, as_it_came: bool) -> None:
    def frame(piece: bytes) -> bytes:
        return form % len(piece) + piece + b"\r\n"

    pieces = [MORE % n for n in range(5)]
    async with begin(frame) as stage:
        sending = asyncio.create_task(send_one_by_one(stage, [*pieces, LAST, DONE, None]))
        written = await stage.see_through()
        await sending
    assert written == [FIRST, *pieces, LAST, DONE]
    assert stage.framed[:5] == ([frame(piece) for piece in pieces] if as_it_came else [])


async def test_the_call_is_settled_before_its_last_piece_is_handed_out(begin: Open) -> None:
    async with begin() as stage:
        assert await stage.stream.read() == FIRST
        stage.script.put_nowait(LAST + DONE)
        await stage.flow()
        assert not stage.written
        assert not stage.settled
        assert await stage.stream.read() == LAST + DONE
        assert stage.settled == [None]


async def test_what_came_before_it_began_to_flow_is_not_waited_for(begin: Open) -> None:
    async with begin() as stage:
        assert await stage.stream.read() == FIRST
        stage.script.put_nowait(MORE % 1)
        async with asyncio.timeout(5):
            while not stage.stream._response._connection.has_news:
                await asyncio.sleep(0)
            flowing = asyncio.create_task(stage.flow())
            while not stage.written:
                await asyncio.sleep(0)
        flowing.cancel()
    assert stage.written == [MORE % 1]


async def test_a_client_that_takes_no_more_holds_it_up(begin: Open) -> None:
    async with begin() as stage:
        stage.takes = 2
        assert await stage.stream.read() == FIRST
        flowing = asyncio.create_task(stage.flow())
        await send_one_by_one(stage, [MORE % 1, MORE % 2])
        await asyncio.wait_for(flowing, 5)
        stage.script.put_nowait(MORE % 3)
        assert await stage.stream.read() == MORE % 3
    assert stage.written == [MORE % 1, MORE % 2]


async def test_more_than_is_taken_ends_it_once(begin: Open, caplog: pytest.LogCaptureFixture) -> None:
    async with begin(max_answer_bytes=2_000) as stage:
        sending = asyncio.create_task(send_one_by_one(stage, [MORE % n for n in range(15)]))
        sending.add_done_callback(lambda task: stage.script.put_nowait(bytes(4_000)))
        written = await stage.see_through()
    assert [one and one.outcome for one in stage.settled] == [Outcome.ANSWER_TOO_LARGE]
    assert b'"error"' in written[-1]
    assert sum(map(len, written[:-1])) <= 2_000
    assert not caplog.records, "it was cut again and again"


@pytest.mark.parametrize("end", [b"reset", ERROR, None], ids=["reset", "error", "early end"])
async def test_a_stream_that_breaks_says_so(begin: Open, end: bytes | None) -> None:
    async with begin() as stage:
        sending = asyncio.create_task(send_one_by_one(stage, [MORE % 1, end]))
        written = await stage.see_through()
        await sending
    assert written[:2] == [FIRST, MORE % 1]
    assert b'"error"' in written[-1]
    assert b"[DONE]" not in b"".join(written)
    assert len(stage.settled) == 1
    assert stage.settled[0] is not None


@pytest.mark.parametrize("last", [MORE % 2, LAST, LAST + DONE], ids=["cut short", "without a terminator", "whole"])
async def test_an_end_that_comes_with_the_last_piece_is_seen(begin: Open, last: bytes) -> None:
    async with begin() as stage:
        sending = asyncio.create_task(send_one_by_one(stage, [MORE % 1, b"at once " + last]))
        written = await asyncio.wait_for(stage.see_through(), 10)
        await sending
    assert b"".join(written).startswith(FIRST + MORE % 1 + last)
    assert written[-1].endswith(DONE) == (stage.settled == [None])
    assert len(stage.settled) == 1


async def test_what_is_withdrawn_ends_at_once(begin: Open) -> None:
    failure = Failure(outcome=Outcome.ACCESS_WITHDRAWN, message="The key was deleted.")
    async with begin() as stage:
        assert await stage.stream.read() == FIRST
        flowing = asyncio.create_task(stage.flow())
        await send_one_by_one(stage, [MORE % 1])
        stage.stream.revoke(failure)
        await asyncio.wait_for(flowing, 5)
        told = await stage.stream.read()
        assert told is not None
        assert b"The key was deleted." in told
        assert await stage.stream.read() is None
    assert stage.settled == [failure]


async def test_who_leaves_leaves_the_rest_to_others(begin: Open) -> None:
    async with begin() as stage:
        assert await stage.stream.read() == FIRST
        flowing = asyncio.create_task(stage.flow())
        await send_one_by_one(stage, [MORE % 1])
        flowing.cancel()
        await asyncio.wait({flowing})
        for piece in (MORE % 2, LAST, DONE, None):
            stage.script.put_nowait(piece)
        await stage.stream.drain(100_000)
    assert stage.written == [MORE % 1]
    assert stage.settled == [None]


async def test_a_piece_that_cannot_be_read_breaks_it(begin: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with begin() as stage:
        assert await stage.stream.read() == FIRST

        def fail(_: bytes) -> bytes:
            raise RuntimeError("a mistake of ours")

        monkeypatch.setattr(stage.stream._decoder, "feed", fail)
        flowing = asyncio.create_task(stage.flow())
        stage.script.put_nowait(MORE % 1)
        await asyncio.wait_for(flowing, 5)
        told = await stage.stream.read()
        assert told is not None
        assert b'"error"' in told
    assert [one and one.outcome for one in stage.settled] == [Outcome.STREAM_BROKEN]


async def test_the_server_ends_in_the_moment_in_which_the_stream_does(begin: Open) -> None:
    """Its last piece has come, and was not handed out: it is still the client's, and the call is whole."""
    failure = Failure(outcome=Outcome.INTERNAL, message="This server ends.")
    async with begin() as stage:
        assert await stage.stream.read() == FIRST
        stage.script.put_nowait(LAST + DONE)
        await stage.flow()
        assert await stage.stream.break_off(failure) == LAST + DONE
    assert stage.settled == [None]
