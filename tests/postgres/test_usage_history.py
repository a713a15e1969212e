"""Sums of what was there before, of what falls from hop to hop, and what stays when old months go."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime, timedelta

import asyncpg

from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, UsageEvent, new_id
from ownkey.services.usage_upkeep import UsageUpkeep
from ownkey.storage import requests, traffic, usage
from ownkey.storage.database import Database
from ownkey.storage.migrate import migrate
from ownkey.storage.migration_files import load_migrations
from ownkey.storage.requests import RequestQuery
from ownkey.storage.usage import UsageQuery
from tests.postgres.people import Store, usage_event
from tests.postgres.test_usage import check_rollups
from tests.servers import PostgresServer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BEFORE = "20261125130000"
KEY = new_id()


def hops(request_id: str, *of: tuple[str, Payer, Outcome], user: str = "ann") -> list[UsageEvent]:
    """The attempts of one request."""
    return [
        usage_event(
            user, request_id=request_id, attempt=number, provider=provider, payer=payer, outcome=outcome,
            occurred_at=NOON + timedelta(seconds=number), credential_id=KEY if payer is Payer.OWN else None,
            fallback=(provider, payer) != of[0][:2],
        )
        for number, (provider, payer, outcome) in enumerate(of, 1)
    ]  # fmt: skip


OWN, SHARED = Payer.OWN, Payer.SHARED
MOVED = [
    ("groq", OWN, Outcome.RATE_LIMITED),
    ("groq", SHARED, Outcome.OVERLOADED),
    ("openai", SHARED, Outcome.OK),
]  # fmt: skip


async def check_fallbacks(db: Database) -> None:
    """Two hops moved, and one tried again in vain before it did."""
    async with db.transaction("root", role="ownkey_admin") as tx:
        found = await traffic.list_fallbacks(tx, NOON.date(), NOON.date())
        assert await traffic.list_fallbacks(tx, date(2026, 1, 1), date(2026, 11, 22)) == []
    told = {
        (f.from_provider, f.from_payer, f.to_provider, f.to_payer, f.error): (f.requests, f.answered) for f in found
    }
    assert told == {
        ("groq", "own", "groq", "shared", "rate_limited"): (2, 0),
        ("groq", "shared", "openai", "shared", "overloaded"): (2, 2),
        ("groq", "own", "openai", "shared", "timeout"): (1, 0),
    }
    assert max(one.last_at for one in found) == NOON + timedelta(seconds=3)


def three_requests() -> list[list[UsageEvent]]:
    """Of which two went the same way, one of them after other calls were recorded in between."""
    again = [("groq", OWN, Outcome.TIMEOUT), ("groq", OWN, Outcome.TIMEOUT), ("openai", SHARED, Outcome.TIMEOUT)]
    first, second, third = hops(new_id(), *MOVED), hops(new_id(), *MOVED, user="bob"), hops(new_id(), *again)
    return [first, second[:1], [*third, second[1]], second[2:]]


async def test_where_requests_fell_is_counted_as_they_are_recorded(store: Store, superuser: asyncpg.Connection) -> None:
    for batch in three_requests():
        await usage.insert_events(store.db, batch)
        assert await usage.insert_events(store.db, batch) == 0
    await check_fallbacks(store.db)
    await check_rollups(superuser)


async def test_what_was_recorded_before_is_summed_by_the_migration(server: PostgresServer) -> None:
    """As if an older version had served until now."""
    earlier = [one for one in load_migrations() if one.version < BEFORE]
    name = "history"
    await server.create_database(name, "template0")
    superuser = await asyncpg.connect(server.dsn(name, "postgres"))
    try:
        await migrate(server.dsn(name, "postgres"), migrations=earlier)
        db = await Database.open(server.dsn(name))
        try:
            for batch in three_requests():
                await usage.insert_events(db, batch)
            assert await superuser.fetchval("select count(*) from ownkey.usage_events") == 9
            await migrate(server.dsn(name, "postgres"))
            # An older version did not say which calls took over: here it follows from what went before.
            await superuser.execute("update ownkey.usage_events set fallback = payer = 'shared'")
            await check_rollups(superuser)
            await check_fallbacks(db)
            await usage.insert_events(db, [usage_event("ann", occurred_at=NOON)])
            await check_rollups(superuser)
        finally:
            await db.close()
    finally:
        await superuser.close()
        await server.drop_database(name)


async def make_month(superuser: asyncpg.Connection, month: date) -> None:
    """A partition of a month gone by, as it was made in its time."""
    after = (month.replace(day=1) + timedelta(days=32)).replace(day=1)
    name = f"usage_events_{month:%Y_%m}"
    await superuser.execute(
        f"""
        set role ownkey_owner;
        create table ownkey_private.{name} (like ownkey.usage_events including defaults);
        select ownkey_private.protect_partition('{name}');
        alter table ownkey.usage_events attach partition ownkey_private.{name}
            for values from ('{month.replace(day=1)} 00:00+00') to ('{after} 00:00+00');
        reset role;
        """
    )


def months_ago(number: int) -> datetime:
    """The middle of that month."""
    moment = datetime.now(UTC).replace(day=15)
    for _ in range(number):
        moment = moment.replace(day=1) - timedelta(days=1)
    return moment.replace(day=15)


async def partitions(superuser: asyncpg.Connection) -> set[str]:
    rows = await superuser.fetch(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid "
        "where i.inhparent = 'ownkey.usage_events'::regclass"
    )
    return {row["relname"] for row in rows}


async def test_old_months_go_whole_and_their_sums_stay(server: PostgresServer, own_database: str) -> None:
    db = await Database.open(server.dsn(own_database))
    superuser = await asyncpg.connect(server.dsn(own_database, "postgres"))
    try:
        for number in (2, 3, 4):
            await make_month(superuser, months_ago(number).date())
        stray = months_ago(9)  # a wrong clock: there is no partition for it
        moments = [*(months_ago(number) for number in range(5)), stray]
        await usage.insert_events(db, [usage_event("ann", occurred_at=moment) for moment in moments])
        before = await partitions(superuser)
        assert await usage.drop_old_usage(db, 24) == 0
        assert await usage.drop_old_usage(db, 3) == 1
        gone = {f"usage_events_{months_ago(4):%Y_%m}"}
        assert before - await partitions(superuser) == gone
        left = await superuser.fetch("select occurred_at from ownkey.usage_events order by 1 desc")
        assert [row["occurred_at"] for row in left] == moments[:4]
        # Less than one whole month is never kept, whatever is asked for.
        for wanted in (1, 0, -5):
            await usage.drop_old_usage(db, wanted)
            left = await superuser.fetch("select occurred_at from ownkey.usage_events order by 1 desc")
            assert [row["occurred_at"] for row in left] == moments[:2]
        async with db.transaction("ann") as tx:
            asked = UsageQuery(start=stray.date(), end=datetime.now(UTC).date())
            [total] = await usage.query_usage(tx, asked)
            assert total.requests == 6
            [told] = await usage.measure_days(tx, asked)
            assert told.duration.rstrip("0") == "6"
            assert await requests.list_requests(tx, RequestQuery(end=months_ago(2)), limit=10) == []
        assert await usage.ensure_partitions(db) == 0
        assert await db.check() == []
        # What comes again afterwards is counted again: nobody sends what was recorded months ago.
        assert await usage.insert_events(db, [usage_event("ann")]) == 1
    finally:
        await superuser.close()
        await db.close()


async def test_retention_waits_for_nobody_for_long(server: PostgresServer, own_database: str) -> None:
    """A long transaction that reads the table holds up neither retention nor, behind it, those who record."""
    db = await Database.open(server.dsn(own_database))
    superuser = await asyncpg.connect(server.dsn(own_database, "postgres"))
    reader = await asyncpg.connect(server.dsn(own_database, "postgres"))
    try:
        await make_month(superuser, months_ago(4).date())
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetchval("select count(*) from ownkey.usage_events")
        begin = time.monotonic()
        dropped, recorded = await asyncio.gather(
            usage.drop_old_usage(db, 2), usage.insert_events(db, [usage_event("ann")])
        )
        assert (dropped, recorded) == (0, 1)
        assert time.monotonic() - begin < 10
        await transaction.rollback()
        assert await usage.drop_old_usage(db, 2) == 1
    finally:
        await reader.close()
        await superuser.close()
        await db.close()


async def test_of_many_processes_one_drops(server: PostgresServer, own_database: str) -> None:
    db = await Database.open(server.dsn(own_database))
    superuser = await asyncpg.connect(server.dsn(own_database, "postgres"))
    try:
        await make_month(superuser, months_ago(4).date())
        dropped = await asyncio.gather(*(usage.drop_old_usage(db, 2) for _ in range(4)))
        assert sorted(dropped) == [0, 0, 0, 1]
    finally:
        await superuser.close()
        await db.close()


async def test_upkeep_makes_what_is_missing_and_drops_what_is_too_old(
    server: PostgresServer, own_database: str
) -> None:
    db = await Database.open(server.dsn(own_database))
    superuser = await asyncpg.connect(server.dsn(own_database, "postgres"))
    try:
        await make_month(superuser, months_ago(4).date())
        newest = max(await partitions(superuser) - {"usage_events_default"})
        await superuser.execute(f"drop table ownkey_private.{newest}")
        kept = UsageUpkeep(db, retention_months=0)
        assert await kept.run_once() == 0
        assert {newest, f"usage_events_{months_ago(4):%Y_%m}"} <= await partitions(superuser)
        upkeep = UsageUpkeep(db, retention_months=2)
        upkeep.start()
        async with asyncio.timeout(10):
            while f"usage_events_{months_ago(4):%Y_%m}" in await partitions(superuser):
                await asyncio.sleep(0.01)
        await upkeep.close()
    finally:
        await superuser.close()
        await db.close()
