"""`make bench-drain`: how many calls a second go from the gateway into PostgreSQL, with their sums and counters.

One writer, as a gateway process has one, in batches of the gateway's own size. "one user" is the cheapest case, "each
another's" the dearest: all sums are other rows then. The cost must not grow with the users that there are.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from ownkey import Config, Ownkey
from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, Tokens, TokensSource, UsageEvent, new_id
from ownkey.services.metering import BATCH_LIMIT
from ownkey.storage.database import Database
from ownkey.storage.embedded import EmbeddedPostgres
from ownkey.storage.usage import insert_events

_EVENTS = 20_000
_USERS = (1_000, 10_000, 100_000)


def main() -> int:
    """Measure, and print a line for each number of users."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage_drain", description=__doc__)
    parser.add_argument(
        "--events", type=int, default=_EVENTS, help=f"calls to write in each case (default {_EVENTS:,})"
    )
    options = parser.parse_args()
    if options.events < 1:
        parser.error("--events is 1 or more")
    asyncio.run(_measure(options.events))
    return 0


async def _measure(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="ownkey-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        async with Ownkey.open(Config(data_dir=directory), environ={}) as ok:
            postgres = await EmbeddedPostgres.start(directory)
            connection = await asyncpg.connect(postgres.migration_dsn)
            try:
                credentials: list[str] = []
                for users in _USERS:
                    await _move_in(connection, credentials, users)
                    for case, distinct in (("one user", 1), ("each another's", users)):
                        events = [_event(number % distinct, credentials) for number in range(count)]
                        print(f"{users:>8,} users  {case:<15} {await _write(ok.database, events)}", flush=True)
            finally:
                await connection.close()
                await postgres.stop()


async def _move_in(connection: Any, credentials: list[str], users: int) -> None:
    """More users, up to so many, with a key each."""
    begin = len(credentials)
    credentials.extend(new_id() for _ in range(begin, users))
    await connection.execute("set session_replication_role = replica")
    await connection.copy_records_to_table(
        "users", schema_name="ownkey", columns=("id",), records=[(_name(number),) for number in range(begin, users)]
    )
    await connection.copy_records_to_table(
        "credentials",
        schema_name="ownkey",
        columns=("user_id", "id", "provider", "label", "hint", "status"),
        records=[
            (_name(number), credentials[number], "openai", "work", "sk-…0000", "ok") for number in range(begin, users)
        ],
    )
    await connection.execute("analyze")


async def _write(database: Database, events: list[UsageEvent]) -> str:
    times = []
    for begin in range(0, len(events), BATCH_LIMIT):
        started = time.perf_counter()
        await insert_events(database, events[begin : begin + BATCH_LIMIT])
        times.append(time.perf_counter() - started)
    batch = f"a batch of {BATCH_LIMIT} takes {1000 * statistics.median(times):.1f} ms, at most {1000 * max(times):.0f}"
    return f"{len(events) / sum(times):>8,.0f} calls/s, {batch}"


def _name(number: int) -> str:
    return f"user-{number:06}"


def _event(number: int, credentials: list[str]) -> UsageEvent:
    return UsageEvent(
        id=new_id(),
        request_id=new_id(),
        user_id=_name(number),
        occurred_at=datetime.now(UTC),
        attempt=1,
        task=None,
        provider="openai",
        model="gpt-4o-mini",
        requested_model="gpt-4o-mini",
        credential_id=credentials[number],
        payer=Payer.OWN,
        operation="chat",
        streamed=False,
        outcome=Outcome.OK,
        http_status=200,
        tokens=Tokens(input_uncached=180, output_text=60),
        tokens_source=TokensSource.REPORTED,
        raw_usage=b'{"prompt_tokens":180,"completion_tokens":60,"total_tokens":240}',
        cost_microdollars=63,
        cost_source=CostSource.COMPUTED,
        price_version="bench",
        duration_ms=900,
        first_byte_ms=400,
        finish_reason="stop",
    )


if __name__ == "__main__":
    sys.exit(main())
