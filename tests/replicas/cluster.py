"""Several gateways on one PostgreSQL, each with a way to it of its own that can be cut.

In this process they are quick to start; as processes of their own they are what they are in production.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter

from msgspec import Struct

from ownkey import Config, Ownkey
from tests.gateway.conftest import serve
from tests.gateway.ledger_server import LedgerServer
from tests.replicas.bare_client import BareClient
from tests.replicas.cuttable_proxy import CuttableProxy
from tests.servers import PostgresServer

WRAPPING_KEY = "k1:" + "ADB20kTMah7oyL7K7CRy1lDghkIU/PoOOHjOOrxUAsY="
DATABASE = "replicas"
PACE_SECONDS = 0.002


class Replica(Struct):
    """A gateway, and its way to the database. `ok` is there where it runs in this process."""

    url: str
    proxy: CuttableProxy
    ok: Ownkey | None = None
    process: Process | None = None


class Cluster(Struct):
    """`control` is one more process of the deployment: everything is changed there."""

    server: PostgresServer
    provider: LedgerServer
    control: Ownkey
    replicas: list[Replica]

    async def add_user(self, user_id: str, key: str) -> tuple[str, str]:
        """A user with this key; a token of theirs, and its id."""
        await self.control.manager.load_user_settings(user_id)
        await self.control.settings.add_credential(user_id, "groq", key)
        return await self.add_token(user_id)

    async def add_token(self, user_id: str) -> tuple[str, str]:
        made = await self.control.tokens.create(user_id, "test")
        return made.text, made.token.id


@asynccontextmanager
async def open_cluster(
    server: PostgresServer, count: int, *, processes: bool = False, paused: asyncio.Event | None = None, **settings: str
) -> AsyncIterator[Cluster]:
    """`settings` are of the replicas, by the names of their variables."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ownkey-r-")))
        await server.create_database(DATABASE)
        stack.push_async_callback(server.drop_database, DATABASE)
        provider = await stack.enter_async_context(LedgerServer(chunk_pause=paused))
        catalog = directory / "catalog.toml"
        catalog.write_text(f'[groq]\nbase_url = "{provider.base_url}"\nlocal = true\n')
        common = {
            "OWNKEY_CATALOG": str(catalog),
            "OWNKEY_WRAPPING_KEYS": WRAPPING_KEY,
            "OWNKEY_SHARED_KEYS": "false",
            "OWNKEY_DATA_DIR": str(directory / "data"),
            "OWNKEY_MIGRATION_DATABASE_URL": server.dsn(DATABASE, "postgres"),
        }
        control = await stack.enter_async_context(
            Ownkey.open(Config.from_env({**common, "OWNKEY_DATABASE_URL": server.dsn(DATABASE)}), environ={})
        )
        opening = []
        for number in range(count):
            proxy = await stack.enter_async_context(CuttableProxy(directory / f"way-{number}", server.socket_dir))
            dsn = server.dsn(DATABASE).replace(str(server.socket_dir), str(proxy.directory))
            ways = {"OWNKEY_DATABASE_URL": dsn, "OWNKEY_LISTEN_DATABASE_URL": dsn}
            opening.append((proxy, {**common, **ways, **settings}))
        open_one = _open_process if processes else _open_here
        replicas = await asyncio.gather(*(open_one(stack, proxy, variables) for proxy, variables in opening))
        yield Cluster(server, provider, control, list(replicas))


async def _open_here(stack: AsyncExitStack, proxy: CuttableProxy, variables: dict[str, str]) -> Replica:
    ok = await stack.enter_async_context(Ownkey.open(Config.from_env(variables), environ={}))
    return Replica(await stack.enter_async_context(serve(ok.asgi())), proxy, ok)


async def _open_process(stack: AsyncExitStack, proxy: CuttableProxy, variables: dict[str, str]) -> Replica:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OWNKEY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ownkey", "serve", "--port", "0"),
        env={**kept, "PYTHONUNBUFFERED": "1", "OWNKEY_LOG_LEVEL": "error", **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
    )
    stack.push_async_callback(_end, process)
    url = ""
    assert process.stdout is not None
    async for line in process.stdout:
        if found := re.search(r"OpenAI API +(http://\S+)/v1", line.decode()):
            url = found[1]
        if line.startswith(b"Ready"):
            return Replica(url, proxy, None, process)
    raise AssertionError("a gateway did not start")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def until_refused(replica: Replica, token: str, user: str, *, status: int = 401, patience: float = 30) -> float:
    """Ask again and again until the answer is a refusal; gives the moment. Anything but 200 before that is wrong."""
    client = BareClient(replica.url)
    deadline = perf_counter() + patience
    try:
        while True:
            seen, text = await client.post(token, body_for(user))
            if seen == status:
                return perf_counter()
            assert seen == 200, text
            assert perf_counter() < deadline, f"{replica.url} still serves"
            # What is measured is how long news take, not how long the queue for the processor is.
            await asyncio.sleep(PACE_SECONDS)
    finally:
        client.hang_up()


def body_for(user: str, *, stream: bool = False) -> str:
    return f'{{"model":"auto","user":"{user}","stream":{"true" if stream else "false"},"messages":[]}}'


def percentile(values: list[float], share: float) -> float:
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]
