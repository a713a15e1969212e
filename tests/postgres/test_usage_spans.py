"""Everybody's usage by user is told from few rows, and is what the daily sums add up to."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.settings import Payer
from ownkey.domain.usage import UsageEvent
from ownkey.storage import usage, users
from ownkey.storage.database import Database
from ownkey.storage.migrate import migrate
from ownkey.storage.migration_files import load_migrations
from ownkey.storage.usage import UsageKey, UsageQuery
from tests.postgres.people import Store, usage_event
from tests.servers import PostgresServer

FIRST = date(2025, 9, 3)
DAYS = 400


def many_events(seed: int, count: int = 600) -> list[UsageEvent]:
    """Of four users, on days that lie anywhere, and some on a day to which a wrong clock has led."""
    dice = random.Random(seed)
    return [
        usage_event(
            dice.choice(("ann", "bob", "cid", "dan")),
            occurred_at=datetime(FIRST.year, FIRST.month, FIRST.day, 12, tzinfo=UTC)
            + timedelta(days=-30_000 if dice.random() < 0.01 else dice.randrange(DAYS)),
            provider=dice.choice(("groq", "openai")),
            payer=dice.choice((Payer.OWN, Payer.SHARED)),
            cost_microdollars=dice.choice((None, 7, 100)),
        )
        for _ in range(count)
    ]


async def compare(db: Database, seed: int) -> None:
    dice = random.Random(seed)
    async with db.transaction("root", role="ownkey_admin") as tx:
        for _ in range(40):
            start = FIRST + timedelta(days=dice.randrange(DAYS))
            keys: tuple[UsageKey, ...] = dice.choice((("user",), ("user", "payer")))
            asked = UsageQuery(
                start=start, end=start + timedelta(days=dice.randrange(200)), group_by=keys,
                payer=dice.choice((None, "own")), user_id=dice.choice((None, "bob")),
            )  # fmt: skip
            assert asked.asks_for_people_alone
            expected = await usage.query_usage(tx, asked)
            assert await usage.query_usage_spans(tx, asked) == expected
        everything = UsageQuery(start=date(1900, 1, 1), end=date(2100, 1, 1), group_by=("user",))
        whole = await usage.query_usage_spans(tx, everything)
        assert whole == await usage.query_usage(tx, everything)
        assert sum(row.requests for row in whole) > 100


async def test_any_range_adds_up_to_its_days(store: Store) -> None:
    events = many_events(1)
    # In several batches, so that sums are made and then added to.
    for begin in range(0, len(events), 50):
        await usage.insert_events(store.db, events[begin : begin + 50])
        await usage.insert_events(store.db, events[begin : begin + 50])
    await compare(store.db, 2)


async def test_nothing_stays_of_a_user_who_is_erased(store: Store, superuser: asyncpg.Connection) -> None:
    await store.add_person("bob")
    await usage.insert_events(store.db, many_events(3))
    async with store.db.transaction("bob") as tx:
        await users.delete_user(tx)
    left = await superuser.fetch("select distinct owner from ownkey_private.usage_spans order by 1")
    assert [row["owner"] for row in left] == ["ann", "cid", "dan"]
    await compare(store.db, 4)


async def test_what_was_there_before_is_summed_by_the_migration(server: PostgresServer, own_database: str) -> None:
    name = f"{own_database}_before"
    await server.create_database(name, "template0")
    try:
        dsn = server.dsn(name, "postgres")
        await migrate(dsn, migrations=[one for one in load_migrations() if one.version < "20261126170000"])
        for batch in (many_events(5), many_events(6)):
            db = await Database.open(server.dsn(name))
            try:
                await usage.insert_events(db, batch)
            finally:
                await db.close()
            await migrate(dsn)
        db = await Database.open(server.dsn(name))
        try:
            await compare(db, 7)
        finally:
            await db.close()
    finally:
        await server.drop_database(name)


async def test_users_do_not_see_them(store: Store) -> None:
    await usage.insert_events(store.db, many_events(8, 10))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with store.db.transaction("ann") as tx:
            await tx.fetch("select * from ownkey_private.usage_spans")


@given(st.dates(date(1960, 1, 1), date(2040, 1, 1)), st.integers(0, 800))
def test_spans_lie_side_by_side_and_are_few(start: date, more: int) -> None:
    at = start
    spans = list(zip(*usage.tile(start, start + timedelta(days=more)), strict=True))
    for days, first in spans:
        assert first == at
        at += timedelta(days=days)
    assert at == start + timedelta(days=more + 1)
    assert len(spans) <= 2 * 7 + (more + 1) // 8
