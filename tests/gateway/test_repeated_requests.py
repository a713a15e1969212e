"""Requests that repeat their head on one connection are answered as each would be on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from ownkey import Config
from ownkey.cli.gateway_server import GatewayServer
from ownkey.cli.repeated_head import learn_head
from tests.listening import bind_loopback

HEAD = (
    b"POST /v1/chat?a=%%20b HTTP/1.1\r\nHost: here\r\nContent-Length: %b\r\n"
    b"Authorization: Bearer ok-1\r\nX-Two: 2\r\n\r\n"
)


class Echo:
    """Tells what it was asked, writes into its scope as frameworks do, and holds a request that says so."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()

    def begin_drain(self) -> None:
        """There is nothing to tell."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        told = {name: value for name, value in scope.items() if isinstance(value, str | list | dict)}
        scope["headers"].append((b"x-added", b"by the application"))
        scope["route"], scope["state"]["left"] = "an earlier one", "here"
        if body.startswith(b"hold"):
            await self.let_go.wait()
        answer = json.dumps([told, body.decode()], default=repr, sort_keys=True).encode()
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture(autouse=True)
def fresh_providers() -> None:
    """Nobody asks providers here."""


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest_asyncio.fixture
async def address(echo: Echo) -> AsyncIterator[str]:
    listener = bind_loopback()
    server = GatewayServer(echo, Config(shutdown_grace_seconds=1), log_level="warning")
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await serving
    listener.close()


class Line:
    """One connection. Each piece is sent after the answer to the one before, so that it comes by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, address: str) -> Line:
        parts = urlsplit(address)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def ask(self, *pieces: bytes) -> tuple[int, Any]:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(0.01)  # so that they come as two: nothing tells when the first has been read
            self.writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await self.writer.drain()
        return await self.answer()

    async def answer(self) -> tuple[int, Any]:
        """Status and what was told; 0 for a connection that was closed instead."""
        try:
            async with asyncio.timeout(20):
                head = b"HTTP/1.1 100 "
                while head.startswith(b"HTTP/1.1 100 "):
                    head = await self.reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
                body = await self.reader.readexactly(int(length[16:]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, None
        status = int(head.split(b" ")[1])
        told = json.loads(body)
        if isinstance(told, list):
            for own in ("client", "ownkey.connection"):
                told[0].pop(own, None)
        return status, told

    def close(self) -> None:
        self.writer.close()


def request(body: bytes, length: bytes | None = None, head: bytes = HEAD) -> bytes:
    return head % (b"%d" % len(body) if length is None else length) + body


async def alone(address: str, *pieces: bytes) -> tuple[int, Any]:
    """The answer on a connection of its own."""
    line = await Line.open(address)
    try:
        return await line.ask(*pieces)
    finally:
        line.close()


PLAIN = [request(b"x" * size) for size in (5, 5, 7, 12_345, 1, 60_000, 9)]
OTHER_HEADS = [
    HEAD.replace(b"ok-1", b"ok-2"),
    HEAD.replace(b"ok-1", b"ok-12"),
    HEAD.replace(b"POST", b"PUT"),
    HEAD.replace(b"/v1/chat", b"/v1/other"),
    HEAD.replace(b"X-Two: 2\r\n", b""),
    HEAD.replace(b"X-Two: 2\r\n", b"X-Two: 2\r\nX-Three: 3\r\n"),
    HEAD.replace(b"Content-Length", b"content-length"),
]


async def test_the_usual_sequence(address: str) -> None:
    line = await Line.open(address)
    answers = [await line.ask(piece) for piece in PLAIN]
    line.close()
    assert answers == [await alone(address, piece) for piece in PLAIN]
    assert {status for status, _ in answers} == {200}


@pytest.mark.parametrize("other", OTHER_HEADS)
async def test_a_head_that_differs_anywhere_is_another_one(address: str, other: bytes) -> None:
    pieces = [*PLAIN[:4], request(b"other", head=other), PLAIN[0], request(b"more", head=other), *PLAIN[:2]]
    line = await Line.open(address)
    answers = [await line.ask(piece) for piece in pieces]
    line.close()
    assert answers == [await alone(address, piece) for piece in pieces]


@pytest.mark.parametrize(
    "length", [b"05", b"+5", b" 5", b"5 ", b"5, 5", b"0x5", b"4", b"", b"5a", b"\xb25", b"99999999999999999999", b"0"]
)
async def test_a_length_that_is_written_in_another_way(address: str, length: bytes) -> None:
    """It means what the parser says that it means."""
    odd = request(b"hello", length)
    line = await Line.open(address)
    for piece in PLAIN[:3]:
        assert (await line.ask(piece))[0] == 200
    fresh = await Line.open(address)
    answers = [await one.ask(odd) for one in (line, fresh)]
    assert answers[0] == answers[1]
    line.close()
    fresh.close()


@pytest.mark.parametrize("cut", [1, 30, HEAD.index(b"%b") + 1, len(HEAD), len(HEAD) + 3])
async def test_one_that_comes_in_two_pieces(address: str, cut: int) -> None:
    whole = request(b"y" * 50)
    line = await Line.open(address)
    answers = [await line.ask(piece) for piece in PLAIN[:3]]
    answers.append(await line.ask(whole[:cut], whole[cut:]))
    answers += [await line.ask(piece) for piece in PLAIN[:2]]
    line.close()
    assert answers == [await alone(address, piece) for piece in (*PLAIN[:3], whole, *PLAIN[:2])]


async def test_two_in_one_piece_are_two(address: str) -> None:
    line = await Line.open(address)
    for piece in PLAIN[:3]:
        await line.ask(piece)
    answers = [await line.ask(PLAIN[0] + PLAIN[2]), await line.answer(), await line.ask(PLAIN[4])]
    line.close()
    assert answers == [await alone(address, piece) for piece in (PLAIN[0], PLAIN[2], PLAIN[4])]


async def test_one_that_comes_while_another_runs_waits_for_its_turn(address: str, echo: Echo) -> None:
    line = await Line.open(address)
    for piece in PLAIN[:3]:
        await line.ask(piece)
    line.writer.write(request(b"hold"))
    await line.writer.drain()
    await alone(address, PLAIN[0])
    line.writer.write(PLAIN[2])
    await line.writer.drain()
    await alone(address, PLAIN[0])
    echo.let_go.set()
    answers = [await line.answer(), await line.answer()]
    line.close()
    assert [told[1] for _, told in answers] == ["hold", "xxxxxxx"]


@pytest.mark.parametrize("header", [b"Connection: close", b"Expect: 100-continue"])
async def test_what_asks_for_something_of_the_connection_is_asked_for_each_time(address: str, header: bytes) -> None:
    head = HEAD.replace(b"X-Two: 2", header)
    statuses = list[int]()
    line = await Line.open(address)
    for _ in range(4):
        status, _ = await line.ask(request(b"hello", head=head))
        statuses.append(status)
    line.close()
    assert statuses == ([200, 0, 0, 0] if b"close" in header else [200] * 4)


def test_a_head_is_learnt_only_where_its_length_is_there_to_see() -> None:
    heads: Sequence[bytes] = [
        b"POST / HTTP/1.1\r\nhost: x\r\n\r\nhello",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nx: content-length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nhello",
        b"POST / HTTP/1.1\r\ncontent-length: 05\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\n\r\n\r\ncontent-length: 5\r\n\r\n",
        b"hello",
    ]
    assert [learn_head(head) for head in heads] == [None] * len(heads)
    learnt = learn_head(request(b"hello"))
    assert learnt is not None
    assert learnt.find_body(request(b"other body")) == len(request(b"other body")) - 10
    assert learnt.find_body(request(b"hello") + b"x") == 0
