"""Every way in which a provider or the network can fail, told apart and told safely."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
import ssl
import traceback
import zlib
from contextlib import closing

import pytest
from requests_to import SECRET, SECRET_TEXT, request_to
from scripted_server import CHUNKED, Connection, ScriptedServer, chunk, sends

from ownkey.domain.usage import Outcome
from ownkey.upstream.address_guard import AddressGuard
from ownkey.upstream.inflate import Inflater
from ownkey.upstream.pool import TransportFailure

PATH = "/v1/hidden-path?key=hidden-query"
OK = b"HTTP/1.1 200 OK\r\n"


async def fail(pool, base_url: str) -> TransportFailure:
    """Send and read until it fails; whatever is shown of the failure must hold no secret."""
    with pytest.raises(TransportFailure) as caught:
        await (await pool.send(request_to(base_url, PATH), SECRET)).read()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None or SECRET_TEXT not in repr(error.__context__)
    # With the local variables of every frame, as error trackers and debuggers show them.
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    shown += repr(error) + str(error) + repr(error.failure)
    assert SECRET_TEXT not in shown
    assert "hidden" not in str(error) + repr(error.failure)
    return error


def described(error: TransportFailure) -> tuple[Outcome, bool]:
    return error.failure.outcome, error.unsent


# After the request was sent: the provider may have done the work.


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (b"", Outcome.UNREACHABLE, "closed the connection before it answered"),
        (b"HTTP/1.1 200", Outcome.UNREACHABLE, "closed the connection before it answered"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Outcome.STREAM_BROKEN, "not HTTP"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", Outcome.STREAM_BROKEN, "not HTTP"),
        (OK + b"content-length: 5\r\ncontent-length: 4\r\n\r\nhello", Outcome.STREAM_BROKEN, "not HTTP"),
        (OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Outcome.STREAM_BROKEN, "not HTTP"),
        (OK + b"content-length: -1\r\n\r\n", Outcome.STREAM_BROKEN, "not HTTP"),
        (OK + b"transfer-encoding: gzip\r\n\r\nabc", Outcome.STREAM_BROKEN, "not HTTP"),
        (OK + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", Outcome.STREAM_BROKEN, "not HTTP"),
        (b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", Outcome.STREAM_BROKEN, "not HTTP"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Outcome.STREAM_BROKEN, "not HTTP"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 4_000, Outcome.STREAM_BROKEN, "not HTTP"),
        (OK + b"x-long: " + b"a" * 70_000 + b"\r\n\r\n", Outcome.STREAM_BROKEN, "not HTTP"),
        (OK + b"x: y\r\n" * 5_000 + b"\r\n", Outcome.STREAM_BROKEN, "not HTTP"),
        (OK + b"content-length: 10\r\n\r\nhello", Outcome.STREAM_BROKEN, "inside its answer"),
        (CHUNKED + chunk(b"hello"), Outcome.STREAM_BROKEN, "inside its answer"),
        (CHUNKED + b"5\r\nhel", Outcome.STREAM_BROKEN, "inside its answer"),
        (OK + b"content-encoding: br\r\ncontent-length: 1\r\n\r\nx", Outcome.STREAM_BROKEN, "compressed"),
        (OK + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nabcd", Outcome.STREAM_BROKEN, "damaged"),
        (
            OK + b"content-encoding: gzip\r\ncontent-length: 20\r\n\r\n" + gzip.compress(b"a" * 99, mtime=0)[:20],
            Outcome.STREAM_BROKEN,
            "ended in the middle",
        ),
    ],
)
async def test_answers_that_are_cut_or_wrong(open_pool, answer, outcome, words):
    async with ScriptedServer(sends(answer)) as server:
        error = await fail(open_pool(), server.base_url)
        assert described(error) == (outcome, False)
        assert words in error.failure.message
        assert server.connections == 1


async def test_chunk_sizes_that_are_no_numbers(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED)
        await connection.send(chunk(b"begun") + b"zz\r\n")
        await connection.wait_gone()

    async with ScriptedServer(handler) as server:
        assert described(await fail(open_pool(), server.base_url)) == (Outcome.STREAM_BROKEN, False)


async def test_a_reset_before_the_answer(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        connection.reset()

    async with ScriptedServer(handler) as server:
        error = await fail(open_pool(), server.base_url)
        assert described(error) == (Outcome.UNREACHABLE, False)
        assert server.connections == 1, "a request that may have been charged for must not be sent again"


async def test_a_reset_inside_the_answer(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED + chunk(b"hello"))
        connection.reset()

    async with ScriptedServer(handler) as server:
        assert described(await fail(open_pool(), server.base_url)) == (Outcome.STREAM_BROKEN, False)


# Time.


async def silence(connection: Connection) -> None:
    await connection.read_request()
    await connection.wait_gone()


async def test_silence_before_the_answer(open_pool):
    async with ScriptedServer(silence) as server:
        error = await fail(open_pool(first_byte_timeout_seconds=0.2), server.base_url)
        assert described(error) == (Outcome.TIMEOUT, False)
        assert "did not begin to answer within 0.2 seconds" in error.failure.message
        await asyncio.wait_for(server.all_closed.wait(), 1)


async def test_silence_inside_the_answer(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED)
        await connection.send(chunk(b"hello"))
        await connection.wait_gone()

    async with ScriptedServer(handler) as server:
        error = await fail(open_pool(idle_timeout_seconds=0.2), server.base_url)
        assert described(error) == (Outcome.TIMEOUT, False)
        assert "fell silent" in error.failure.message
        await asyncio.wait_for(server.all_closed.wait(), 1)


async def test_a_provider_may_think_between_headers_and_first_byte(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED)
        await asyncio.sleep(0.4)
        await connection.send(chunk(b"thought") + chunk(b""))

    async with ScriptedServer(handler) as server:
        pool = open_pool(idle_timeout_seconds=0.1, first_byte_timeout_seconds=5)
        assert await (await pool.send(request_to(server.base_url), SECRET)).read() == b"thought"


async def test_a_slow_drip_ends_with_the_total_time(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED)
        while True:
            await connection.send(chunk(b"x"))
            await asyncio.sleep(0.02)

    async with ScriptedServer(handler) as server:
        error = await fail(open_pool(total_timeout_seconds=0.4), server.base_url)
        assert described(error) == (Outcome.TIMEOUT, False)
        assert "took too long" in error.failure.message
        await asyncio.wait_for(server.all_closed.wait(), 1)


async def test_headers_that_drip_end_with_the_total_time(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(OK)
        while True:
            await connection.send(b"x: y\r\n")
            await asyncio.sleep(0.02)

    async with ScriptedServer(handler) as server:
        error = await fail(open_pool(total_timeout_seconds=0.4), server.base_url)
        assert described(error) == (Outcome.TIMEOUT, False)


# Size.


async def push_without_end(connection: Connection) -> None:
    await connection.read_request()
    await connection.send(CHUNKED)
    while True:
        await connection.send(chunk(b"x" * 60_000))


async def test_an_answer_without_end_is_cut_at_the_limit(open_pool):
    async with ScriptedServer(push_without_end) as server:
        error = await fail(open_pool(max_answer_bytes=200_000), server.base_url)
        # Not the provider's fault: who asks for too much must not close it to everybody.
        assert described(error) == (Outcome.ANSWER_TOO_LARGE, False)
        assert "is larger than 200,000 bytes" in error.failure.message
        await asyncio.wait_for(server.all_closed.wait(), 1)


async def test_an_answer_of_exactly_the_limit_is_whole(open_pool):
    body = b"x" * 200_000

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(body)

    async with ScriptedServer(handler) as server:
        assert (
            await (await open_pool(max_answer_bytes=200_000).send(request_to(server.base_url), SECRET)).read() == body
        )


async def test_the_limit_counts_over_the_chunks_of_a_stream(open_pool):
    async with ScriptedServer(push_without_end) as server:
        response = await open_pool(max_answer_bytes=200_000).send(request_to(server.base_url), SECRET)
        taken = 0
        with pytest.raises(TransportFailure, match="larger"):
            while (data := await response.read_chunk()) is not None:
                taken += len(data)
        assert taken <= 200_000


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
async def test_ten_gigabytes_of_zeros_are_not_unpacked(open_pool, monkeypatch, coding):
    """A bomb of any size: the one piece of compressed data that makes a megabyte of zeros, ten thousand times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS if coding == "deflate" else 16 + zlib.MAX_WBITS)
    begin = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    pieces = 0
    take = Inflater.next

    def counting(self):
        nonlocal pieces
        pieces += 1
        piece = take(self)
        assert len(piece) <= 64 * 1024
        return piece

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED.replace(b"transfer", b"content-encoding: %b\r\ntransfer" % coding.encode()))
        for _ in range(10_000):
            await connection.send(chunk(begin if _ == 0 else again))
        await connection.send(b"0\r\n\r\n")

    monkeypatch.setattr(Inflater, "next", counting)
    async with ScriptedServer(handler) as server:
        error = await fail(open_pool(max_answer_bytes=2**32), server.base_url)
    assert error.failure.outcome is Outcome.ANSWER_TOO_LARGE
    assert "grows without end" in error.failure.message
    assert 16 <= pieces <= 25, "a megabyte is free, and not much more was made"


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip"])
async def test_a_coding_that_nobody_asked_for_is_not_undone(open_pool, coding):
    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(b"{}", headers=f"content-encoding: {coding}\r\n")

    async with ScriptedServer(handler) as server:
        error = await fail(open_pool(), server.base_url)
    assert error.failure.outcome is Outcome.STREAM_BROKEN
    assert "not asked for" in error.failure.message


