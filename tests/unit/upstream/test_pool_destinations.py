"""Where connections go: through the guard, through a proxy, to the first address that answers."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from base64 import b64encode
from contextlib import closing

import pytest
from requests_to import SECRET, SECRET_TEXT, request_to
from scripted_server import CHUNKED, Connection, ScriptedServer, chunk

from ownkey.domain.usage import Outcome
from ownkey.errors import ConfigError
from ownkey.upstream.address_guard import AddressGuard
from ownkey.upstream.connecting import CachedNames, Destination, connect
from ownkey.upstream.http1 import Connection as Http1Connection
from ownkey.upstream.http1 import Deadlines
from ownkey.upstream.pool import TransportFailure

LOOPBACK = "127.0.0.1"


async def answer_all(connection: Connection) -> None:
    while True:
        await connection.read_request()
        await connection.answer(b"fine")


def names(**addresses: list[str]):
    """A resolver that knows `provider` as provider.example.com, and counts how often it was asked."""

    async def resolve(host: str, port: int) -> list[str]:
        resolve.asked.append(host)
        return addresses[host.split(".")[0]]

    resolve.asked = []
    return resolve


def guard_for(resolve, *, allow_private: bool = True) -> AddressGuard:
    return AddressGuard(allow_private=allow_private, resolve=resolve)


async def ask(pool, base_url: str) -> bytes:
    return await (await pool.send(request_to(base_url), SECRET)).read()


# The guard.


async def test_a_guarded_connection_goes_to_the_checked_address_under_its_own_name(open_pool, authority):
    names_seen: list[str | None] = []
    context = authority.server_context("provider.example.com")
    context.sni_callback = lambda _socket, name, _context: names_seen.append(name)
    resolve = names(provider=[LOOPBACK])
    async with ScriptedServer(answer_all, context) as server:
        pool = open_pool(guard=guard_for(resolve), trust_roots=authority.root)
        for _ in range(3):
            assert await ask(pool, f"https://provider.example.com:{server.port}") == b"fine"
        assert server.requests[0].headers["host"] == f"provider.example.com:{server.port}"
        assert names_seen == ["provider.example.com"]
        assert resolve.asked == ["provider.example.com"]


async def test_a_guarded_server_must_prove_its_name(open_pool, authority):
    async with ScriptedServer(answer_all, authority.server_context("other.example.com")) as server:
        pool = open_pool(guard=guard_for(names(provider=[LOOPBACK])), trust_roots=authority.root)
        with pytest.raises(TransportFailure, match="Hostname mismatch"):
            await ask(pool, f"https://provider.example.com:{server.port}")


@pytest.mark.parametrize(
    "addresses", [[LOOPBACK], ["8.8.8.8", LOOPBACK], ["::1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]]
)
async def test_a_name_that_leads_inside_gets_no_connection(open_pool, addresses):
    async with ScriptedServer(answer_all) as server:
        pool = open_pool(guard=guard_for(names(provider=addresses), allow_private=False))
        with pytest.raises(TransportFailure) as caught:
            await ask(pool, "https://provider.example.com")
        assert (caught.value.failure.outcome, caught.value.unsent) == (Outcome.UNREACHABLE, True)
        assert "not public" in caught.value.failure.message
        assert server.connections == 0


@pytest.mark.parametrize("host", [LOOPBACK, "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_address_inside_gets_no_connection(open_pool, scheme, host):
    async with ScriptedServer(answer_all) as server:
        pool = open_pool(guard=AddressGuard())
        with pytest.raises(TransportFailure) as caught:
            await ask(pool, f"{scheme}://{host}:{server.port}")
        assert caught.value.unsent
        assert server.connections == 0


async def test_a_name_that_changes_its_mind_gains_nothing(open_pool):
    answers = [[LOOPBACK], ["169.254.169.254"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async def close_after_one(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(b"fine", headers="connection: close\r\n")

    async with ScriptedServer(close_after_one) as server:
        pool = open_pool(guard=guard_for(resolve))
        for _ in range(2):
            assert await ask(pool, f"http://provider.example.com:{server.port}") == b"fine"
        assert len(answers) == 1


async def test_the_catalogues_own_addresses_need_no_guard(open_pool):
    async with ScriptedServer(answer_all) as trusted, ScriptedServer(answer_all) as other:
        bases = [f"{trusted.base_url}/v1", "https://{resource}.example.com/v1"]
        pool = open_pool(guard=AddressGuard(), trusted_base_urls=bases)
        assert await ask(pool, trusted.base_url) == b"fine"
        with pytest.raises(TransportFailure):
            await ask(pool, other.base_url)
        assert other.connections == 0


# Proxies.


@pytest.fixture
def clean_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


async def forward(connection: Connection) -> None:
    """A proxy for CONNECT, and one that answers itself for everything else."""
    request = await connection.read_head()
    if not request.line.startswith("CONNECT "):
        await connection.reader.readexactly(int(request.headers["content-length"]))
        await connection.answer(b"from the proxy")
        return
    _, port = request.target.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(LOOPBACK, int(port))
    await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(_pump(connection.reader, writer), _pump(reader, connection.writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_a_proxy_of_the_environment_carries_plain_requests(open_pool, clean_environment):
    async with ScriptedServer(forward) as proxy:
        clean_environment.setenv("http_proxy", f"http://user:p%40ss@{LOOPBACK}:{proxy.port}")
        assert await ask(open_pool(), "http://provider.example.com/base") == b"from the proxy"
    request = proxy.requests[0]
    assert request.line == "POST http://provider.example.com/base/v1/chat/completions HTTP/1.1"
    assert request.headers["host"] == "provider.example.com"
    assert request.headers["proxy-authorization"] == "Basic " + b64encode(b"user:p@ss").decode()


async def test_a_proxy_of_the_environment_tunnels_tls_and_sees_no_secret(open_pool, authority, clean_environment):
    async with ScriptedServer(forward) as proxy, ScriptedServer(answer_all, authority.server_context()) as server:
        clean_environment.setenv("https_proxy", f"http://user:pass@{LOOPBACK}:{proxy.port}")
        pool = open_pool(trust_roots=authority.root)
        for _ in range(2):
            assert await ask(pool, server.base_url) == b"fine"
        await pool.close()
        await asyncio.wait_for(proxy.all_closed.wait(), 1)
    assert [request.line for request in proxy.requests] == [f"CONNECT {LOOPBACK}:{server.port} HTTP/1.1"]
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
    assert "authorization" not in proxy.requests[0].headers
    assert "proxy-authorization" not in server.requests[0].headers
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET_TEXT}"


async def test_a_tunnel_has_the_deadlines_of_its_request_and_leaves_nothing_behind(
    open_pool, authority, clean_environment
):
    async def drip(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED)
        for _ in range(10):
            await connection.send(chunk(b"x"))
            await asyncio.sleep(0.05)
        await connection.send(chunk(b""))
        await connection.wait_gone()

    async with ScriptedServer(forward) as proxy, ScriptedServer(drip, authority.server_context()) as server:
        clean_environment.setenv("https_proxy", f"http://{LOOPBACK}:{proxy.port}")
        pool = open_pool(trust_roots=authority.root, first_byte_timeout_seconds=0.2)
        before = living_connections()
        assert await ask(pool, server.base_url) == b"x" * 10
        assert living_since(before) == 1
        await pool.close()
        await asyncio.wait_for(proxy.all_closed.wait(), 1)
        assert living_since(before) == 0


async def test_a_handshake_in_a_tunnel_may_take_longer_than_the_proxys_answer(open_pool, authority, clean_environment):
    async def forward_slowly(connection: Connection) -> None:
        request = await connection.read_head()
        reader, writer = await asyncio.open_connection(LOOPBACK, int(request.target.rsplit(":", 1)[1]))
        await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        hello = await connection.reader.read(65536)
        await asyncio.sleep(0.3)  # longer than the deadline of the answer: that is what is tested
        writer.write(hello)
        await asyncio.gather(_pump(connection.reader, writer), _pump(reader, connection.writer))

    async def answer(connection: Connection) -> None:
        await connection.read_request()
        await connection.answer(b"through")

    async with ScriptedServer(forward_slowly) as proxy, ScriptedServer(answer, authority.server_context()) as server:
        clean_environment.setenv("https_proxy", f"http://{LOOPBACK}:{proxy.port}")
        pool = open_pool(trust_roots=authority.root, first_byte_timeout_seconds=0.1)
        assert await ask(pool, server.base_url) == b"through"


async def test_a_tunnel_without_tls_in_it_leaves_nothing_behind(open_pool, clean_environment):
    async def forward_to_nothing(connection: Connection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await connection.reader.read(10)

    async with ScriptedServer(forward_to_nothing) as proxy:
        clean_environment.setenv("https_proxy", f"http://{LOOPBACK}:{proxy.port}")
        pool = open_pool()
        before = living_connections()
        with pytest.raises(TransportFailure) as caught:
            await ask(pool, "https://provider.example.com")
        assert caught.value.unsent
        await asyncio.wait_for(proxy.all_closed.wait(), 1)
        assert living_since(before) == 0


def living_connections() -> list[Http1Connection]:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Http1Connection)]


def living_since(before: list[Http1Connection]) -> int:
    """How many there are that were not there before; those of other tests may go meanwhile."""
    return sum(all(one is not other for other in before) for one in living_connections())


async def test_a_proxy_that_refuses(open_pool, clean_environment):
    async def refuse(connection: Connection) -> None:
        await connection.read_head()
        await connection.answer(b"go away", status=407)
        await connection.wait_gone()

    async with ScriptedServer(refuse) as proxy:
        clean_environment.setenv("all_proxy", f"http://{LOOPBACK}:{proxy.port}")
        with pytest.raises(TransportFailure, match="the proxy did not let the connection through") as caught:
            await ask(open_pool(), "https://provider.example.com")
        assert caught.value.unsent
        await asyncio.wait_for(proxy.all_closed.wait(), 1)


async def test_no_proxy_is_heeded(open_pool, clean_environment):
    async with ScriptedServer(forward) as proxy, ScriptedServer(answer_all) as server:
        clean_environment.setenv("http_proxy", f"http://{LOOPBACK}:{proxy.port}")
        clean_environment.setenv("no_proxy", LOOPBACK)
        assert await ask(open_pool(), server.base_url) == b"fine"
        assert proxy.connections == 0


async def test_a_guarded_connection_never_takes_a_proxy(open_pool, clean_environment):
    async with ScriptedServer(forward) as proxy, ScriptedServer(answer_all) as server:
        clean_environment.setenv("http_proxy", f"http://{LOOPBACK}:{proxy.port}")
        pool = open_pool(guard=guard_for(names(provider=[LOOPBACK])))
        assert await ask(pool, f"http://provider.example.com:{server.port}") == b"fine"
        assert proxy.connections == 0


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1080", "https://proxy.example.com", "proxy.example.com:3128", "http://"]
)
def test_a_proxy_of_another_kind_stops_the_start(open_pool, clean_environment, proxy):
    clean_environment.setenv("https_proxy", proxy)
    with pytest.raises(ConfigError, match="https_proxy"):
        open_pool()


# Names and addresses.


async def test_the_next_address_is_tried_when_one_does_not_answer(open_pool):
    async with ScriptedServer(answer_all) as server:
        with closing(socket.socket()) as unused:
            # Bound, so that nobody else takes it, but not listening.
            unused.bind(("127.0.0.2", server.port))
            pool = open_pool(guard=guard_for(names(provider=["127.0.0.2", "127.0.0.3", LOOPBACK])))
            assert await ask(pool, f"http://provider.example.com:{server.port}") == b"fine"


async def test_the_failure_of_all_addresses_is_told(open_pool):
    with closing(socket.socket()) as unused:
        unused.bind((LOOPBACK, 0))
        pool = open_pool(guard=guard_for(names(provider=[LOOPBACK, "127.0.0.2"])))
        with pytest.raises(TransportFailure, match="connection refused") as caught:
            await ask(pool, f"http://provider.example.com:{unused.getsockname()[1]}")
        assert caught.value.unsent


async def test_a_silent_address_does_not_hold_up_the_next_and_is_let_go(authority):
    """The first address accepts and never finishes its handshake."""

    async def say_nothing(connection: Connection) -> None:
        await connection.wait_gone()

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.2", LOOPBACK]

    registry: set[Http1Connection] = set()
    deadlines = Deadlines(first_byte=5, idle=5, total=5, keep_alive=5)
    tls = ssl.create_default_context(cadata=authority.root.decode())
    async with (
        ScriptedServer(answer_all, authority.server_context()) as server,
        ScriptedServer(say_nothing, address="127.0.0.2", port=server.port) as silent,
    ):
        destination = Destination("https", LOOPBACK, server.port, CachedNames(resolve, seconds=60))
        async with asyncio.timeout(2):
            connection = await connect(destination, tls, lambda: Http1Connection(deadlines, registry))
            assert connection.transport.get_extra_info("peername")[0] == LOOPBACK
            assert silent.connections == 1
            await silent.all_closed.wait()
        assert registry == {connection}
        connection.cut()


async def test_many_requests_at_once_ask_for_a_name_once():
    release = asyncio.Event()
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        await release.wait()
        return [LOOPBACK]

    known = CachedNames(resolve, seconds=60)
    waiting = [asyncio.create_task(known("a", 1)) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    release.set()
    results = await asyncio.gather(*waiting[1:])
    assert results == [[LOOPBACK]] * 19
    assert await known("a", 1) == [LOOPBACK]
    assert asked == ["a"]


async def test_a_failed_name_is_asked_for_again():
    answers: list[object] = [OSError("down"), [LOOPBACK]]

    async def resolve(host: str, port: int) -> list[str]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    known = CachedNames(resolve, seconds=60)
    with pytest.raises(OSError, match="down"):
        await known("a", 1)
    assert await known("a", 1) == [LOOPBACK]


async def test_a_provider_that_moved_is_found_again(open_pool):
    answers = [["127.0.0.2"], [LOOPBACK]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async with ScriptedServer(answer_all) as server:
        pool = open_pool(guard=guard_for(resolve))
        with pytest.raises(TransportFailure, match="connection refused"):
            await ask(pool, f"http://provider.example.com:{server.port}")
        assert await ask(pool, f"http://provider.example.com:{server.port}") == b"fine"


async def test_failed_connections_leave_nothing_behind(open_pool):
    pool = open_pool()
    with closing(socket.socket()) as unused:
        unused.bind((LOOPBACK, 0))
        for _ in range(20):
            with pytest.raises(TransportFailure):
                await ask(pool, f"http://{LOOPBACK}:{unused.getsockname()[1]}")
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Http1Connection) and thing.transport is None]


@pytest.mark.parametrize("host", ["a" * 64 + ".example.com", "a..example.com", "x" * 300])
async def test_names_that_no_name_server_takes(open_pool, host):
    with pytest.raises(TransportFailure) as caught:
        await ask(open_pool(), f"https://{host}")
    assert (caught.value.failure.outcome, caught.value.unsent) == (Outcome.UNREACHABLE, True)
