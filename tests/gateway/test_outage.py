"""PostgreSQL goes away: warm users are served, others wait, and nobody is told that their token is bad."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx2
import pytest

from ownkey import Config, Ownkey
from ownkey.domain.credential import CredentialStatus
from ownkey.storage.snapshots import load_generations
from ownkey.testing import SimulatedProviders
from tests.gateway.conftest import serve

CHAT = "/v1/chat/completions"
BODY = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(autouse=True)
def fresh_providers(providers: SimulatedProviders) -> None:
    """This test has a server of its own."""
    providers.reset()


async def test_an_outage_of_the_database(private_dir: Path, providers: SimulatedProviders) -> None:
    config = Config(
        data_dir=private_dir,
        catalog=providers.write_catalog(private_dir / "catalog.toml"),
        usage_flush_seconds=0.05,
        shared_keys=False,
    )
    async with Ownkey.open(config, environ={}) as ok:
        tokens = {}
        for user in ("warm", "cold"):
            await ok.manager.load_user_settings(user)
            await ok.settings.add_credential(user, "groq", f"gsk_{user}_0000000000000001")
            tokens[user] = (await ok.tokens.create(user, "t")).text
        ok.core.cache.drop("cold")
        async with serve(ok.asgi()) as url, httpx2.AsyncClient(base_url=url, timeout=30) as client:
            await warm(ok, client, tokens["warm"])
            [pid_file] = private_dir.rglob("postmaster.pid")
            pid = int(pid_file.read_text().split()[0])
            os.kill(pid, signal.SIGQUIT)
            await ended(pid)
            assert (await ask(client, tokens["warm"])).status_code == 200
            answer = await ask(client, tokens["cold"])
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            settings = await client.get("/api/settings", headers={"Authorization": f"Bearer {tokens['warm']}"})
            assert settings.status_code == 503
            assert settings.headers["content-type"].startswith("application/problem+json")
            await restart(private_dir, ok, client, tokens, providers)


async def warm(ok: Ownkey, client: httpx2.AsyncClient, token: str) -> None:
    """Ask until nothing more is to be learnt of the user: the first answer proves the key, and that is a change."""
    assert (await ask(client, token)).status_code == 200
    async with asyncio.timeout(10):
        while [one.status for one in await ok.settings.list_credentials("warm")] != [CredentialStatus.OK]:
            pass
        newest = (await load_generations(ok.database, ["warm"]))["warm"]
        while (kept := ok.core.cache.find("warm")) is None or kept.generation < newest:
            assert (await ask(client, token)).status_code == 200


async def ended(pid: int) -> None:
    """Return when a process that is not our child has gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        await asyncio.wait_for(gone.wait(), 10)
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def restart(
    private_dir: Path, ok: Ownkey, client: httpx2.AsyncClient, tokens: dict[str, str], providers: SimulatedProviders
) -> None:
    """Bring the database back as the next start would; everything goes on and nothing is lost."""
    from ownkey.storage.embedded import EmbeddedPostgres

    server = await EmbeddedPostgres.start(private_dir)
    try:
        async with asyncio.timeout(10):
            while (await client.get("/readyz")).status_code != 200:
                pass
        assert (await ask(client, tokens["cold"])).status_code == 200
        assert (await ask(client, tokens["warm"])).status_code == 200
        await ok.core.metering.flush()
        assert ok.core.metering.waiting == 0
        asked = [entry.key for entry in providers.ledger("groq")].count("gsk_warm_0000000000000001")
        async with ok.database.transaction("warm") as tx:
            assert await tx.fetchval("select count(*) from ownkey.usage_events") == asked
    finally:
        await server.stop()


async def ask(client: httpx2.AsyncClient, token: str) -> httpx2.Response:
    return await client.post(CHAT, headers={"Authorization": f"Bearer {token}"}, json=BODY)
