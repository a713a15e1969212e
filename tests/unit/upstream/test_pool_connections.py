"""Connections: kept where that is right, cut where it must be, and never a way from one user to another."""

from __future__ import annotations

import asyncio
import gc

import pytest
from requests_to import SECRET, request_to
from scripted_server import CHUNKED, Connection, ScriptedServer, chunk

from ownkey.domain.credential import Secret
from ownkey.domain.usage import Outcome
from ownkey.upstream import pool as pool_module
from ownkey.upstream.http1 import Connection as Http1Connection
from ownkey.upstream.pool import TransportFailure

AT_ONCE = 1.0


@pytest.fixture(params=["plain", "tls"])
def tls(request, authority):
    return authority.server_context() if request.param == "tls" else None


@pytest.fixture
def pool(open_pool, authority):
    return open_pool(trust_roots=authority.root)


async def stream_without_end(connection: Connection) -> None:
    await connection.read_request()
    await connection.send(CHUNKED + chunk(b"hello"))
    await connection.wait_gone()


async def flood(connection: Connection) -> None:
    await connection.read_request()
    await connection.send(CHUNKED)
    while True:
        await connection.send(chunk(b"x" * 60_000))


async def say_nothing(connection: Connection) -> None:
    await connection.read_request()
    await connection.wait_gone()


@pytest.mark.parametrize("handler", [stream_without_end, flood])
async def test_closing_an_unread_stream_cuts_the_connection(pool, tls, handler):
    async with ScriptedServer(handler, tls) as server:
        response = await pool.send(request_to(server.base_url), SECRET)
        assert await response.read_chunk()
        await response.close()
        await asyncio.wait_for(server.all_closed.wait(), AT_ONCE)
        await response.close()
        assert await response.read_chunk() is None


async def test_closing_before_anything_was_read_cuts_the_connection(pool, tls):
    async with ScriptedServer(stream_without_end, tls) as server:
        response = await pool.send(request_to(server.base_url), SECRET)
        await response.close()
        await asyncio.wait_for(server.all_closed.wait(), AT_ONCE)


async def test_closing_ends_a_read_of_another_task(pool, tls):
    async with ScriptedServer(stream_without_end, tls) as server:
        response = await pool.send(request_to(server.base_url), SECRET)
        await response.read_chunk()
        reading = asyncio.create_task(response.read_chunk())
        await asyncio.sleep(0)
        await response.close()
        with pytest.raises(TransportFailure):
            await asyncio.wait_for(reading, AT_ONCE)


async def test_cancelling_before_the_answer_cuts_the_connection(pool, tls):
    async with ScriptedServer(say_nothing, tls) as server:
        sending = asyncio.create_task(pool.send(request_to(server.base_url), SECRET))
        await server.arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.wait_for(server.all_closed.wait(), AT_ONCE)


async def test_cancelling_a_read_cuts_the_connection(pool, tls):
    async with ScriptedServer(stream_without_end, tls) as server:
        response = await pool.send(request_to(server.base_url), SECRET)
        await response.read_chunk()
        reading = asyncio.create_task(response.read_chunk())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.wait_for(server.all_closed.wait(), AT_ONCE)


async def test_cancelling_while_the_body_is_sent_cuts_the_connection(pool, tls):
    async def read_a_little(connection: Connection) -> None:
        await connection.read_head()
        connection.server.arrived.set()
        await connection.server.all_read.wait()
        await connection.wait_gone()

    async with ScriptedServer(read_a_little, tls) as server:
        server.all_read = asyncio.Event()
        sending = asyncio.create_task(pool.send(request_to(server.base_url, body=b"x" * 30_000_000), SECRET))
        await server.arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        server.all_read.set()
        await asyncio.wait_for(server.all_closed.wait(), AT_ONCE)


async def test_an_answer_read_to_its_end_gives_its_connection_back(pool, tls):
    async def handler(connection: Connection) -> None:
        while True:
            await connection.read_request()
            await connection.send(CHUNKED + chunk(b"hello") + chunk(b""))

    async with ScriptedServer(handler, tls) as server:
        for _ in range(3):
            response = await pool.send(request_to(server.base_url), SECRET)
            assert await response.read() == b"hello"
            await response.close()
        assert server.connections == 1


async def test_closing_the_pool_cuts_everything_and_refuses_more(open_pool, authority, tls):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer()
        await connection.wait_gone()

    pool = open_pool(trust_roots=authority.root)
    async with ScriptedServer(handler, tls) as server:
        request = request_to(server.base_url)
        await (await pool.send(request, SECRET)).read()
        assert server.open_connections == 1
        await pool.close()
        await pool.close()
        await asyncio.wait_for(server.all_closed.wait(), AT_ONCE)
        with pytest.raises(TransportFailure, match="shutting down") as caught:
            await pool.send(request, SECRET)
        assert caught.value.unsent


@pytest.mark.parametrize("handler", [stream_without_end, say_nothing])
async def test_closing_the_pool_ends_what_is_under_way(open_pool, authority, tls, handler):
    pool = open_pool(trust_roots=authority.root)

    async def read_all() -> None:
        await (await pool.send(request_to(server.base_url), SECRET)).read()

    async with ScriptedServer(handler, tls) as server:
        tasks = [asyncio.create_task(read_all()) for _ in range(3)]
        while server.open_connections < 3:
            await asyncio.wait_for(server.arrived.wait(), AT_ONCE)
            server.arrived.clear()
        await pool.close()
        async with asyncio.timeout(AT_ONCE):
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await server.all_closed.wait()
        assert [type(result) for result in results] == [TransportFailure] * 3