async def test_a_compressed_answer_counts_by_what_comes_of_it(open_pool):
    body = bytes(range(256)) * 4_000

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(gzip.compress(body), headers="content-encoding: gzip\r\n")

    async with ScriptedServer(handler) as server:
        error = await fail(open_pool(max_answer_bytes=100_000), server.base_url)
        assert "is larger than 100,000 bytes" in error.failure.message
        assert (
            await (await open_pool(max_answer_bytes=2_000_000).send(request_to(server.base_url), SECRET)).read() == body
        )


# Before the request could leave.


async def test_a_refused_connection(open_pool):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = await fail(open_pool(), f"http://127.0.0.1:{port}")
    assert described(error) == (Outcome.UNREACHABLE, True)
    assert error.failure.message == f"Could not connect to 127.0.0.1:{port}: connection refused."


@pytest.mark.parametrize(
    ("number", "words"),
    [(socket.EAI_NONAME, "name not found"), (socket.EAI_AGAIN, "the name server did not answer")],
)
async def test_a_name_that_does_not_resolve(open_pool, number, words):
    async def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(number, "told by the system")

    error = await fail(open_pool(guard=AddressGuard(resolve=resolve)), "https://api.example.com")
    assert described(error) == (Outcome.UNREACHABLE, True)
    assert error.failure.message == f"Could not connect to api.example.com: {words}."


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EMFILE, "this machine has no free file descriptors"),
        (errno.ENFILE, "this machine has no free file descriptors"),
        (errno.EADDRNOTAVAIL, "this machine has no free ports"),
        (errno.ENOBUFS, "this machine has no memory for connections"),
    ],
)
@pytest.mark.parametrize("by_proxy", [False, True])
async def test_our_own_want_is_not_the_providers_fault(open_pool, monkeypatch, number, words, by_proxy):
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError(number, "told by the system")

    monkeypatch.setattr("ownkey.upstream.connecting.resolve_by_system", resolve)
    if by_proxy:
        monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    pool = open_pool() if by_proxy else open_pool(guard=AddressGuard(resolve=resolve))
    error = await fail(pool, "https://api.example.com")
    assert described(error) == (Outcome.INTERNAL, True)
    assert error.failure.message == f"Could not connect to api.example.com: {words}."


