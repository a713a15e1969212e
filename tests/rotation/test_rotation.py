"""A rotation under load whose rotator is killed again and again: no request fails, and nothing stays under the old key.

`make rotation` takes 100,000 users and 50 kills, and writes build/rotation.json.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec import Struct

from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.envelope import Binding, fingerprint, seal_secret
from ownkey.crypto.key_text import generate_key_line
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.domain.credential import Secret
from ownkey.domain.usage import new_id
from tests.cli.shell import Shell
from tests.gateway.ledger_server import LedgerServer
from tests.replicas.bare_client import BareClient
from tests.rotation.rotator import run_rotator
from tests.servers import PostgresServer, start_wheel_postgres

USERS = int(os.environ.get("ROTATION_USERS", "2000"))
KILLS = int(os.environ.get("ROTATION_KILLS", "5"))
RATE = int(os.environ.get("ROTATION_RATE", "100"))
LONG = "ROTATION_USERS" in os.environ
# Half of the requests are of few users, who are warm; the others of anybody, who mostly is not.
WARM_USERS = 200
AT_ONCE = 32
JWT_SECRET = "rotation-under-load-has-a-secret-of-its-own"
RESULT = Path(__file__).parents[2] / "build" / "rotation.json"


class Load(Struct):
    """What requests met."""

    statuses: Counter[int]
    seconds: list[float]
    first_failure: str = ""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with start_wheel_postgres() as running:
        yield running


@pytest.fixture
async def provider() -> AsyncIterator[LedgerServer]:
    async with LedgerServer() as running:
        yield running


def name(number: int) -> str:
    return f"user-{number:06d}"


def provider_key(number: int) -> str:
    return f"gsk_rotation_{number:06d}"


def token(user_id: str) -> str:
    """As the host application would sign it."""
    claims = {"sub": user_id, "iss": "rotation", "aud": "ownkey", "exp": int(time.time()) + 3600}
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in ({"alg": "HS256"}, claims)]
    signed = b".".join(parts)
    signature = hmac.new(JWT_SECRET.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


async def populate(dsn: str, wrapping: LocalWrappingKeys) -> None:
    """The users, their data keys under the first wrapping key, and one sealed API key each."""
    data_keys = DataKeys(wrapping, "default", cache_size=1)
    keys, credentials, secrets = [], [], []
    for number in range(USERS):
        user, credential_id, secret = name(number), new_id(), Secret(provider_key(number))
        made = data_keys.new(user)
        data_key = data_keys.open(user, made.wrapped, made.wrapping_key_id, 1)
        binding = Binding(deployment_id="default", user_id=user, provider="groq", record_id=credential_id, generation=1)
        sealed = seal_secret(data_key, secret, binding, data_key_version=1)
        keys.append((user, made.wrapped, made.wrapping_key_id, 1))
        credentials.append((user, credential_id, "groq", "work", "gsk_…", 0))
        secrets.append((user, credential_id, sealed, fingerprint(data_key, user, "groq", secret), 1))
    connection = await asyncpg.connect(dsn)
    await connection.execute("set session_replication_role = replica")
    await connection.execute(
        "insert into ownkey.users (id, generation) select unnest($1::text[]), 1", [one[0] for one in keys]
    )
    private = {"schema_name": "ownkey_private"}
    await connection.copy_records_to_table(
        "data_keys", columns=("user_id", "wrapped", "wrapping_key_id", "version"), records=keys, **private
    )
    await connection.copy_records_to_table(
        "credentials",
        schema_name="ownkey",
        columns=("user_id", "id", "provider", "label", "hint", "position"),
        records=credentials,
    )
    await connection.copy_records_to_table(
        "credential_secrets",
        columns=("user_id", "credential_id", "sealed", "fingerprint", "generation"),
        records=secrets,
        **private,
    )
    await connection.execute("analyze")
    await connection.close()


async def send_requests(url: str, chance: random.Random, stop: asyncio.Event) -> Load:
    """As many requests a second as RATE says, or as there is time for; each must be answered with its user's key."""
    load = Load(statuses=Counter(), seconds=[])
    began = time.perf_counter()
    turns = 0

    async def worker() -> None:
        nonlocal turns
        client = BareClient(url)
        while not stop.is_set():
            due = began + turns / RATE
            turns += 1
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            number = chance.randrange(min(WARM_USERS, USERS) if chance.random() < 0.5 else USERS)
            sent = time.perf_counter()
            try:
                status, text = await client.post(
                    token(name(number)), f'{{"model":"groq/m","user":"{provider_key(number)}","messages":[]}}'
                )
            except (OSError, asyncio.IncompleteReadError) as error:
                # A connection that breaks is a failed request, too.
                status, text = 0, repr(error).encode()
                client.hang_up()
            load.seconds.append(time.perf_counter() - sent)
            load.statuses[status] += 1
            if status != 200 and not load.first_failure:
                load.first_failure = text.decode()
        client.hang_up()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return load


