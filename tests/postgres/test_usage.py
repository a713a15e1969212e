"""Usage is never lost and never doubled, whatever is written twice, at once, or out of order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, Tokens, TokensSource, UsageEvent, new_id
from ownkey.storage import credentials, tokens, usage, users
from ownkey.storage.database import Database
from ownkey.storage.usage import UsageQuery
from tests.postgres.people import Store, usage_event
from tests.servers import PostgresServer

DAY = date(2026, 11, 23)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SUMS = """
    select count(*)::bigint as requests, count(*) filter (where outcome not in ('ok', 'client_gone')) as errors,
        sum(input_uncached)::bigint as input_uncached, sum(cache_read)::bigint as cache_read,
        sum(cache_write)::bigint as cache_write, sum(output_text)::bigint as output_text,
        sum(output_reasoning)::bigint as output_reasoning,
        coalesce(sum(cost_microdollars), 0)::bigint as cost_microdollars,
        count(*) filter (where cost_microdollars is null and tokens_source <> 'none') as unpriced_requests,
        count(*) filter (where tokens_source = 'estimated') as estimated_requests,
        count(*) filter (where fallback) as fallback_requests,
        sum(duration_ms)::bigint as duration_ms,
        coalesce(sum(first_byte_ms), 0)::bigint as first_byte_ms, count(first_byte_ms) as first_byte_requests,
        sum(ownkey_private.latency_mark(duration_ms)) as durations,
        coalesce(sum(ownkey_private.latency_mark(first_byte_ms)), 0) as first_bytes,
        {owner} (occurred_at at time zone 'UTC')::date as day, provider, model, coalesce(task, '') as task,
        {credential} payer
    from ownkey.usage_events group by {owner} day, provider, model, coalesce(task, ''), {credential} payer
"""
ROLLUPS = """
    select requests, errors, input_uncached, cache_read, cache_write, output_text, output_reasoning, cost_microdollars,
        unpriced_requests, estimated_requests, fallback_requests, duration_ms, first_byte_ms, first_byte_requests,
        duration_histogram, first_byte_histogram, {owner} day, provider, model, task, {credential} payer
    from {table}
"""
NO_CREDENTIAL = "coalesce(credential_id, '00000000-0000-0000-0000-000000000000'),"


async def check_rollups(superuser: asyncpg.Connection) -> None:
    """The daily sums are what the events add up to, group by group, of each user and of everybody."""
    for table, owner, credential, stored in (
        ("ownkey.usage_daily", "user_id,", NO_CREDENTIAL, "credential_id,"),
        ("ownkey_private.usage_daily_total", "", "", ""),
    ):
        expected = await superuser.fetch(SUMS.format(owner=owner, credential=credential))
        kept = await superuser.fetch(ROLLUPS.format(table=table, owner=owner, credential=stored))
        assert {tuple(row) for row in kept} == {tuple(row) for row in expected}, table
        assert kept


async def test_an_event_that_is_written_twice_counts_once(store: Store, superuser: asyncpg.Connection) -> None:
    ann = await store.add_person("ann")
    events = [usage_event("ann", credential_id=ann.credential_id) for _ in range(5)]
    assert await usage.insert_events(store.db, events) == 5
    assert await usage.insert_events(store.db, events) == 0
    assert await usage.insert_events(store.db, [*events, usage_event("ann"), events[0]]) == 1
    assert await usage.insert_events(store.db, []) == 0
    await check_rollups(superuser)
    async with store.db.transaction("ann") as tx:
        credential = await credentials.find_credential(tx, ann.credential_id)
    assert credential is not None
    assert (credential.request_count, credential.input_tokens, credential.output_tokens) == (6, 6 * 30, 6 * 30)
    assert credential.last_used_at == max(event.occurred_at for event in events)


async def test_overlapping_batches_from_many_writers_add_up(store: Store, superuser: asyncpg.Connection) -> None:
    """Each event is in several batches, in any order, of several users, while the users' rows change as well."""
    people = [await store.add_person(f"user-{number}") for number in range(4)]
    seed = random.Random(7)
    events = []
    for _ in range(300):
        person = seed.choice(people)
        events.append(
            usage_event(
                person.id,
                occurred_at=NOON + timedelta(hours=seed.randrange(48)),
                provider=seed.choice(["groq", "openai"]),
                task=seed.choice([None, "coding"]),
                payer=seed.choice(list(Payer)),
                outcome=seed.choice([Outcome.OK, Outcome.TIMEOUT, Outcome.CLIENT_GONE]),
                cost_microdollars=seed.choice([None, 0, 12]),
                first_byte_ms=seed.choice([None, 5, 70]),
                duration_ms=seed.choice([0, 1, 40, 900_000]),
                fallback=seed.choice([True, False]),
                tokens_source=seed.choice([TokensSource.REPORTED, TokensSource.ESTIMATED]),
                credential_id=seed.choice([None, person.credential_id, new_id()]),
            )
        )
    batches = [seed.sample(events, 60) for _ in range(30)]
    batches += [events[start : start + 60] for start in range(0, 300, 60)]
    writer = usage.EventWriter(store.db)

    async def change(number: int) -> None:
        person = people[number % len(people)]
        async with store.db.transaction(person.id) as tx:
            await users.ensure_user(tx, person.id)
            await credentials.update_credential(tx, person.credential_id, {"label": f"label {number}"})

    counts = await asyncio.gather(*(writer(batch) for batch in batches), *(change(number) for number in range(20)))
    assert sum(count or 0 for count in counts) == len(events)
    await check_rollups(superuser)
    counters = await superuser.fetch(
        "select c.request_count, count(e.*) as events from ownkey.credentials c "
        "join ownkey.usage_events e on e.credential_id = c.id group by c.user_id, c.id"
    )
    assert [row["request_count"] for row in counters] == [row["events"] for row in counters]
    assert len(counters) == len(people)


