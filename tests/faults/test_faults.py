"""Servers are killed, frozen and cut off, the database crashes, disks fill up, providers fail; load goes on meanwhile.

Afterwards each call on the provider's book is looked for on ours, with its tokens: none may be missing, none may be
there twice, and what a client had to its last byte must be there as what it was. `make faults` does it for ten minutes.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from copy import copy
from pathlib import Path

import asyncpg
from msgspec import Struct

from ownkey import Config, Ownkey
from tests.faults.gateways import Gateway
from tests.faults.provider import OUTPUT_TOKENS, NumberingProvider
from tests.faults.storm import Storm
from tests.replicas.cuttable_proxy import CuttableProxy
from tests.servers import PostgresServer, start_debian_postgres, start_pgbouncer

SEED = int(os.environ.get("FAULTS_SEED", "20261126"))
SECONDS = float(os.environ.get("FAULTS_SECONDS", "3"))
CLIENTS = int(os.environ.get("FAULTS_CLIENTS", "16"))
USERS = 20
WARM = 300
DATABASE = "faults"
WRAPPING_KEY = "k1:" + "ADB20kTMah7oyL7K7CRy1lDghkIU/PoOOHjOOrxUAsY="
ROOT = Path(__file__).parents[2]


class Stage(Struct):
    server: PostgresServer
    provider: NumberingProvider
    gateways: list[Gateway]
    ways: list[CuttableProxy]
    tokens: list[str]
    keys: dict[str, str]
    small_disk: bool


@contextmanager
def small_disk(directory: Path) -> Iterator[bool]:
    """A file system of 48 MB there, if we may mount one."""
    directory.mkdir(parents=True, mode=0o700)
    mounting = ["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "ownkey-faults", str(directory)]
    mounted = os.geteuid() == 0 and subprocess.run(mounting, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(directory)], check=True)


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ownkey-f-")))
        server = stack.enter_context(start_debian_postgres())
        await server.create_database(DATABASE)
        pgbouncer = stack.enter_context(start_pgbouncer(server, pool_size=20))
        provider = await stack.enter_async_context(NumberingProvider())
        catalog = directory / "catalog.toml"
        catalog.write_text(f'[groq]\nbase_url = "{provider.base_url}"\nlocal = true\n')
        direct = server.dsn(DATABASE)
        common = {
            "OWNKEY_CATALOG": str(catalog),
            "OWNKEY_WRAPPING_KEYS": WRAPPING_KEY,
            "OWNKEY_SHARED_KEYS": "false",
            "OWNKEY_MIGRATION_DATABASE_URL": server.dsn(DATABASE, "postgres"),
            "OWNKEY_LISTEN_DATABASE_URL": direct,
        }
        tokens, keys = await add_users(direct, common)
        mounted = stack.enter_context(small_disk(directory / "g0" / "spool"))
        gateways, ways = [], []
        for number, durability in enumerate(("disk", "process", "process")):
            way = await stack.enter_async_context(CuttableProxy(directory / f"way-{number}", pgbouncer))
            variables = {
                **common,
                "OWNKEY_DATABASE_URL": direct.replace(str(server.socket_dir), str(way.directory)),
                "OWNKEY_DATABASE_POOLER": "true",
                "OWNKEY_USAGE_DURABILITY": durability,
                "OWNKEY_WORKERS": "2" if number == 2 else "1",
                "OWNKEY_DRAIN_SECONDS": "5",
            }
            gateways.append(Gateway(f"g{number}", directory, variables))
            ways.append(way)
        try:
            await asyncio.gather(*(gateway.start() for gateway in gateways))
            yield Stage(server, provider, gateways, ways, tokens, keys, mounted)
        finally:
            for gateway in gateways:
                if gateway.process is not None and gateway.process.returncode is None:
                    await gateway.end(signal.SIGKILL)
            keep = ROOT / "build" / "faults"
            keep.mkdir(parents=True, exist_ok=True)
            for log in directory.glob("*.log"):
                shutil.copy(log, keep)


async def add_users(dsn: str, common: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    tokens, keys = [], {}
    with tempfile.TemporaryDirectory(prefix="ownkey-f-") as place:
        config = Config.from_env({**common, "OWNKEY_DATABASE_URL": dsn, "OWNKEY_DATA_DIR": place})
        async with Ownkey.open(config, environ={}) as ok:
            for number in range(USERS):
                user, key = f"user-{number}", f"gsk_fault_{number:03}_0000000001"
                await ok.manager.load_user_settings(user)
                await ok.settings.add_credential(user, "groq", key)
                keys[key] = user
                tokens.append((await ok.tokens.create(user, "test")).text)
    return tokens, keys


class Faults:
    """What can go wrong. Each returns when it is over, and counts under its name."""

    def __init__(self, stage: Stage, seed: random.Random) -> None:
        self._stage, self._seed = stage, seed
        self.done: Counter[str] = Counter()
        self._busy: set[int] = set()
        self._database = asyncio.Lock()

    def by(self, number: int) -> Faults:
        """The same by another hand: what each of them does follows from the seed alone, if not when."""
        other = copy(self)
        other._seed = random.Random(f"{SEED} {number}")
        return other

    def choose(self) -> Callable[[], Awaitable[str | None]]:
        return self._seed.choice(
            [
                self.kill, self.kill, self.terminate, self.kill_worker, self.freeze, self.cut_off,
                self.crash_database, self.fill_disk, self.provider_fails, self.provider_fails, self.set_clock,
            ]
        )  # fmt: skip

    async def run(self) -> None:
        name = await self.choose()()
        if name is not None:
            self.done[name] += 1

    @asynccontextmanager
    async def _one(self) -> AsyncIterator[int | None]:
        """A gateway to which nothing else is happening."""
        free = [number for number in range(len(self._stage.gateways)) if number not in self._busy]
        if not free:
            yield None
            return
        number = self._seed.choice(free)
        self._busy.add(number)
        try:
            yield number
        finally:
            self._busy.discard(number)

    async def kill(self) -> str | None:
        return await self._restart(signal.SIGKILL, "kill -9")

    async def terminate(self) -> str | None:
        return await self._restart(signal.SIGTERM, "SIGTERM under load")

    async def _restart(self, number: signal.Signals, name: str) -> str | None:
        async with self._one() as chosen:
            if chosen is None:
                return None
            await self._stage.gateways[chosen].end(number)
            async with self._database:  # a server that starts wants its database
                await self._stage.gateways[chosen].start()
        return name

    async def kill_worker(self) -> str | None:
        if 2 in self._busy:
            return None
        return "kill -9 of a worker" if await self._stage.gateways[2].kill_a_worker() else None

    async def freeze(self) -> str | None:
        async with self._one() as chosen:
            if chosen is None:
                return None
            await self._stage.gateways[chosen].freeze()
            await asyncio.sleep(self._seed.choice((0.2, 1, 6)))
            await self._stage.gateways[chosen].resume()
        return "SIGSTOP, up to 6 s"

    async def cut_off(self) -> str | None:
        async with self._one() as chosen:
            if chosen is None:
                return None
            self._stage.ways[chosen].cut()
            await asyncio.sleep(self._seed.choice((0.3, 1, 4)))
            self._stage.ways[chosen].heal()
        return "cut off from the database"

    async def crash_database(self) -> str | None:
        async with self._database:
            await asyncio.to_thread(self._stage.server.stop, "immediate")
            await asyncio.sleep(self._seed.choice((0, 0.5, 2)))
            await asyncio.to_thread(self._stage.server.start)
        return "PostgreSQL stopped at once"

    async def fill_disk(self) -> str | None:
        # A server that starts without room for its spool says so and ends: that is another test's.
        if not self._stage.small_disk or 0 in self._busy:
            return None
        self._busy.add(0)
        ballast = self._stage.gateways[0].spool_dir / "ballast"
        try:
            await asyncio.to_thread(_fill, ballast)
            await asyncio.sleep(1)
        finally:
            ballast.unlink(missing_ok=True)
            self._busy.discard(0)
        return "spool's disk full"

    async def set_clock(self) -> str | None:
        async with self._one() as chosen:
            if chosen is None or not self._stage.gateways[chosen].has_own_clock:
                return None
            self._stage.gateways[chosen].set_clock(self._seed.choice(("+1h", "-1h", "+1d", "-1d", "+40d", "-40d")))
            await asyncio.sleep(self._seed.choice((1.2, 2, 4)))
            self._stage.gateways[chosen].set_clock("+0")
        return "clock set wrong by up to 40 days"

    async def provider_fails(self) -> str | None:
        self._stage.provider.misbehave(self._seed.randrange(3, 15))
        return "burst of provider faults"


def _fill(path: Path) -> None:
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
    except OSError:
        pass


async def rage(stage: Stage, storm: Storm) -> Counter[str]:
    """Faults, several at once, for as long as was asked for."""
    faults = Faults(stage, random.Random(SEED))
    until = math.inf

    async def cause(number: int) -> None:
        hand = faults.by(number)
        while time.monotonic() < until:
            await hand.run()
            await asyncio.sleep(0.05)

    storm.begin(CLIENTS)
    try:
        # Users that nobody has seen cannot be served while the database is away.
        while len(storm.answered) < WARM:
            await asyncio.sleep(0.02)
        until = time.monotonic() + SECONDS
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(cause(number))
        stage.provider.trouble.clear()
        await storm.end()
    finally:
        await storm.stop()
    return faults.done


async def settle(stage: Stage) -> None:
    """Everybody ends in order; one more start of each finds what the dead have left."""
    for gateway in stage.gateways:
        await gateway.end(signal.SIGTERM)
    for gateway in stage.gateways:
        await gateway.start()
        async with asyncio.timeout(60):
            while len({path.name[:36] for path in gateway.spool_dir.glob("*.lock")}) > (
                2 if gateway is stage.gateways[2] else 1
            ):
                await asyncio.sleep(0.1)
        await gateway.end(signal.SIGTERM)
        assert list(gateway.spool_dir.glob("*.spool")) == [], "all of it is in the database"


class Books(Struct):
    """Both sides' books after comparison."""

    calls: int
    rows: int
    lost: int
    doubled: int
    wrong: list[str]
    unnamed: int


