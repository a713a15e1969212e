"""Clients that take their time: each of them is cut, and no other client hears of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from msgspec import Struct

from ownkey.testing import SimulatedProviders
from ownkey.testing.replies import Reply
from tests.cli.conftest import make_place
from tests.cli.shell import Shell
from tests.raw_http import RawClient

BODY = b'{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'
STREAM = BODY.replace(b"{", b'{"stream":true,', 1)
ROOM = 128
ESTABLISHED = "01"
LARGE_BYTES = 8_000_000  # more than all buffers on the way hold
MEGABYTE = 1024 * 1024


class Gateway(Struct):
    """A server with little patience."""

    url: str
    process_id: int
    token: bytes
    providers: SimulatedProviders

    def head(self, length: int) -> bytes:
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nAuthorization: Bearer %b\r\n\r\n"
            % (length, self.token)
        )

    def count_files(self) -> int:
        return len(list(Path(f"/proc/{self.process_id}/fd").iterdir()))

    def count_connections(self) -> int:
        """Those that are open on this side, whatever the clients think."""
        port = f":{urlsplit(self.url).port:04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(line[1].endswith(port) and line[3] == ESTABLISHED for line in lines)

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process_id}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with make_place() as place, SimulatedProviders() as providers:
        catalog = providers.write_catalog(Path(place) / "catalog.toml")
        shell = Shell(
            place / "data",
            OWNKEY_CATALOG=str(catalog),
            OPENAI_API_KEY="sk-operator-0123456789",
            OWNKEY_HEADER_TIMEOUT_SECONDS="1.5",
            OWNKEY_BODY_TIMEOUT_SECONDS="1.5",
            OWNKEY_CLIENT_STALL_SECONDS="1.5",
            OWNKEY_KEEP_ALIVE_SECONDS="1.5",
            OWNKEY_MAX_CONNECTIONS=str(ROOM),
            OWNKEY_DRAIN_LIMIT="0",
        )
        with shell.serve() as serving:
            assert serving.token is not None
            yield Gateway(serving.url, serving.process.pid, serving.token.encode(), providers)


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def ask(gateway: Gateway, times: int) -> list[int]:
    """Honest calls over one connection, one after the other."""
    statuses = []
    with RawClient(gateway.url) as client:
        for _ in range(times):
            client.send(gateway.head(len(BODY)) + BODY)
            answer = client.read_answer()
            assert answer is not None and answer.complete
            statuses.append(answer.status)
    return statuses


def test_a_hundred_slow_clients_are_cut_and_honest_ones_are_served(gateway: Gateway) -> None:
    assert ask(gateway, 1) == [200]
    files, memory = gateway.count_files(), gateway.resident_bytes()
    readers = 10
    gateway.providers.reply("openai", Reply(text="x" * LARGE_BYTES, pieces=16), times=readers)
    with ExitStack() as stack:

        def connect(count: int, said: bytes) -> list[RawClient]:
            clients = [stack.enter_context(RawClient(gateway.url, receive_buffer=4096)) for _ in range(count)]
            for client in clients:
                client.send(said)
            return clients

        reading = connect(readers, gateway.head(len(STREAM)) + STREAM)
        assert gateway.providers.wait_for_requests(readers)
        heads = connect(30, b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Slow: a")
        bodies = connect(30, gateway.head(100_000) + b"{")
        idle = connect(30, b"")
        with ThreadPoolExecutor(4) as threads:
            honest = [threads.submit(ask, gateway, 25) for _ in range(4)]
            assert [status for one in honest for status in one.result()] == [200] * 100
        assert gateway.resident_bytes() - memory < readers * 20 * MEGABYTE, "a client that does not read costs memory"
        for client in (*heads, *bodies):
            [answer] = client.read_all()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert b"request_timeout" in answer.body
        assert [client.read_all() for client in idle] == [[]] * 30
        wait_until(lambda: gateway.count_connections() == 0)
        for client in reading:
            [answer] = client.read_all()
            assert (answer.status, answer.complete) == (200, False), "cut, and not as if all had been said"
    # What is kept are connections to the provider: as many as calls were under way at once.
    wait_until(lambda: gateway.count_files() <= files + readers + 4)
    assert ask(gateway, 1) == [200]


def test_a_body_that_comes_slowly_but_fast_enough_is_read(gateway: Gateway) -> None:
    """The least rate is 4 KiB per second: two seconds' worth of body buys two seconds."""
    body = STREAM.replace(b'"hi"', b'"' + b"a" * 60_000 + b'"')
    with RawClient(gateway.url) as client:
        client.send(gateway.head(len(body)))
        for at in range(0, len(body), 6000):
            client.send(body[at : at + 6000])
            time.sleep(0.2)  # what is tested is the client's slowness
        answer = client.read_answer()
    assert answer is not None and answer.status == 200


def test_a_drip_buys_no_time(gateway: Gateway) -> None:
    with RawClient(gateway.url) as head, RawClient(gateway.url) as body:
        head.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        body.send(gateway.head(100_000))
        for _ in range(30):
            head.send(b"a")
            body.send(b" ")
            time.sleep(0.1)  # what is tested is the client's slowness
        assert [answer.status for client in (head, body) for answer in client.read_all()] == [408, 408]


def test_beyond_the_connections_that_it_takes_a_server_says_so_and_goes_on(gateway: Gateway) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(RawClient(gateway.url)) for _ in range(ROOM)]
        for client in held:
            client.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.read_answer()
            assert answer is not None and answer.status == 200
        late = stack.enter_context(RawClient(gateway.url))
        late.send(gateway.head(len(BODY)) + BODY)
        [refused] = late.read_all()
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert b"too_many_connections" in refused.body
        probe = stack.enter_context(RawClient(gateway.url))
        probe.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        [answer] = probe.read_all()
        assert answer.status == 200, "whoever watches must not think that it is dead"
    wait_until(lambda: ask(gateway, 1) == [200])


def test_an_upload_that_nobody_wants_is_not_read_without_end(gateway: Gateway) -> None:
    """It is answered before it is read; a client that goes on sending is cut off."""
    with RawClient(gateway.url) as client:
        client.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n"
            b"Authorization: Bearer ok-nobody\r\n\r\n"
        )
        answer = client.read_answer()
        assert answer is not None and answer.status == 401
        begin = time.monotonic()
        sent = 0
        client.socket.settimeout(20)
        try:
            for _ in range(2000):
                client.socket.sendall(b" " * 10_000)
                sent += 10_000
                time.sleep(0.01)  # a client that does not hurry
        except OSError:
            pass
        assert sent < 20_000_000
        assert time.monotonic() - begin < 15
