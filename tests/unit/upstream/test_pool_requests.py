"""What goes over the wire, and what comes back when all is well."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest
from requests_to import BODY, SECRET, SECRET_TEXT, request_to
from scripted_server import CHUNKED, Connection, ScriptedServer, chunk, sends

from ownkey.domain.credential import Secret
from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.usage import Outcome
from ownkey.upstream.pool import TransportFailure


async def answer_all(connection: Connection) -> None:
    while True:
        await connection.read_request()
        await connection.answer(b"fine", headers="X-Request-Id: r1\r\nSet-Cookie: a=b\r\n")


async def test_sends_exactly_the_request_with_the_secret_in_its_header(open_pool):
    async with ScriptedServer(answer_all) as server:
        response = await open_pool().send(request_to(server.base_url, "/v1/x%2Fy?a=%20b"), SECRET)
        assert (response.status, await response.read()) == (200, b"fine")
    request = server.requests[0]
    assert request.line == "POST /v1/x%2Fy?a=%20b HTTP/1.1"
    assert request.body == BODY
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": f"Bearer {SECRET_TEXT}",
        "content-length": str(len(BODY)),
        "content-type": "application/json",
        "user-agent": "ownkey",
    }


@pytest.mark.parametrize(("auth", "secret"), [(None, SECRET), (("x-api-key", ""), None)])
async def test_without_a_secret_or_a_place_for_it_sends_none(open_pool, auth, secret):
    async with ScriptedServer(answer_all) as server:
        response = await open_pool().send(UpstreamRequest("GET", server.base_url + "/models", (), b"", auth), secret)
        await response.read()
    assert set(server.requests[0].headers) == {"host", "accept-encoding", "user-agent"}


async def test_header_names_are_lower_case(open_pool):
    async with ScriptedServer(answer_all) as server:
        response = await open_pool().send(request_to(server.base_url), SECRET)
        assert dict(response.headers)["x-request-id"] == "r1"
        assert all(name == name.lower() for name in response.headers)


async def test_users_share_connections_and_nothing_else(open_pool):
    pool = open_pool()
    async with ScriptedServer(answer_all) as server:
        for number in range(4):
            await (await pool.send(request_to(server.base_url), Secret(f"sk-user-{number}"))).read()
        assert server.connections == 1
        assert [request.headers["authorization"] for request in server.requests] == [
            f"Bearer sk-user-{number}" for number in range(4)
        ]
        assert not any("cookie" in request.headers for request in server.requests)


async def test_does_not_follow_redirects(open_pool):
    async def redirect(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(status=307, headers=f"location: {connection.server.base_url}/elsewhere\r\n")

    async with ScriptedServer(redirect) as server:
        response = await open_pool().send(request_to(server.base_url), SECRET)
        assert response.status == 307
        await response.read()
    assert len(server.requests) == 1


async def test_skips_interim_answers(open_pool):
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with ScriptedServer(sends(interim + b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok")) as server:
        response = await open_pool().send(request_to(server.base_url), SECRET)
        assert (response.status, await response.read()) == (201, b"ok")


@pytest.mark.parametrize("size", [600_000, 5_000_000])
async def test_sends_large_bodies_whole_and_with_their_length(open_pool, size):
    body = bytes(range(256)) * (size // 256)
    async with ScriptedServer(answer_all) as server:
        await (await open_pool().send(request_to(server.base_url, body=body), SECRET)).read()
    assert server.requests[0].body == body
    assert "transfer-encoding" not in server.requests[0].headers


@pytest.mark.parametrize("ending", ["", "connection: close\r\n"])
async def test_takes_an_answer_that_comes_before_the_body_was_read(open_pool, ending):
    async def refuse_early(connection: Connection) -> None:
        await connection.read_head()
        await connection.answer(b"too large", status=413, headers=ending)
        await connection.wait_gone()

    pool = open_pool()
    async with ScriptedServer(refuse_early) as server:
        for _ in range(2):
            response = await pool.send(request_to(server.base_url, body=b"x" * 20_000_000), SECRET)
            assert (response.status, await response.read()) == (413, b"too large")


async def test_hands_out_a_stream_as_it_comes(open_pool):
    taken = asyncio.Event()

    async def stream(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED + chunk(b"data: 1\n\n"))
        await taken.wait()
        await connection.send(chunk(b"data: 2\n\n") + chunk(b""))

    async with ScriptedServer(stream) as server:
        response = await open_pool().send(request_to(server.base_url), SECRET)
        assert await response.read_chunk() == b"data: 1\n\n"
        taken.set()
        assert await response.read_chunk() == b"data: 2\n\n"
        assert [await response.read_chunk() for _ in range(8)] == [None] * 8


async def test_read_after_read_chunk_gives_the_rest(open_pool):
    async with ScriptedServer(sends(CHUNKED + b"".join(chunk(b"%d" % n) for n in range(3)) + chunk(b""))) as server:
        response = await open_pool().send(request_to(server.base_url), SECRET)
        first = await response.read_chunk()
        assert first + await response.read() == b"012"
        assert await response.read() == b""


async def test_an_answer_without_a_length_ends_with_its_connection(open_pool):
    async with ScriptedServer(sends(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")) as server:
        assert await (await open_pool().send(request_to(server.base_url), SECRET)).read() == b"until the end"


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress), ("identity", lambda data: data)],
)
async def test_unpacks_what_was_compressed_unasked(open_pool, coding, compress):
    text = b"words and words " * 5000

    async def compressed(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(compress(text), headers=f"content-encoding: {coding}\r\n")

    async with ScriptedServer(compressed) as server:
        assert await (await open_pool().send(request_to(server.base_url), SECRET)).read() == text


async def test_unpacks_a_compressed_stream_piece_by_piece(open_pool):
    taken = asyncio.Event()

    async def stream(connection: Connection) -> None:
        await connection.read_request()
        packer = zlib.compressobj(wbits=31)
        head = CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
        await connection.send(head + chunk(packer.compress(b"one") + packer.flush(zlib.Z_SYNC_FLUSH)))
        await taken.wait()
        await connection.send(chunk(packer.compress(b"two") + packer.flush()) + chunk(b""))

    async with ScriptedServer(stream) as server:
        response = await open_pool().send(request_to(server.base_url), SECRET)
        assert await response.read_chunk() == b"one"
        taken.set()
        assert await response.read() == b"two"


async def test_refuses_a_secret_that_would_split_the_header(open_pool):
    async with ScriptedServer(answer_all) as server:
        for value in ("sk-one\r\nx-evil: 1", "sk-\x00", "sk-é", "sk-\u0661"):
            with pytest.raises(TransportFailure) as caught:
                await open_pool().send(request_to(server.base_url), Secret(value))
            assert (caught.value.failure.outcome, caught.value.unsent) == (Outcome.UNREADABLE, True)
            assert "sk-" not in str(caught.value)
        assert server.connections == 0


@pytest.mark.parametrize("value", ["1\r\nx-evil: 2", "1\nx-evil: 2", "1\rx", "1\0", "é"])
async def test_a_header_of_the_catalogue_cannot_split_the_request(open_pool, value):
    async with ScriptedServer(answer_all) as server:
        request = UpstreamRequest("POST", server.base_url + "/", (("x-a", value),), b"", ("authorization", "Bearer "))
        with pytest.raises(TransportFailure) as caught:
            await open_pool().send(request, SECRET)
        assert (caught.value.failure.outcome, caught.value.unsent) == (Outcome.INTERNAL, True)
        assert caught.value.__context__ is None
        assert server.requests == []


async def test_a_header_of_the_catalogue_cannot_change_the_framing(open_pool):
    taken = (("Host", "evil.test"), ("content-length", "0"), ("Transfer-Encoding", "chunked"), ("connection", "close"))
    async with ScriptedServer(answer_all) as server:
        request = UpstreamRequest("POST", server.base_url + "/", (*taken, ("x-a", "1")), BODY, None)
        await (await open_pool().send(request)).read()
    request = server.requests[0]
    assert request.body == BODY
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept-encoding": "identity",
        "user-agent": "ownkey",
        "x-a": "1",
        "content-length": str(len(BODY)),
    }


@pytest.mark.parametrize("size", [10, 700_000])
async def test_a_body_in_pieces_is_one_body(open_pool, size):
    whole = bytes(range(256)) * (size // 256 + 1)
    view = memoryview(whole)
    pieces = (view[:7], b"between", view[7:])
    async with ScriptedServer(answer_all) as server:
        request = UpstreamRequest("POST", server.base_url, (), pieces, None)
        response = await open_pool().send(request)
        assert await response.read() == b"fine"
    assert server.requests[0].body == whole[:7] + b"between" + whole[7:]