async def test_an_answer_that_says_close_ends_its_connection(pool, tls):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(b"last", headers="connection: close\r\n")
        await connection.wait_gone()

    async with ScriptedServer(handler, tls) as server:
        assert await (await pool.send(request_to(server.base_url), SECRET)).read() == b"last"
        await asyncio.wait_for(server.all_closed.wait(), AT_ONCE)


async def test_an_idle_connection_is_closed_in_time(open_pool, monkeypatch):
    monkeypatch.setattr(pool_module, "_KEEP_ALIVE_SECONDS", 0.1)

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer()
        await connection.wait_gone()

    async with ScriptedServer(handler) as server:
        await (await open_pool().send(request_to(server.base_url), SECRET)).read()
        await asyncio.wait_for(server.all_closed.wait(), AT_ONCE)


async def test_only_so_many_idle_connections_are_kept(open_pool, monkeypatch):
    monkeypatch.setattr(pool_module, "_MAX_IDLE_PER_HOST", 2)
    all_there, fewer = asyncio.Barrier(5), asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await all_there.wait()
        await connection.answer()
        await connection.wait_gone()
        if connection.server.open_connections == 3:
            fewer.set()

    pool = open_pool()

    async def ask() -> None:
        await (await pool.send(request_to(server.base_url), SECRET)).read()

    async with ScriptedServer(handler) as server:
        await asyncio.gather(*(ask() for _ in range(5)))
        await asyncio.wait_for(fewer.wait(), AT_ONCE)
        assert server.open_connections <= 3


async def test_a_slow_reader_holds_the_provider_back_and_is_not_blamed_for_it(open_pool, authority, tls):
    pushed, stalled = 0, asyncio.Event()

    async def handler(connection: Connection) -> None:
        nonlocal pushed
        await connection.read_request()
        await connection.send(CHUNKED)
        while not stalled.is_set():
            connection.writer.write(chunk(b"x" * 60_000))
            pushed += 60_000
            try:
                await asyncio.wait_for(connection.writer.drain(), 0.3)
            except TimeoutError:
                stalled.set()
        await connection.send(chunk(b""))

    pool = open_pool(trust_roots=authority.root, idle_timeout_seconds=0.2, max_answer_bytes=100_000_000)
    async with ScriptedServer(handler, tls) as server:
        response = await pool.send(request_to(server.base_url), SECRET)
        first = await response.read_chunk()
        await asyncio.wait_for(stalled.wait(), 5)
        # What lies in between are the buffers of the kernel, of TLS and of both ends.
        assert pushed < 20_000_000
        assert len(first) + len(await response.read()) == pushed


# Connections that died. What of that is known only to the kernel is in test_pool_reuse.py.


async def test_a_provider_that_dies_inside_its_head_is_not_asked_again(pool, tls):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer()
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-")

    async with ScriptedServer(handler, tls) as server:
        await (await pool.send(request_to(server.base_url), SECRET)).read()
        with pytest.raises(TransportFailure) as caught:
            await pool.send(request_to(server.base_url), SECRET)
        assert (caught.value.failure.outcome, caught.value.unsent) == (Outcome.UNREACHABLE, False)
        assert len(server.requests) == 2


async def test_connections_that_died_idle_take_no_memory(pool):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer()
        connection.writer.close()
        await connection.wait_gone()

    async with ScriptedServer(handler) as server:
        for _ in range(5):
            await (await pool.send(request_to(server.base_url), SECRET)).read()
            await asyncio.wait_for(server.all_closed.wait(), AT_ONCE)
            server.all_closed.clear()
    gc.collect()
    dead = [thing for thing in gc.get_objects() if isinstance(thing, Http1Connection) and not thing.clean]
    assert dead == []


async def test_a_connection_closed_by_the_provider_is_not_used_again(pool, tls):
    closed = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer()
        connection.writer.close()
        await connection.wait_gone()
        closed.set()

    async with ScriptedServer(handler, tls) as server:
        for number in range(1, 4):
            await (await pool.send(request_to(server.base_url), SECRET)).read()
            await asyncio.wait_for(closed.wait(), AT_ONCE)
            closed.clear()
            assert len(server.requests) == number


# One user's answer must never become another's.


@pytest.mark.parametrize(
    "extra",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nSECRET",
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nSEC",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"SECRET",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_bytes_that_come_between_two_requests_are_nobodys_answer(pool, tls, extra, caplog):
    answered, pushed = asyncio.Event(), asyncio.Event()

    async def handler(connection: Connection) -> None:
        request = await connection.read_request()
        await connection.answer(request.body)
        if connection.number == 1:
            await answered.wait()
            await connection.send(extra)
            pushed.set()
        while True:
            request = await connection.read_request()
            await connection.answer(request.body)

    async with ScriptedServer(handler, tls) as server:
        await (await pool.send(request_to(server.base_url, body=b"first"), Secret("sk-first-user"))).read()
        answered.set()
        await pushed.wait()
        # The client's side of the socket is read once the loop has come round.
        await asyncio.sleep(0.02)
        for body in (b"second", b"third"):
            response = await pool.send(request_to(server.base_url, body=body), Secret("sk-other-user"))
            assert await response.read() == body
        assert server.connections == 2
    assert not caplog.records


async def test_two_answers_at_once_are_not_given_to_two_users(pool, tls):
    async def handler(connection: Connection) -> None:
        while True:
            request = await connection.read_request()
            body = request.body
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body) * 2)

    async with ScriptedServer(handler, tls) as server:
        for number in range(6):
            response = await pool.send(request_to(server.base_url, body=b"%d" % number), SECRET)
            assert await response.read() == b"%d" % number
        assert server.connections == 6, "a connection out of step must not be used again"