async def compare(stage: Stage, storm: Storm) -> Books:
    connection = await asyncpg.connect(stage.server.dsn(DATABASE, "postgres"))
    try:
        rows = await connection.fetch(
            "select user_id, outcome, provider_request_id, input_uncached, output_text, tokens_source "
            "from ownkey.usage_events"
        )
    finally:
        await connection.close()
    named = [row for row in rows if row["provider_request_id"]]
    by_number = {int(row["provider_request_id"].removeprefix("call-")): row for row in named}
    wrong = []
    for call in stage.provider.calls:
        row = by_number.get(call.number)
        if row is None:
            continue
        if row["user_id"] != stage.keys[call.key]:
            wrong.append(f"call {call.number} is on the books of another user")
        if row["tokens_source"] == "reported" and (row["input_uncached"], row["output_text"]) != (
            call.number, OUTPUT_TOKENS,
        ):  # fmt: skip
            wrong.append(f"call {call.number} has {row['input_uncached']} tokens")
    for number in storm.answered:
        row = by_number.get(number)
        if row is None or row["outcome"] != "ok" or row["tokens_source"] != "reported":
            wrong.append(f"call {number} was answered to its last byte, and is {row and dict(row)}")
    # A call that was cut before its answer began has no number: of each user there must be as many of those.
    missing = Counter(stage.keys[call.key] for call in stage.provider.calls if call.number not in by_number)
    unnamed = Counter(row["user_id"] for row in rows if not row["provider_request_id"])
    if any(row["outcome"] == "ok" for row in rows if not row["provider_request_id"]):
        wrong.append("a call without an answer is on the books as answered")
    return Books(
        calls=len(stage.provider.calls),
        rows=len(rows),
        lost=sum((missing - unnamed).values()),
        doubled=len(named) - len(by_number),
        wrong=wrong,
        unnamed=sum(unnamed.values()),
    )


