"""How long a withdrawn right still works, in every process: measured, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

import asyncpg
import httpx2
import pytest_asyncio

from tests.replicas.bare_client import BareClient
from tests.replicas.cluster import DATABASE, PACE_SECONDS, Cluster, body_for, open_cluster, percentile, until_refused
from tests.replicas.conftest import LONG
from tests.servers import PostgresServer

REPLICAS = 5 if LONG else 3
ROUNDS = 200 if LONG else 10
ROUNDS_UNHEARD = 40 if LONG else 3
ROUNDS_REPLACED = 60 if LONG else 5
CLIENTS = 20 if LONG else 3
STREAMS = 1000 if LONG else 60
# Two cores for five gateways, a database, a provider and the load: what is measured is mostly the queue for them.
NOTIFIED_P99_SECONDS = 0.05
UNHEARD_SECONDS = 1.5
LEASE_SECONDS = 5.0
END_LISTENERS = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity "
    f"where application_name = 'ownkey listen' and datname = '{DATABASE}'"
)


@pytest_asyncio.fixture(scope="module")
async def paused() -> asyncio.Event:
    """Streams wait for it: here, until they are cut."""
    return asyncio.Event()


@pytest_asyncio.fixture(scope="module")
async def cluster(server: PostgresServer, paused: asyncio.Event) -> AsyncIterator[Cluster]:
    """Strict: what cannot be known any more is not used."""
    opened = open_cluster(server, REPLICAS, processes=LONG, paused=paused, OWNKEY_STALE_SECONDS="0")
    async with opened as cluster:
        await cluster.add_user("ada", "gsk_ada_0000000000000001")
        yield cluster


async def revoke_once(cluster: Cluster) -> list[float]:
    """Revoke a token that is in use in every process; how long after the acknowledgement each of them refused it."""
    token, token_id = await cluster.add_token("ada")
    for replica in cluster.replicas:
        client = BareClient(replica.url)
        assert (await client.post(token, body_for("ada")))[0] == 200
        client.hang_up()
    refused = [asyncio.create_task(until_refused(replica, token, "ada")) for replica in cluster.replicas]
    await cluster.control.tokens.revoke("ada", token_id)
    acknowledged = perf_counter()
    moments = await asyncio.gather(*refused)
    return [max(0.0, moment - acknowledged) for moment in moments]


def report(what: str, seconds: list[float]) -> None:
    at = ", ".join(f"{name} {1000 * percentile(seconds, share):.1f} ms" for name, share in PERCENTILES)
    print(f"\n{what}: {len(seconds)} refusals, {at}")


PERCENTILES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))


async def test_a_revoked_token_is_refused_in_every_process(cluster: Cluster) -> None:
    seconds = [one for _ in range(ROUNDS) for one in await revoke_once(cluster)]
    report("with notifications", seconds)
    # Thirty values have no 99th percentile; and a machine that runs the whole suite has other things to do.
    assert percentile(seconds, 0.99) <= (NOTIFIED_P99_SECONDS if LONG else 10 * NOTIFIED_P99_SECONDS)


async def test_nor_does_it_need_notifications(cluster: Cluster) -> None:
    """All listening connections are ended as fast as that can be said."""
    killer = await asyncpg.connect(cluster.server.dsn(DATABASE, "postgres"))
    stop = asyncio.Event()

    async def end_listeners() -> int:
        ended = 0
        while not stop.is_set():
            ended += await killer.fetchval(END_LISTENERS)
            await asyncio.sleep(0.005)
        return ended

    ending = asyncio.create_task(end_listeners())
    try:
        seconds = [one for _ in range(ROUNDS_UNHEARD) for one in await revoke_once(cluster)]
    finally:
        stop.set()
        ended = await ending
        await killer.close()
    report(f"with {ended} listening connections ended", seconds)
    assert ended >= len(cluster.replicas)
    assert max(seconds) <= UNHEARD_SECONDS


async def test_streams_of_a_revoked_token_end_everywhere_and_nothing_begins_after_them(cluster: Cluster) -> None:
    token, token_id = await cluster.add_token("ada")
    spared, _ = await cluster.add_token("ada")
    began = asyncio.Semaphore(0)

    async def follow(number: int) -> tuple[float, bytes]:
        """One stream to its end; when that was, and what came last."""
        replica = cluster.replicas[number % len(cluster.replicas)]
        host, port = replica.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = body_for("ada", stream=True)
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()
        )
        seen = await reader.readuntil(b'"content":"x"')
        began.release()
        try:
            while part := await reader.read(65536):
                seen = part
            return perf_counter(), seen
        finally:
            writer.close()

    async def stay() -> None:
        async with httpx2.AsyncClient(base_url=cluster.replicas[0].url, timeout=60) as client:
            headers = {"Authorization": f"Bearer {spared}"}
            body = {"model": "auto", "user": "ada", "stream": True, "messages": []}
            async with client.stream("POST", "/v1/chat/completions", headers=headers, json=body) as answer:
                assert '"content":"x"' in await anext(answer.aiter_lines())
                began.release()
                await ended.wait()
                assert "access_withdrawn" not in answer.extensions.get("seen", "")

    ended = asyncio.Event()
    others = asyncio.create_task(stay())
    streams = [asyncio.create_task(follow(number)) for number in range(STREAMS)]
    for _ in range(STREAMS + 1):
        await began.acquire()
    await cluster.control.tokens.revoke("ada", token_id)
    acknowledged = perf_counter()
    results = await asyncio.gather(*streams)
    calls = cluster.provider.calls
    # Nobody is let in any more, wherever they come.
    for replica in cluster.replicas:
        client = BareClient(replica.url)
        for _ in range(20):
            assert (await client.post(token, body_for("ada")))[0] == 401
        client.hang_up()
    assert cluster.provider.calls == calls
    assert not others.done(), "another token's stream goes on"
    ended.set()
    await others
    assert all(b'"code":"access_withdrawn"' in last and b"[DONE]" not in last for _, last in results)
    report(f"{STREAMS} streams cut", [moment - acknowledged for moment, _ in results])


async def test_a_replaced_key_is_not_used_again(cluster: Cluster) -> None:
    """Under load in every process, which keeps many requests on their way at any moment."""
    keys = [f"gsk_bob_{number:016d}" for number in range(ROUNDS_REPLACED + 1)]
    token, _ = await cluster.add_user("bob", keys[0])
    [credential] = await cluster.control.settings.list_credentials("bob")
    stop = asyncio.Event()

    async def ask(url: str) -> None:
        client = BareClient(url)
        while not stop.is_set():
            status, text = await client.post(token, body_for("bob"))
            # Who was on the way with the old key is told so.
            assert status == 200 or b"access_withdrawn" in text, text
            await asyncio.sleep(CLIENTS * 10 * PACE_SECONDS)
        client.hang_up()

    asking = [asyncio.create_task(ask(replica.url)) for replica in cluster.replicas for _ in range(CLIENTS)]
    replaced: list[float] = []
    for key in keys[1:]:
        await cluster.control.settings.replace_credential("bob", credential.id, key)
        replaced.append(perf_counter())
        async with asyncio.timeout(20):
            while key not in cluster.provider.last_use:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # for uses of the old one, of which there must be none
    stop.set()
    await asyncio.gather(*asking)
    late = [max(0.0, cluster.provider.last_use[old] - moment) for old, moment in zip(keys, replaced, strict=False)]
    report(f"last use of a replaced key, {len(asking)} clients", late)
    assert max(late) <= UNHEARD_SECONDS
    assert percentile(late, 0.99) <= (NOTIFIED_P99_SECONDS if LONG else 10 * NOTIFIED_P99_SECONDS)


async def test_who_is_cut_off_stops_serving(cluster: Cluster) -> None:
    """The way of one process to the database swallows everything. It cannot know, so it must not serve for long."""
    token, token_id = await cluster.add_token("ada")
    lonely, *others = cluster.replicas
    client = BareClient(lonely.url)
    assert (await client.post(token, body_for("ada")))[0] == 200
    client.hang_up()
    for replica in others:
        assert await until_served(replica.url, token) == 200
    lonely.proxy.cut()
    try:
        await cluster.control.tokens.revoke("ada", token_id)
        acknowledged = perf_counter()
        elsewhere = await asyncio.gather(*(until_refused(replica, token, "ada") for replica in others))
        here = await until_refused(lonely, token, "ada", status=503)
        assert max(elsewhere) - acknowledged <= UNHEARD_SECONDS
        print(f"\ncut off: refused there after {here - acknowledged:.2f} s")
        # A moment more than the lease, for the answer to the last question may have been older than the cut.
        assert here - acknowledged <= LEASE_SECONDS + 1
        cold, _ = await cluster.add_token("ada")
        began = perf_counter()
        client = BareClient(lonely.url)
        status, text = await client.post(cold, body_for("ada"))
        client.hang_up()
        assert status == 503, "never 401: it may be a valid one"
        assert b"database_unavailable" in text
        print(f"a token that is not in memory: 503 after {1000 * (perf_counter() - began):.0f} ms")
        assert perf_counter() - began <= (0.1 if LONG else 1.0)
    finally:
        lonely.proxy.heal()
    await until_refused_again(lonely.url, token)


async def until_served(url: str, token: str) -> int:
    client = BareClient(url)
    status, _ = await client.post(token, body_for("ada"))
    client.hang_up()
    return status


async def until_refused_again(url: str, token: str) -> None:
    """Once the database is there again, the truth is told: 401."""
    async with asyncio.timeout(20):
        while (status := await until_served(url, token)) != 401:
            assert status == 503
