"""PostgreSQL is away for a while: who is in memory is served, nobody is told that a token is bad, no usage is lost."""

from __future__ import annotations

import asyncio
from time import perf_counter

from msgspec import Struct

from tests.replicas.bare_client import BareClient
from tests.replicas.cluster import Cluster, body_for, open_cluster, percentile
from tests.replicas.conftest import LONG
from tests.servers import PostgresServer

REPLICAS = 5 if LONG else 2
AWAY_SECONDS = 60 if LONG else 3
CLIENTS = 4 if LONG else 3
COLD_EVERY_SECONDS = 0.5
# What a process may hold: OWNKEY_DATABASE_POOL_SIZE, and the one that listens.
CONNECTIONS = 8 + 1
RECOVERY_SECONDS = 5


class Seen(Struct):
    """What clients saw: (when, status, how long it took)."""

    warm: list[tuple[float, int, float]]
    cold: list[tuple[float, int, float]]


async def test_warm_users_do_not_notice(server: PostgresServer) -> None:
    async with open_cluster(server, REPLICAS, processes=LONG) as cluster:
        warm, _ = await cluster.add_user("ada", "gsk_ada_0000000000000001")
        cold = [(await cluster.add_user(f"cold-{n}", f"gsk_cold_{n:015d}"))[0] for n in range(REPLICAS)]
        seen, stop = Seen([], []), asyncio.Event()
        for replica in cluster.replicas:
            await ask(replica.url, warm, "ada", seen.warm)
        tasks = [
            asyncio.create_task(keep_asking(replica.url, warm, "ada", seen.warm, stop))
            for replica in cluster.replicas
            for _ in range(CLIENTS)
        ]
        await asyncio.sleep(1)
        await asyncio.to_thread(server.stop, "immediate")
        went_at = perf_counter()
        for proxy in (replica.proxy for replica in cluster.replicas):
            proxy.most_open = proxy.open_now
        while perf_counter() < went_at + AWAY_SECONDS:
            for number, replica in enumerate(cluster.replicas):
                await ask(replica.url, cold[number], f"cold-{number}", seen.cold)
            await asyncio.sleep(COLD_EVERY_SECONDS)
        await asyncio.to_thread(server.start)
        back_at = perf_counter()
        await recover(cluster, cold, seen)
        recovered_at = perf_counter()
        await asyncio.sleep(1)
        stop.set()
        await asyncio.gather(*tasks)
        stored, called = await count_usage(cluster)
        most = max(replica.proxy.most_open for replica in cluster.replicas)

    away = [one for one in seen.warm if went_at <= one[0] <= back_at]
    served = sum(status == 200 for _, status, _ in away)
    before_back = [one for one in seen.cold if one[0] < back_at - 0.2]
    took = [one for _, _, one in before_back]
    median, slowest = percentile(took, 0.5), max(took)
    slow = f"p50 {1000 * median:.0f} ms, p95 {1000 * percentile(took, 0.95):.0f} ms, slowest {1000 * slowest:.0f} ms"
    print(
        f"\naway for {back_at - went_at:.1f} s: {served} of {len(away)} requests of warm users served "
        f"({100 * served / len(away):.3f} %); cold ones: {len(before_back)} times 503 ({slow}); "
        f"all well {recovered_at - back_at:.2f} s after it came back; at most {most} connections of a process; "
        f"{called} calls, {stored} stored"
    )
    assert served >= 0.999 * len(away)
    assert {status for _, status, _ in before_back} == {503}
    assert {status for _, status, _ in seen.cold} <= {200, 503}, "never 401"
    assert median <= 0.1
    assert recovered_at - back_at <= RECOVERY_SECONDS
    assert most <= 2 * CONNECTIONS
    assert stored == called


async def recover(cluster: Cluster, cold: list[str], seen: Seen) -> None:
    """Until every process serves somebody whom it did not have in memory."""
    async with asyncio.timeout(30):
        for number, replica in enumerate(cluster.replicas):
            while await ask(replica.url, cold[number], f"cold-{number}", seen.cold) != 200:
                await asyncio.sleep(0.02)


async def count_usage(cluster: Cluster) -> tuple[int, int]:
    """(events stored, calls that the provider saw), once nothing waits any more."""
    called = cluster.provider.calls
    async with asyncio.timeout(60):
        while True:
            stored = 0
            for user in ("ada", *(f"cold-{number}" for number in range(REPLICAS))):
                async with cluster.control.database.transaction(user) as tx:
                    stored += await tx.fetchval("select count(*) from ownkey.usage_events")
            if stored >= called:
                return stored, called
            await asyncio.sleep(0.2)


async def keep_asking(
    url: str, token: str, user: str, into: list[tuple[float, int, float]], stop: asyncio.Event
) -> None:
    client = BareClient(url)
    while not stop.is_set():
        began = perf_counter()
        status, _ = await client.post(token, body_for(user))
        into.append((began, status, perf_counter() - began))
        await asyncio.sleep(0.02)
    client.hang_up()


async def ask(url: str, token: str, user: str, into: list[tuple[float, int, float]]) -> int:
    client = BareClient(url)
    began = perf_counter()
    status, _ = await client.post(token, body_for(user))
    client.hang_up()
    into.append((began, status, perf_counter() - began))
    return status
