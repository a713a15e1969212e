"""What a provider may send besides the body that counts: framing, trailers, padding, and a head that takes its time."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from requests_to import SECRET, request_to
from scripted_server import CHUNKED, Connection, ScriptedServer, chunk

from ownkey.domain.usage import Outcome
from ownkey.upstream.pool import TransportFailure

GZIPPED = CHUNKED.replace(b"transfer", b"content-encoding: gzip\r\ntransfer")
MANY = 20_000_000


async def push(connection: Connection, begin: bytes, piece: bytes) -> None:
    """Send `begin`, then `piece` until the client is gone or far too much has gone out."""
    await connection.read_request()
    await connection.send(begin)
    for _ in range(MANY // len(piece)):
        await connection.send(piece)
        connection.server.pushed += len(piece)
    # Whole pieces went through: let the answer end, so that the test fails by success.
    await connection.send(b"\r\n0\r\n\r\n")
    await connection.wait_gone()


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (CHUNKED + chunk(b"{}") + b"0\r\nx: ", b"a" * 32_000),
        (CHUNKED + chunk(b"{}") + b"0\r\n", b"x: y\r\n" * 5_000),
        (CHUNKED + b"2;", b"a" * 32_000),
        (CHUNKED, (b"1;" + b"a" * 2_000 + b"\r\nx\r\n") * 16),
        (GZIPPED + chunk(gzip.compress(b"{}")), chunk(b"a" * 32_000)),
        (GZIPPED + chunk(gzip.compress(b"{}")), chunk(gzip.compress(b"{}")) * 1000),
    ],
    ids=["trailer", "trailers", "extension", "extensions", "after gzip", "more gzip"],
)
async def test_bytes_beside_the_body_are_limited(open_pool, begin, piece):
    async def handler(connection: Connection) -> None:
        await push(connection, begin, piece)

    async with ScriptedServer(handler) as server:
        server.pushed = 0
        with pytest.raises(TransportFailure) as caught:
            await (await open_pool(max_answer_bytes=100_000).send(request_to(server.base_url), SECRET)).read()
        assert caught.value.failure.outcome is Outcome.STREAM_BROKEN
        await asyncio.wait_for(server.all_closed.wait(), 1)
        # The rest lay in the buffers of the kernel and of both ends.
        assert server.pushed < MANY / 2


async def test_a_long_answer_in_the_smallest_chunks_is_whole(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED + chunk(b"x") * 100_000 + b"0\r\nx-trailer: kept out\r\n\r\n")
        await connection.wait_gone()

    async with ScriptedServer(handler) as server:
        response = await open_pool().send(request_to(server.base_url), SECRET)
        assert await response.read() == b"x" * 100_000


async def test_a_compressed_answer_is_unpacked_to_its_end(open_pool):
    body = b"0123456789" * 9_000

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        packed = gzip.compress(body)
        await connection.send(GZIPPED + b"".join(chunk(packed[at : at + 7]) for at in range(0, len(packed), 7)))
        await connection.send(chunk(b""))

    async with ScriptedServer(handler) as server:
        assert await (await open_pool().send(request_to(server.base_url), SECRET)).read() == body


@pytest.mark.parametrize("piece", [b"x: y\r\n", b"\r\nHTTP/1.1 103 Early Hints\r\n"])
async def test_a_head_that_drips_must_be_whole_in_time(open_pool, piece):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 103 Early Hints\r\n")
        while True:
            await connection.send(piece)
            await asyncio.sleep(0.02)

    async with ScriptedServer(handler) as server:
        pool = open_pool(first_byte_timeout_seconds=0.2, total_timeout_seconds=3)
        async with asyncio.timeout(1):
            with pytest.raises(TransportFailure, match=r"within 0\.2 seconds") as caught:
                await pool.send(request_to(server.base_url), SECRET)
        assert caught.value.failure.outcome is Outcome.TIMEOUT


@pytest.mark.parametrize(
    "begin", [CHUNKED + b"5;", CHUNKED + chunk(b"hello") + b"5;", CHUNKED + chunk(b"hello") + b"0\r\nx: "]
)
async def test_only_the_body_buys_time(open_pool, begin):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(begin)
        while True:
            await connection.send(b"a")
            await asyncio.sleep(0.02)

    async with ScriptedServer(handler) as server:
        pool = open_pool(first_byte_timeout_seconds=0.2, idle_timeout_seconds=0.2, total_timeout_seconds=3)
        async with asyncio.timeout(1):
            with pytest.raises(TransportFailure, match="fell silent"):
                await (await pool.send(request_to(server.base_url), SECRET)).read()