async def test_events_come_back_as_they_were_written(store: Store) -> None:
    written = usage_event(
        "ann", occurred_at=NOON, tokens=Tokens(input_uncached=1, cache_read=2, cache_write=3, output_text=4,
        output_reasoning=5), raw_usage=b'{"total_tokens": 15}', price_version="table 1", provider_request_id="r",
        finish_reason="stop", streamed=True, payer=Payer.SHARED, service_tier="flex", fallback=True,
        cost_source=CostSource.COMPUTED,
    )  # fmt: skip
    bare = UsageEvent(
        id=new_id(), request_id="r", user_id="ann", occurred_at=NOON - timedelta(hours=1), attempt=2, task=None,
        provider="groq", model="m", requested_model="auto", credential_id=None, payer=Payer.OWN, operation="chat",
        streamed=False,
    )  # fmt: skip
    await usage.insert_events(store.db, [bare, written])
    await usage.insert_events(store.db, [usage_event("bob", occurred_at=NOON)])
    async with store.db.transaction("ann") as tx:
        found = await usage.list_events(tx, start=NOON - timedelta(days=1), end=NOON + timedelta(days=1))
        assert await usage.list_events(tx, start=NOON, end=NOON + timedelta(days=1), limit=1) == [written]
    assert found == [written, bare]


POISON: list[dict[str, Any]] = [
    {"model": "a\x00b"},
    {"model": "half \ud800 a pair"},
    {"model": "x" * 10_000},
    {"provider_request_id": "\x00"},
    {"credential_id": "shared:openai"},
    {"tokens": Tokens(input_uncached=2**70, output_text=-5)},
    {"duration_ms": -(2**70)},
    {"http_status": 2**40},
    {"cost_microdollars": 10**30},
    {"occurred_at": datetime(1999, 1, 1, tzinfo=UTC)},
    {"occurred_at": datetime(2999, 1, 1, tzinfo=UTC)},
    {"occurred_at": datetime(2026, 11, 23, 12)},  # noqa: DTZ001
    {"raw_usage": b"\x00\xff" * 100_000},
    {"tokens": None, "tokens_source": TokensSource.NONE},
    {"user_id": "somebody who was deleted"},
]


@pytest.mark.parametrize("fields", POISON, ids=lambda fields: "+".join(fields))
async def test_no_event_holds_up_the_others(
    store: Store, superuser: asyncpg.Connection, fields: dict[str, Any]
) -> None:
    events = [usage_event("ann"), usage_event(**({"user_id": "ann"} | fields)), usage_event("ann")]
    assert await usage.insert_events(store.db, events) == 3
    assert await usage.insert_events(store.db, events) == 0
    await check_rollups(superuser)


