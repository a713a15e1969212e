"""Several users in one process, requests in great number, many of them abandoned: no key ever crosses over.

The database is behind PgBouncer, which gives every transaction whichever connection is free, and users are dropped from
memory all the time, so that they are read again while others of their requests run and are cancelled. `make isolation`
sends a million requests.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter

import pytest

from ownkey import Config, Ownkey
from tests.gateway.conftest import serve
from tests.gateway.ledger_server import LedgerServer
from tests.replicas.bare_client import BareClient
from tests.servers import start_pgbouncer, start_wheel_postgres

REQUESTS = int(os.environ.get("ISOLATION_REQUESTS", "4000"))
AT_ONCE = 200
KEYS = {f"user-{number}": f"gsk_user_{number:016d}" for number in range(6)}
CANCELLED = 0.25
DROPPED = 0.05
WRAPPING_KEY = "k1:" + "ADB20kTMah7oyL7K7CRy1lDghkIU/PoOOHjOOrxUAsY="
PROGRESS = 50_000


@pytest.fixture(autouse=True)
def fresh_providers() -> None:
    """These tests bring a provider of their own."""


@pytest.fixture
async def provider() -> AsyncIterator[LedgerServer]:
    async with LedgerServer() as server:
        yield server


@pytest.fixture
async def config(provider: LedgerServer, private_dir: Path) -> AsyncIterator[Config]:
    """PostgreSQL behind PgBouncer, with fewer connections there than are opened here."""
    with start_wheel_postgres() as server, start_pgbouncer(server) as pooled:
        await server.create_database("storm")
        direct = server.dsn("storm")
        yield Config(
            data_dir=private_dir,
            catalog=catalog(private_dir / "catalog.toml", provider.base_url),
            shared_keys=False,
            wrapping_keys=WRAPPING_KEY,
            database_url=direct.replace(str(server.socket_dir), str(pooled)),
            database_pooler=True,
            database_pool_size=12,
            migration_database_url=server.dsn("storm", "postgres"),
            listen_database_url=direct,
        )


def catalog(path: Path, base_url: str) -> Path:
    path.write_text(f'[groq]\nbase_url = "{base_url}"\nlocal = true\n')
    return path


async def add_users(ok: Ownkey) -> dict[str, str]:
    tokens = {}
    for user, key in KEYS.items():
        await ok.manager.load_user_settings(user)
        await ok.settings.add_credential(user, "groq", key)
        tokens[user] = (await ok.tokens.create(user, "load")).text
    return tokens


async def test_no_key_crosses_over(provider: LedgerServer, config: Config) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    async with Ownkey.open(config, environ={}) as ok:
        tokens = await add_users(ok)
        began = perf_counter()
        async with serve(ok.asgi()) as url:
            answered = await storm(ok, url, tokens, chance)
        seen = set(provider.keys)
        assert seen == {(key, user) for user, key in KEYS.items()}, f"seed {seed}"
        assert answered > REQUESTS / 2
        assert provider.calls >= answered
        await ok.core.metering.flush()
        for user in KEYS:
            async with ok.database.transaction(user) as tx:
                rows = await tx.fetch("select distinct user_id, credential_id from ownkey.usage_events")
                count = await tx.fetchval("select count(*) from ownkey.usage_events")
            assert [row["user_id"] for row in rows] == [user]
            # Every call that the provider saw has exactly one record; one that was cut before it was sent may too.
            assert count >= provider.keys[KEYS[user], user]
    print(
        f"\n{REQUESTS:,} requests, {answered:,} answered, the others given up; {provider.calls:,} calls, "
        f"each with its user's key; {perf_counter() - began:.0f} s"
    )


async def storm(ok: Ownkey, url: str, tokens: dict[str, str], chance: random.Random) -> int:
    """All requests, `AT_ONCE` at a time; some are given up at a random moment. How many were answered."""
    answered = 0
    numbers = iter(range(1, REQUESTS + 1))
    users = list(KEYS)

    async def worker() -> None:
        nonlocal answered
        client = BareClient(url)
        for number in numbers:
            if number % PROGRESS == 0:
                print(f"{number:,}", end=" ", flush=True)
            user, stream = chance.choice(users), chance.random() < 0.3
            if chance.random() < DROPPED:
                ok.core.cache.drop(chance.choice(users))
            body = f'{{"model":"auto","user":"{user}","stream":{"true" if stream else "false"},"messages":[]}}'
            task = asyncio.create_task(client.post(tokens[user], body))
            if chance.random() < CANCELLED:
                asyncio.get_running_loop().call_later(chance.random() * 0.02, task.cancel)
            try:
                status, text = await task
            except asyncio.CancelledError:
                client.hang_up()
                continue
            assert status == 200, text
            answered += 1
        client.hang_up()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return answered


async def test_a_client_that_leaves_stops_the_provider(private_dir: Path) -> None:
    """Where nothing is read on, what nobody reads is not paid for. See test_client_leaves for where it is."""
    silence = asyncio.Event()
    async with LedgerServer(chunk_pause=silence) as provider:
        config = Config(
            data_dir=private_dir,
            catalog=catalog(private_dir / "catalog.toml", provider.base_url),
            shared_keys=False,
            drain_limit=0,
        )
        async with Ownkey.open(config, environ={}) as ok:
            tokens = await add_users(ok)
            async with serve(ok.asgi()) as url:
                client = BareClient(url)
                asking = asyncio.create_task(
                    client.post(tokens["user-1"], '{"model":"auto","user":"user-1","stream":true,"messages":[]}')
                )
                await asyncio.wait_for(provider.streaming.wait(), 5)
                asking.cancel()
                client.hang_up()
                await asyncio.wait_for(provider.someone_left.wait(), 5)
            await ok.core.metering.flush()
            async with ok.database.transaction("user-1") as tx:
                outcomes = [row["outcome"] for row in await tx.fetch("select outcome from ownkey.usage_events")]
            assert outcomes == ["client_gone"]