async def watch_transactions(dsn: str, stop: asyncio.Event) -> float:
    """The longest transaction that was seen, by looks 20 ms apart."""
    connection = await asyncpg.connect(dsn)
    longest = 0.0
    while not stop.is_set():
        seen = await connection.fetchval(
            "select extract(epoch from max(clock_timestamp() - xact_start))::float from pg_stat_activity "
            "where datname = current_database() and usename = 'ownkey_app'"
        )
        longest = max(longest, seen or 0.0)
        await asyncio.sleep(0.02)
    await connection.close()
    return longest


async def rotate_with_kills(dsn: str, environment: dict[str, str], chance: random.Random) -> tuple[int, int]:
    """Rotators one after another, each killed at a random moment, and one to the end; how many were killed amid their
    work, and the last one's status. Most moments count from the end of a first batch, some from the start.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.rotation.rotator"])
    connection = await asyncpg.connect(dsn)
    amid = 0
    count = "select count(*) from ownkey_private.data_keys where wrapping_key_id = 'old'"
    for number in range(KILLS):
        before = await connection.fetchval(count)
        if number % 4 == 3:
            rotator = context.Process(target=run_rotator, args=(environment,), daemon=True)
            rotator.start()
            await asyncio.to_thread(rotator.join, chance.uniform(0, 0.5))
            rotator.kill()
        else:
            after = chance.uniform(0, USERS / 600_000)
            rotator = context.Process(target=run_rotator, args=(environment, after), daemon=True)
            rotator.start()
        await asyncio.to_thread(rotator.join, 30)
        amid += rotator.exitcode == -signal.SIGKILL and 0 < await connection.fetchval(count) < before
    last = context.Process(target=run_rotator, args=(environment,), daemon=True)
    last.start()
    await asyncio.to_thread(last.join, 120)
    await connection.close()
    return amid, -1 if last.exitcode is None else last.exitcode


async def test_no_request_fails_while_the_rotator_is_killed(
    server: PostgresServer, provider: LedgerServer, private_dir: Path
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    await server.create_database("rotation")
    superuser = server.dsn("rotation", "postgres")
    old, new = (f"{which}:{generate_key_line().partition(':')[2]}" for which in ("old", "new"))
    await populate(superuser, LocalWrappingKeys.parse(old))
    catalog, key_file = private_dir / "catalog.toml", private_dir / "wrapping.key"
    catalog.write_text(f'[groq]\nbase_url = "{provider.base_url}"\nlocal = true\n')
    key_file.write_text(f"{old}\n{new}\n")
    key_file.chmod(0o600)
    shell = Shell(
        private_dir,
        OWNKEY_DATABASE_URL=server.dsn("rotation"),
        OWNKEY_MIGRATION_DATABASE_URL=superuser,
        OWNKEY_WRAPPING_KEY_FILE=str(key_file),
        OWNKEY_CATALOG=str(catalog),
        OWNKEY_SHARED_KEYS="false",
        OWNKEY_JWT_SECRET=JWT_SECRET,
        OWNKEY_JWT_ISSUER="rotation",
        OWNKEY_JWT_AUDIENCE="ownkey",
        OWNKEY_LOG_LEVEL="warning",
    )
    with shell.serve() as gateway:
        stop = asyncio.Event()
        load = asyncio.create_task(send_requests(gateway.url, chance, stop))
        longest = asyncio.create_task(watch_transactions(superuser, stop))
        await asyncio.sleep(0)
        began = time.perf_counter()
        amid, status = await rotate_with_kills(superuser, shell.environment, chance)
        duration = time.perf_counter() - began
        stop.set()
        met = await load
        result = summarize(met, duration, amid, await longest, seed)
        assert gateway.process.poll() is None, "the gateway has ended"
        connection = await asyncpg.connect(superuser)
        counts = await connection.fetch(
            "select wrapping_key_id as id, count(*) from ownkey_private.data_keys group by 1"
        )
        await connection.close()
    result["left_under_the_old_key"] = USERS - dict(map(tuple, counts)).get("new", 0)
    report(result)
    assert status == 0
    assert {row["id"] for row in counts} == {"new"}, f"seed {seed}"
    assert set(met.statuses) == {200}, f"seed {seed}: {met.first_failure}"
    assert all(key == user for key, user in provider.keys), "each request went out with its user's key"
    assert amid > 0, "no rotator was killed amid its work"
    # Of the machine as much as of the rotation: only where somebody measures, on a machine that does nothing else.
    assert not LONG or result["longest_transaction_ms"] < 1000


def summarize(met: Load, duration: float, amid: int, longest: float, seed: int) -> dict[str, Any]:
    ordered = sorted(met.seconds)
    return {
        "users": USERS,
        "kills": KILLS,
        "kills_amid_the_work": amid,
        "duration_seconds": round(duration, 1),
        "requests": len(ordered),
        "requests_per_second": round(len(ordered) / duration, 1),
        "failed_requests": len(ordered) - met.statuses[200],
        "latency_ms_median": round(1000 * ordered[len(ordered) // 2], 2),
        "latency_ms_p99": round(1000 * ordered[len(ordered) * 99 // 100], 2),
        "longest_transaction_ms": round(1000 * longest),
        "seed": seed,
    }


def report(result: dict[str, Any]) -> None:
    if not LONG:
        return
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print()
    for label, value in result.items():
        print(f"{label.replace('_', ' '):<26} {value:>14,}")