async def test_a_name_that_the_system_does_not_know(open_pool):
    error = await fail(open_pool(), "https://no-such-host.invalid")
    assert described(error) == (Outcome.UNREACHABLE, True)
    assert error.failure.message.startswith("Could not connect to no-such-host.invalid: ")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://[::1", "http://", "nonsense", "", "http://:80"])
async def test_an_address_that_is_none(open_pool, url):
    error = await fail(open_pool(), url)
    assert described(error) == (Outcome.UNREACHABLE, True)
    assert "not a valid http or https URL" in error.failure.message


async def test_a_server_that_accepts_and_says_nothing_in_tls(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.wait_gone()

    async with ScriptedServer(handler) as server:
        error = await fail(open_pool(connect_timeout_seconds=0.2), f"https://127.0.0.1:{server.port}")
        assert described(error) == (Outcome.UNREACHABLE, True)
        assert "within 0.2 seconds" in error.failure.message
        await asyncio.wait_for(server.all_closed.wait(), 1)


async def test_a_server_that_does_not_speak_tls(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.wait_gone()

    async with ScriptedServer(handler) as server:
        error = await fail(open_pool(), f"https://127.0.0.1:{server.port}")
    assert described(error) == (Outcome.UNREACHABLE, True)
    assert "the TLS handshake failed" in error.failure.message


async def test_a_server_that_closes_inside_the_handshake(open_pool):
    async def handler(connection: Connection) -> None:
        await connection.reader.read(10)

    async with ScriptedServer(handler) as server:
        assert described(await fail(open_pool(), f"https://127.0.0.1:{server.port}")) == (Outcome.UNREACHABLE, True)


# Certificates.


async def test_trusts_the_given_root(open_pool, authority):
    async with ScriptedServer(sends(OK + b"content-length: 2\r\n\r\nok"), authority.server_context()) as server:
        pool = open_pool(trust_roots=authority.root)
        assert await (await pool.send(request_to(server.base_url), SECRET)).read() == b"ok"


@pytest.mark.parametrize(
    ("names", "expired", "trusted", "words"),
    [
        ((), False, False, "unable to get local issuer certificate"),
        ((), True, True, "certificate has expired"),
        (("api.example.com",), False, True, "IP address mismatch"),
    ],
)
async def test_certificates_that_do_not_hold(open_pool, authority, names, expired, trusted, words):
    context = authority.server_context(*names, expired=expired)
    async with ScriptedServer(silence, context) as server:
        error = await fail(open_pool(trust_roots=authority.root if trusted else None), server.base_url)
        assert described(error) == (Outcome.UNREACHABLE, True)
        assert "its certificate was not accepted" in error.failure.message
        assert words in error.failure.message
        assert server.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_an_old_version_of_tls(open_pool, authority):
    context = authority.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with ScriptedServer(silence, context) as server:
        error = await fail(open_pool(trust_roots=authority.root), server.base_url)
        assert described(error) == (Outcome.UNREACHABLE, True)
        assert server.requests == []