async def test_usage_is_summed_by_what_is_asked_for(store: Store) -> None:
    credential_id = new_id()
    await usage.insert_events(
        store.db,
        [
            usage_event("ann", occurred_at=NOON, provider="groq", credential_id=credential_id),
            usage_event(
                "ann", occurred_at=NOON, provider="groq", task=None, payer=Payer.SHARED, cost_microdollars=None
            ),
            usage_event("ann", occurred_at=NOON, provider="openai", model="gpt", outcome=Outcome.RATE_LIMITED),
            usage_event("ann", occurred_at=NOON + timedelta(days=1), provider="groq"),
            usage_event("ann", occurred_at=NOON + timedelta(days=9), provider="groq"),
            usage_event("bob", occurred_at=NOON, provider="groq"),
        ],
    )
    # What failed before it had tokens has no price either, and is not "unpriced".
    failed = usage_event(
        "cid",
        occurred_at=NOON,
        outcome=Outcome.UNREACHABLE,
        tokens=None,
        tokens_source=TokensSource.NONE,
        cost_microdollars=None,
    )
    await usage.insert_events(store.db, [failed])
    async with store.db.transaction("cid") as tx:
        (of_cid,) = await usage.query_usage(tx, UsageQuery(start=DAY, end=DAY))
        assert (of_cid.requests, of_cid.errors, of_cid.unpriced_requests) == (1, 1, 0)
    async with store.db.transaction("ann") as tx:
        (total,) = await usage.query_usage(tx, UsageQuery(start=DAY, end=DAY + timedelta(days=1)))
        assert (total.requests, total.errors, total.unpriced_requests) == (4, 1, 1)
        assert (total.cost_microdollars, total.input_uncached, total.output_text) == (2100, 40, 120)
        assert (total.provider, total.day, total.user_id) == (None, None, None)
        by_day = await usage.query_usage(tx, UsageQuery(start=DAY, end=DAY + timedelta(days=9), group_by=("day",)))
        assert [(row.day, row.requests) for row in by_day] == [
            (DAY, 3), (DAY + timedelta(days=1), 1), (DAY + timedelta(days=9), 1),
        ]  # fmt: skip
        by_provider = await usage.query_usage(
            tx,
            UsageQuery(
                start=DAY,
                end=DAY,
                group_by=(
                    "provider",
                    "payer",
                ),
            ),
        )
        assert {(row.provider, row.payer): row.requests for row in by_provider} == {
            ("groq", "own"): 1, ("groq", "shared"): 1, ("openai", "own"): 1,
        }  # fmt: skip
        by_rest = await usage.query_usage(
            tx,
            UsageQuery(
                start=DAY,
                end=DAY,
                group_by=(
                    "task",
                    "model",
                    "credential",
                ),
            ),
        )
        assert {(row.task, row.model, row.credential_id) for row in by_rest} == {
            ("coding", "llama", credential_id), (None, "llama", None), ("coding", "gpt", None),
        }  # fmt: skip
    async with store.db.transaction("root", role="ownkey_admin") as tx:
        by_user = await usage.query_usage(tx, UsageQuery(start=DAY, end=DAY, group_by=("user",)))
    totals: dict[str | None, int] = defaultdict(int)
    for row in by_user:
        totals[row.user_id] += row.requests
    assert totals == {"ann": 3, "bob": 1, "cid": 1}


async def test_a_day_ends_at_midnight_utc(store: Store) -> None:
    last = datetime(2026, 11, 23, 23, 59, 59, 999_999, tzinfo=UTC)
    await usage.insert_events(
        store.db,
        [usage_event("ann", occurred_at=last), usage_event("ann", occurred_at=last + timedelta(microseconds=1))],
    )
    async with store.db.transaction("ann") as tx:
        rows = await usage.query_usage(tx, UsageQuery(start=DAY, end=DAY + timedelta(days=1), group_by=("day",)))
    assert [(row.day, row.requests) for row in rows] == [(DAY, 1), (DAY + timedelta(days=1), 1)]


async def test_tokens_remember_their_last_use(store: Store) -> None:
    ann, bob = await store.add_person("ann"), await store.add_person("bob")
    uses = [("ann", ann.token_id, NOON), ("ann", ann.token_id, NOON - timedelta(1)), ("bob", bob.token_id, NOON)]
    assert await tokens.touch_tokens(store.db, uses) == 2
    assert await tokens.touch_tokens(store.db, [("ann", bob.token_id, NOON), ("ann", new_id(), NOON)]) == 0
    assert await tokens.touch_tokens(store.db, []) == 0
    async with store.db.transaction("ann") as tx:
        assert [token.last_used_at for token in await tokens.list_tokens(tx)] == [NOON]


async def test_partitions_are_made_ahead_and_take_over_what_came_too_early(
    server: PostgresServer, own_database: str
) -> None:
    db = await Database.open(server.dsn(own_database))
    superuser = await asyncpg.connect(server.dsn(own_database, "postgres"))
    try:
        assert await usage.ensure_partitions(db) == 0
        this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        # 32 days on from the first of a month is always the next month.
        months = [this_month]
        while len(months) < 7:
            months.append((months[-1] + timedelta(days=32)).replace(day=1))
        early = [
            usage_event("ann", occurred_at=moment) for moment in (months[5], months[6] - timedelta(microseconds=1))
        ]
        later = usage_event("ann", occurred_at=months[6])
        assert await usage.insert_events(db, [*early, later, usage_event("ann")]) == 4
        assert await superuser.fetchval("select count(*) from ownkey_private.usage_events_default") == 3
        made = await asyncio.gather(*(usage.ensure_partitions(db, 5) for _ in range(3)))
        assert sorted(made) == [0, 0, 2]
        assert await superuser.fetchval("select count(*) from ownkey_private.usage_events_default") == 1
        moved = f"ownkey_private.usage_events_{months[5]:%Y_%m}"
        assert await superuser.fetchval(f"select count(*) from {moved}") == 2
        assert await usage.insert_events(db, [*early, later]) == 0
        await check_rollups(superuser)
        assert await db.check() == []
    finally:
        await superuser.close()
        await db.close()
