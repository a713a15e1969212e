"""The power fails: which of the calls that were answered to their last byte are on the disk afterwards."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from ownkey.domain.usage import UsageEvent
from ownkey.spool.leftovers import take_leftovers
from tests.faults.gateways import Gateway
from tests.faults.power import Disk, repaired
from tests.faults.provider import OUTPUT_TOKENS, NumberingProvider
from tests.faults.storm import Storm
from tests.faults.test_faults import DATABASE, SEED, WRAPPING_KEY, add_users
from tests.servers import start_debian_postgres

FAILURES = int(os.environ.get("FAULTS_POWER", "3"))


class Outage(Struct):
    """One power failure: the calls that had been answered whole by then, and those that the disk has."""

    answered: set[int]
    kept: dict[int, UsageEvent]


@pytest.fixture
def place() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ownkey-p-") as directory:
        if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
            pytest.skip("mounting a file system needs root")
        try:
            with Disk.open(Path(directory), "probe", megabytes=16):
                pass
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no file system can be mounted here: {error.stderr.decode().strip()}")
        yield Path(directory)


@asynccontextmanager
async def lonely_gateway(place: Path, durability: str) -> AsyncIterator[tuple[Gateway, Storm, Disk]]:
    """Its users are warm and its database is away, so that calls are on its disk and nowhere else."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(start_debian_postgres())
        await server.create_database(DATABASE)
        provider = await stack.enter_async_context(NumberingProvider())
        catalog = place / "catalog.toml"
        catalog.write_text(f'[groq]\nbase_url = "{provider.base_url}"\nlocal = true\n')
        disk = stack.enter_context(Disk.open(place, "disk"))
        variables = {
            "OWNKEY_CATALOG": str(catalog),
            "OWNKEY_WRAPPING_KEYS": WRAPPING_KEY,
            "OWNKEY_SHARED_KEYS": "false",
            "OWNKEY_DATABASE_URL": server.dsn(DATABASE),
            "OWNKEY_MIGRATION_DATABASE_URL": server.dsn(DATABASE, "postgres"),
            "OWNKEY_USAGE_DURABILITY": durability,
        }
        tokens, _ = await add_users(server.dsn(DATABASE), variables)
        gateway = Gateway("lonely", place, {**variables, "OWNKEY_SPOOL_DIR": str(disk.mount_point / "spool")})
        (disk.mount_point / "spool").mkdir(mode=0o700)
        await gateway.start()
        try:
            warm = Storm([gateway], tokens, SEED)
            warm.begin(8)
            while len(warm.answered) < 200:
                await asyncio.sleep(0.02)
            await warm.end()
            await asyncio.to_thread(server.stop, "immediate")
            yield gateway, Storm([gateway], tokens, SEED), disk
        finally:
            await gateway.end(signal.SIGKILL)


async def fail_power(place: Path, durability: str) -> list[Outage]:
    """Several times during one storm, at random moments."""
    seed, outages = random.Random(SEED), []
    async with lonely_gateway(place, durability) as (gateway, storm, disk):
        storm.begin(8)
        photographs: list[tuple[Path, set[int]]] = []
        try:
            for number in range(FAILURES):
                before = len(storm.answered)
                while len(storm.answered) < before + 50:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(seed.random() * 0.2)
                await gateway.freeze()
                answered = set(storm.answered)
                photographs.append((await asyncio.to_thread(disk.photograph, number), answered))
                await gateway.resume()
        finally:
            await storm.stop()
    for image, answered in photographs:
        with repaired(image) as found:
            events = [
                event for left in take_leftovers(found / "spool") for batch in left.batches(100) for event in batch
            ]
        named = {event.provider_request_id: event for event in events if event.provider_request_id}
        outages.append(Outage(answered, {int(name.removeprefix("call-")): one for name, one in named.items()}))
    return outages


async def test_what_was_answered_is_on_the_disk_when_the_power_fails(place: Path) -> None:
    outages = await fail_power(place, "disk")
    for outage in outages:
        assert len(outage.answered) >= 50
        assert outage.answered - outage.kept.keys() == set()
        for number in outage.answered:
            tokens = outage.kept[number].tokens
            assert (tokens.input_uncached, tokens.output_text) == (number, OUTPUT_TOKENS)
    print(f"{len(outages)} power failures, {[len(outage.answered) for outage in outages]} answers, none lost")


async def test_the_disk_really_forgets_what_it_was_not_asked_to_keep(place: Path) -> None:
    """Where durability is asked for against the end of the process alone. Else the test above would prove nothing."""
    outages = await fail_power(place, "process")
    # The kernel may write of its own accord when memory is short, but not each time.
    assert sum(len(outage.answered - outage.kept.keys()) for outage in outages) > 0
