"""Thousands of requests of several users over one pool, many of them cancelled: no answer goes to the wrong one."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import uvloop
from requests_to import request_to

from ownkey.domain.credential import Secret
from ownkey.upstream.pool import TransportFailure, UpstreamPool

REQUESTS = 5_000
AT_ONCE = 64
USERS = ("sk-user-aaaaaaaa", "sk-user-bbbbbbbb")


class EchoServer(asyncio.Protocol):
    """Answers with the key and the body that it got, in one of several ways, some of them rude."""

    def __init__(self, ledger: dict[str, Any], chance: random.Random) -> None:
        self.ledger, self.chance, self.buffer = ledger, chance, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ledger["open"].add(self)
        self.ledger["connections"] += 1

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ledger["open"].discard(self)
        if not self.ledger["open"]:
            self.ledger["all_closed"].set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if not end or len(rest) < length:
                return
            self.buffer = rest[length:]
            self.take(head, rest[:length])

    def take(self, head: bytes, body: bytes) -> None:
        key = head.partition(b"Bearer ")[2].partition(b"\r\n")[0]
        if not body.startswith(key + b":"):
            self.ledger["mismatches"] += 1
        self.ledger["seen"][body] = self.ledger["seen"].get(body, 0) + 1
        echo = key + b"|" + body
        # Now, or some turns of the loop later.
        asyncio.get_running_loop().call_later(self.chance.choice((0, 0, 0.001, 0.004)), self.answer, echo)

    def answer(self, echo: bytes) -> None:
        if self.transport.is_closing():
            return
        manner = self.chance.random()
        if manner < 0.5:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(echo), echo))
        elif manner < 0.9:
            self.transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for part in (echo[:9], echo[9:]):
                self.transport.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.transport.write(b"0\r\n\r\n")
        else:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(echo), echo))
            # Without saying so: the client may be about to use the connection again.
            self.transport.close()


async def storm(seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    ledger: dict[str, Any] = {"open": set(), "connections": 0, "mismatches": 0, "seen": {}}
    ledger |= {"all_closed": asyncio.Event(), "answered": 0, "cancelled": 0, "failed": 0, "wrong": 0}
    server = await loop.create_server(lambda: EchoServer(ledger, chance), "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    pool = UpstreamPool(
        connect_timeout_seconds=10,
        first_byte_timeout_seconds=30,
        idle_timeout_seconds=30,
        total_timeout_seconds=60,
        max_answer_bytes=10_000,
    )
    secrets = [Secret(user) for user in USERS]

    async def ask(number: int) -> None:
        secret = secrets[number % len(secrets)]
        body = f"{secret.reveal()}:{number}".encode()
        try:
            response = await pool.send(request_to(base_url, body=body), secret)
            if number % 10 == 3:
                await response.close()
                ledger["answered"] += 1
                return
            answer = await response.read()
        except TransportFailure:
            ledger["failed"] += 1
        else:
            ledger["answered"] += 1
            ledger["wrong"] += answer != secret.reveal().encode() + b"|" + body

    async def work(numbers: Any) -> None:
        for number in numbers:
            task = asyncio.create_task(ask(number))
            if chance.random() < 0.25:
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                ledger["cancelled"] += 1

    before = asyncio.all_tasks()
    numbers = iter(range(REQUESTS))
    await asyncio.gather(*(work(numbers) for _ in range(AT_ONCE)))
    ledger["left_tasks"] = asyncio.all_tasks() - before
    ledger["left_open"] = len(ledger["open"])
    await pool.close()
    if ledger["open"]:
        await asyncio.wait_for(ledger["all_closed"].wait(), 5)
    server.close()
    await server.wait_closed()
    return ledger


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_no_answer_goes_to_another_user(new_loop):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        ledger = runner.run(storm(seed=20))
    assert ledger["mismatches"] == 0
    assert ledger["wrong"] == 0
    assert ledger["answered"] + ledger["cancelled"] + ledger["failed"] == REQUESTS
    assert ledger["cancelled"] > REQUESTS / 20
    # Only where a request crossed the provider's goodbye: whether it was read, nobody can tell.
    assert ledger["failed"] < REQUESTS / 50, "a connection closed while idle must not cost a request"
    assert ledger["left_tasks"] == set()
    assert ledger["left_open"] <= AT_ONCE
    assert ledger["open"] == set()
    assert set(ledger["seen"].values()) == {1}, "what a provider has read is not sent again"
