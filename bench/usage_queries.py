"""How long the questions about usage take over ten million calls: `python -m bench.usage_queries`.

Starts a PostgreSQL of its own with its ordinary settings, loads calls with insert-select, asks each question through
the services that the server uses, and leaves nothing behind. Ten million calls need some 9 GB of disk and a quarter of
an hour on two cores; `--events 1000000` is quick.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any

import asyncpg
from tests.servers import PostgresServer, start_wheel_postgres

from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, Tokens, TokensSource, UsageEvent, new_id
from ownkey.services.changes import Changes
from ownkey.services.request_log import RequestLog
from ownkey.services.traffic_report import TrafficReport
from ownkey.services.usage_report import UsageReport
from ownkey.storage import overview, usage
from ownkey.storage.database import Database

SCRIPT = Path(__file__).with_suffix(".sql")
HEAVY, LIGHT = "user-0", "user-4000"
_CHUNK = 500_000
_NAME = "usage"

Question = tuple[str, Callable[[], Awaitable[Any]]]


def main() -> None:
    """Load, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000, help="how many requests are loaded")
    parser.add_argument("--users", type=int, default=5_000, help="among how many users (default 5,000)")
    parser.add_argument("--days", type=int, default=120, help="how far back they reach")
    parser.add_argument("--runs", type=int, default=5, help="how often each question is asked")
    parser.add_argument("--tmp", type=Path, default=Path("/var/tmp"), help="where the database lies meanwhile")
    options = parser.parse_args()
    if options.events < 10_000 or min(options.users, options.days, options.runs) < 1:
        parser.error("--events is 10,000 or more, --users, --days and --runs are 1 or more")
    with start_wheel_postgres(options.tmp) as server:
        asyncio.run(_measure(server, options))


async def _measure(server: PostgresServer, options: argparse.Namespace) -> None:
    await server.create_database(_NAME)
    begin = time.monotonic()
    connection = await asyncpg.connect(server.dsn(_NAME, "postgres"))
    try:
        await _load(connection, options)
        sizes = await connection.fetchrow(
            "select (select count(*) from ownkey.usage_events) as events,"
            " (select count(*) from ownkey.usage_daily) as days,"
            " (select count(*) from ownkey_private.usage_daily_total) as totals,"
            " pg_size_pretty(pg_database_size(current_database())) as size"
        )
    finally:
        await connection.close()
    print(
        f"{sizes['events']:,} calls, {sizes['days']:,} daily sums, {sizes['totals']:,} of everybody, {sizes['size']}, "
        f"loaded in {time.monotonic() - begin:.0f} s"
    )
    database = await Database.open(server.dsn(_NAME))
    try:
        print(f"{'question':<58}{'first':>9}{'median':>9}")
        for name, ask in await _questions(database, options):
            times = []
            for _ in range(options.runs):
                start = time.perf_counter()
                await ask()
                times.append((time.perf_counter() - start) * 1000)
            print(f"{name:<58}{times[0]:>6.0f} ms{statistics.median(times):>6.0f} ms")
    finally:
        await database.close()


async def _load(connection: asyncpg.Connection, options: argparse.Namespace) -> None:
    parts = dict(re.findall(r"^-- part: (\w+)\n(.*?)(?=^-- part: |\Z)", SCRIPT.read_text(), re.DOTALL | re.MULTILINE))
    given = {"users": options.users, "days": options.days}

    async def run(part: str, **more: int) -> None:
        await connection.execute(Template(parts[part]).safe_substitute(given | more), timeout=3600)

    await run("prepare")
    for first in range(1, options.events + 1, _CHUNK):
        last = min(first + _CHUNK - 1, options.events)
        await run("load", first=first, last=last)
        print(f"  {last:,} of {options.events:,}", file=sys.stderr)
    await run("finish")
    await connection.execute("vacuum analyze", timeout=3600)


