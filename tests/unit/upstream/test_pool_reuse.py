"""Whether a kept connection may carry the next request: what the loop has not read yet counts too."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
import uvloop
from requests_to import SECRET, request_to
from scripted_server import Connection, ScriptedServer

from ownkey.domain.usage import Outcome
from ownkey.upstream import connecting
from ownkey.upstream.http1 import Connection as Http1Connection
from ownkey.upstream.pool import TransportFailure, UpstreamPool

EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL"


@pytest.fixture(params=["plain", "tls"])
def tls(request, authority):
    return authority.server_context() if request.param == "tls" else None


@pytest.fixture
def pool(open_pool, authority):
    return open_pool(trust_roots=authority.root)


class EchoServer:
    """Echoes bodies. What it does between two requests happens at once, without a turn of the client's loop."""

    def __init__(self, tls=None) -> None:
        self.kept: list[Connection] = []
        self.server = ScriptedServer(self.handle, tls)

    async def handle(self, connection: Connection) -> None:
        self.kept.append(connection)
        while True:
            request = await connection.read_request()
            await connection.answer(request.body)

    def push(self, data: bytes) -> None:
        self.kept[-1].writer.write(data)

    def hang_up(self) -> None:
        for connection in self.kept:
            if not connection.writer.is_closing():
                connection.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """So that the client's kernel knows: its next write fails."""
        handle = self.kept[-1].writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # AF_UNSPEC: the only way to reset at once while the transport holds the descriptor.
        with socket.socket(fileno=handle.dup().detach()) as raw:
            _disconnect(raw)


def _disconnect(raw: socket.socket) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.connect(raw.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16) == 0


async def ask(pool: UpstreamPool, server: ScriptedServer, body: bytes, *, method: str = "POST") -> bytes:
    return await (await pool.send(request_to(server.base_url, body=body, method=method), SECRET)).read()


@pytest.mark.parametrize("extra", [EVIL, EVIL[:20], b"\r\n"])
async def test_an_answer_that_nobody_asked_for_waits_unread_in_the_kernel(pool, tls, extra):
    echo = EchoServer(tls)
    async with echo.server as server:
        assert await ask(pool, server, b"first") == b"first"
        echo.push(extra)
        assert await ask(pool, server, b"second") == b"second"
        assert await ask(pool, server, b"third") == b"third"
        assert server.connections == 2


def test_the_kernel_is_asked_under_uvloop_too():
    async def run() -> None:
        pool = UpstreamPool(
            connect_timeout_seconds=5,
            first_byte_timeout_seconds=5,
            idle_timeout_seconds=5,
            total_timeout_seconds=5,
            max_answer_bytes=1000,
        )
        echo = EchoServer()
        async with echo.server as server:
            assert await ask(pool, server, b"first") == b"first"
            with socket.socket(fileno=echo.kept[0].writer.get_extra_info("socket").dup().detach()) as raw:
                raw.send(EVIL)
            assert await ask(pool, server, b"second") == b"second"
            assert server.connections == 2
            await pool.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def test_a_close_that_waits_unread_in_the_kernel_costs_nothing(pool, tls):
    echo = EchoServer(tls)
    async with echo.server as server:
        for number in range(3):
            assert await ask(pool, server, b"%d" % number) == b"%d" % number
            echo.hang_up()
        assert (server.connections, len(server.requests)) == (3, 3)


async def test_many_closed_connections_cost_nothing(pool):
    echo = EchoServer()
    async with echo.server as server:
        await asyncio.gather(*(ask(pool, server, b"%d" % number) for number in range(8)))
        before = server.connections
        echo.hang_up()
        assert await ask(pool, server, b"9") == b"9"
        assert (server.connections, len(server.requests)) == (before + 1, 9)


# What the provider may have read is not sent again.


@pytest.mark.parametrize("body", [b"{}", b"x" * 900_000])
async def test_a_post_that_was_read_is_not_sent_again(pool, tls, body):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer()
        await connection.read_request()
        connection.writer.close()

    async with ScriptedServer(handler, tls) as server:
        assert await ask(pool, server, b"first") == b"{}"
        with pytest.raises(TransportFailure, match="closed the connection before it answered") as caught:
            await ask(pool, server, body)
        assert (caught.value.failure.outcome, caught.value.unsent) == (Outcome.UNREACHABLE, False)
        assert len(server.requests) == 2


async def test_a_get_is_sent_again(pool, tls):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(b"%d" % connection.number)
        await connection.read_request()
        connection.writer.close()

    async with ScriptedServer(handler, tls) as server:
        assert await ask(pool, server, b"", method="GET") == b"1"
        assert await ask(pool, server, b"", method="GET") == b"2"


@pytest.mark.parametrize("body", [b"again", b"x" * 900_000])
async def test_a_post_whose_first_byte_could_not_leave_is_sent_again(pool, monkeypatch, body):
    # As if the reset came between the look at the socket and the write.
    monkeypatch.setattr(Http1Connection, "is_usable", lambda connection: True)
    echo = EchoServer()
    async with echo.server as server:
        assert await ask(pool, server, b"first") == b"first"
        echo.reset()
        assert await ask(pool, server, body) == body
        assert (server.connections, len(server.requests)) == (2, 2)


# An answer before the whole request has left.


async def test_a_connection_with_the_rest_of_a_body_in_it_is_not_used_again(pool, tls, monkeypatch):
    connect = connecting.connect

    async def connect_narrowly(*arguments):
        connection = await connect(*arguments)
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return connection

    monkeypatch.setattr("ownkey.upstream.pool.connect", connect_narrowly)

    async def handler(connection: Connection) -> None:
        if connection.number > 1:
            await connection.read_request()
            await connection.answer(b"clean")
            return
        connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await connection.read_head()
        connection.writer.transport.pause_reading()
        await connection.answer(b"early", status=401)
        await connection.server.done.wait()

    async with ScriptedServer(handler, tls) as server:
        server.done = asyncio.Event()
        assert await ask(pool, server, b"x" * 200_000) == b"early"
        async with asyncio.timeout(2):
            assert await ask(pool, server, b"{}") == b"clean"
        server.done.set()