async def tamper(stage: Stage, storm: Storm) -> None:
    """The comparison would notice: a call that is missing, and one with a token too many."""
    connection = await asyncpg.connect(stage.server.dsn(DATABASE, "postgres"))
    try:
        first, second = (f"call-{number}" for number in storm.answered[:2])
        await connection.execute("delete from ownkey.usage_events where provider_request_id = $1", first)
        await connection.execute(
            "update ownkey.usage_events set input_uncached = input_uncached + 1 where provider_request_id = $1", second
        )
    finally:
        await connection.close()
    spoilt = await compare(stage, storm)
    assert len(spoilt.wrong) == 2


async def test_nothing_is_lost_and_nothing_is_counted_twice() -> None:
    begin = time.monotonic()
    async with open_stage() as stage:
        storm = Storm(stage.gateways, stage.tokens, SEED)
        done = await rage(stage, storm)
        await settle(stage)
        books = await compare(stage, storm)
        await tamper(stage, storm)
    report = {
        "seed": SEED, "seconds": round(time.monotonic() - begin), "faults": dict(done.most_common()),
        "faults_in_all": sum(done.values()), "requests": storm.requests, "told": dict(storm.told.most_common()),
        "answered_whole": len(storm.answered), "provider_calls": books.calls, "rows": books.rows,
        "rows_without_an_answer": books.unnamed, "lost": books.lost, "doubled": books.doubled,
        "wrong": len(books.wrong),
    }  # fmt: skip
    text = json.dumps(report, indent=2)
    (ROOT / "build" / "faults" / "report.json").write_text(text)
    print(text)
    assert books.wrong[:10] == []
    assert (books.lost, books.doubled) == (0, 0)
    assert len(storm.answered) > 100, "something must have gone well"
    assert set(storm.told) <= {
        "200", "left", "lost patience", "connection broke", "broken stream", "429", "502", "503", "504", "400"
    }  # fmt: skip