async def _questions(database: Database, options: argparse.Namespace) -> list[Question]:
    changes = Changes(database)
    report, log, traffic = UsageReport(changes), RequestLog(changes), TrafficReport(changes)
    today = datetime.now(UTC).date()
    month, whole = today - timedelta(days=29), today - timedelta(days=options.days)
    some = (await log.list_requests(HEAVY, limit=1))[0].id
    middle = (await log.list_requests(HEAVY, limit=1, end=today - timedelta(days=options.days // 2)))[0].id

    def own(user: str, start: date, *keys: str, **choice: str) -> Callable[[], Awaitable[Any]]:
        return lambda: report.query(user, start=start, end=today, group_by=keys, measure=True, **choice)

    def everybody(start: date, *keys: str, **choice: str) -> Callable[[], Awaitable[Any]]:
        return lambda: report.query_all("root", start=start, end=today, group_by=keys, measure=True, **choice)

    async def overviews() -> None:
        async with changes.oversee("root") as tx:
            await overview.list_overviews(tx, since=month, limit=100)

    return [
        ("light user: 30 days by day", own(LIGHT, month, "day")),
        ("heavy user: 30 days by day", own(HEAVY, month, "day")),
        ("heavy user: all days by provider, model", own(HEAVY, whole, "provider", "model")),
        ("heavy user: all days by task, payer, one provider", own(HEAVY, whole, "task", "payer", provider="groq")),
        ("heavy user: all days by key", own(HEAVY, whole, "credential")),
        ("heavy user: latest 50 requests", lambda: log.list_requests(HEAVY)),
        ("heavy user: 50 requests from the middle", lambda: log.list_requests(HEAVY, before=middle)),
        ("heavy user: latest 50 failures", lambda: log.list_requests(HEAVY, outcome="error")),
        ("heavy user: failures of a kind that never was", lambda: log.list_requests(HEAVY, outcome="auth_scope")),
        ("heavy user: 50 of one model", lambda: log.list_requests(HEAVY, model="openrouter-model-11")),
        ("heavy user: 50 of one day, long ago", lambda: log.list_requests(HEAVY, start=whole, end=whole)),
        ("heavy user: one request", lambda: log.get_request(HEAVY, some)),
        ("heavy user: 10,000 requests as a file", lambda: log.export(HEAVY)),
        ("everybody: 30 days by day", everybody(month, "day")),
        ("everybody: all days by provider, model", everybody(whole, "provider", "model")),
        ("everybody: all days by day, provider, payer", everybody(whole, "day", "provider", "payer")),
        ("everybody: 30 days by user", everybody(month, "user")),
        ("everybody: all days by user", everybody(whole, "user")),
        ("everybody: one user, all days by day", everybody(whole, "day", user_id=HEAVY)),
        ("everybody: health of the last hour", lambda: traffic.measure_providers("root")),
        ("everybody: fallbacks of 30 days", lambda: traffic.list_fallbacks("root")),
        ("everybody: who uses shared keys, 30 days", lambda: traffic.list_shared_users("root")),
        ("everybody: a page of 100 users", overviews),
        ("recording 250 calls", lambda: usage.insert_events(database, [_event(number) for number in range(250)])),
    ]


def _event(number: int) -> UsageEvent:
    return UsageEvent(
        id=new_id(),
        request_id=new_id(),
        user_id=f"user-{number % 60}",
        occurred_at=datetime.now(UTC),
        attempt=1,
        task="coding",
        provider="groq",
        model=f"groq-model-{number % 3}",
        requested_model="auto",
        credential_id=None,
        payer=Payer.SHARED,
        operation="chat",
        streamed=True,
        outcome=Outcome.OK,
        http_status=200,
        tokens=Tokens(input_uncached=700, output_text=90),
        tokens_source=TokensSource.REPORTED,
        cost_microdollars=400,
        cost_source=CostSource.COMPUTED,
        duration_ms=900 + number,
        first_byte_ms=200 + number,
    )


if __name__ == "__main__":
    main()
