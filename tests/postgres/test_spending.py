"""Money is promised once, counted once, and never beyond a limit, whatever happens at the same time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter as Tally
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ownkey.domain.budget import Bound, Ceiling, Counter, Period, Scope, judge, need
from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, TokensSource, UsageEvent, new_id
from ownkey.storage import spending, usage, users
from ownkey.storage.database import Database
from ownkey.storage.migrate import migrate
from ownkey.storage.migration_files import load_migrations
from ownkey.storage.spending import Reservation
from tests.postgres.people import Store, usage_event
from tests.servers import PostgresServer

USER_DAY = Ceiling(Scope.USER, Period.DAY, 1000)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
LAST_OF_MONTH = datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC)
FIRST_OF_MONTH = LAST_OF_MONTH + timedelta(microseconds=1)
USED = "select user_id, payer, sum(cost_microdollars)::bigint as cost from ownkey.usage_daily group by 1, 2"
COUNTERS = "select scope, owner, period, starts, spent, reserved from ownkey_private.spend_counters"


async def reserve(db: Database, *ceilings: Ceiling, **fields: Any) -> tuple[str, Reservation]:
    """Ask for 100 micro-dollars and 50 tokens for ann, unless the fields say otherwise."""
    event_id = fields.pop("event_id", None) or new_id()
    bound = Bound(cost_microdollars=fields.pop("cost", 100), tokens=fields.pop("tokens", 50))
    values: dict[str, Any] = {"user_id": "ann", "group": None, "lifetime_seconds": 60, **fields}
    return event_id, await spending.reserve(db, event_id=event_id, ceilings=ceilings, bound=bound, **values)


async def add_user(db: Database, user_id: str, group: str | None = None) -> None:
    async with db.transaction(user_id) as tx:
        await users.ensure_user(tx, user_id)
        await users.set_user_group(tx, user_id, group)


async def settle(db: Database, event_id: str, cost: int | None = 30, **fields: Any) -> None:
    await usage.insert_events(db, [shared(event_id, cost, **fields)])


def shared(event_id: str, cost: int | None = 30, **fields: Any) -> UsageEvent:
    values = {"payer": Payer.SHARED, "cost_microdollars": cost, "user_id": "ann", **fields}
    return usage_event(values.pop("user_id"), id=event_id, **values)


async def counters(superuser: asyncpg.Connection, *scopes: Scope) -> dict[tuple[str, str, str], tuple[int, int]]:
    """(spent, reserved) by (scope, owner, period), of the periods that are under way."""
    found = {}
    for row in await superuser.fetch(COUNTERS):
        if row["starts"] == Period(row["period"]).start(datetime.now(UTC)) and (not scopes or row["scope"] in scopes):
            found[row["scope"], row["owner"], row["period"]] = (row["spent"], row["reserved"])
    return found


async def check_books(superuser: asyncpg.Connection) -> None:
    """What is promised is the sum of the promises, and what was spent the sum of the usage."""
    promised = Tally[tuple[str, str, str, datetime]]()
    for row in await superuser.fetch("select * from ownkey_private.spend_reservations"):
        for name in row["counters"]:
            scope, period = name.split("/")
            owner = {"total": "", "group": row["spending_group"]}.get(scope, row["owner"])
            amount = row["tokens"] if scope == "tokens" else row["cost_microdollars"]
            promised[scope, owner, period, Period(period).start(row["reserved_at"])] += amount
    spent = Tally[tuple[str, str, str]]()
    for row in await superuser.fetch(USED):
        for key in [("user", row["user_id"]), ("total", "")] if row["payer"] == "shared" else [("own", row["user_id"])]:
            spent[(*key, "month")] += row["cost"]
    counted = Tally[tuple[str, str, str]]()
    for row in await superuser.fetch(COUNTERS):
        key = (row["scope"], row["owner"], row["period"], row["starts"])
        assert row["reserved"] == promised.pop(key, 0), key
        if row["period"] == "month" and row["scope"] != "group":
            counted[key[:3]] += row["spent"]
    assert not promised
    assert +counted == +spent


async def test_promises_never_exceed_a_limit(db: Database, pooled_db: Database, superuser: asyncpg.Connection) -> None:
    """Directly and through PgBouncer at once, all as the first request of the day."""
    ceilings = (
        Ceiling(Scope.USER, Period.DAY, 700),
        Ceiling(Scope.TOTAL, Period.DAY, 1000),
        Ceiling(Scope.TOTAL, Period.MONTH, 5000),
    )
    asked = await asyncio.gather(
        *(
            reserve(where, *ceilings, user_id=user)
            for where in (db, pooled_db)
            for user in ("ann", "bob")
            for _ in range(12)
        )
    )
    granted = [event_id for event_id, answer in asked if answer.granted]
    assert len(granted) == 10
    found = await counters(superuser)
    assert found["total", "", "day"] == found["total", "", "month"] == (0, 1000)
    assert found["user", "ann", "day"][1] <= 700
    assert found["user", "ann", "day"][1] + found["user", "bob", "day"][1] == 1000
    await check_books(superuser)


async def test_the_cost_takes_the_promises_place_once(store: Store, superuser: asyncpg.Connection) -> None:
    event_id, answer = await reserve(store.db, USER_DAY)
    assert answer.granted
    assert (answer.counters[0].spent, answer.counters[0].reserved, answer.counters[0].needed) == (0, 0, 100)
    assert (await counters(superuser))["user", "ann", "day"] == (0, 100)
    event = shared(event_id, 30)
    for _ in range(3):
        await usage.insert_events(store.db, [event, event])
    assert await counters(superuser) == {
        ("user", "ann", "day"): (30, 0),
        ("user", "ann", "month"): (30, 0),
        ("total", "", "day"): (30, 0),
        ("total", "", "month"): (30, 0),
    }
    await check_books(superuser)


async def test_what_nobody_limits_is_counted_all_the_same(store: Store, superuser: asyncpg.Connection) -> None:
    """A budget that is set in the middle of a month knows what was spent before."""
    await add_user(store.db, "bob", "research")
    events = [
        shared(new_id(), 5),
        shared(new_id(), 7, user_id="bob"),
        shared(new_id(), 9, payer=Payer.OWN),
        shared(new_id(), None),
        shared(new_id(), 0),
    ]
    await usage.insert_events(store.db, events)
    found = await counters(superuser)
    assert {key: value for key, value in found.items() if key[2] == "month"} == {
        ("user", "ann", "month"): (5, 0),
        ("user", "bob", "month"): (7, 0),
        ("group", "research", "month"): (7, 0),
        ("total", "", "month"): (12, 0),
        ("own", "ann", "month"): (9, 0),
    }
    _, refused = await reserve(store.db, Ceiling(Scope.TOTAL, Period.MONTH, 100))
    assert not refused.granted
    assert refused.counters[0].spent == 12
    await check_books(superuser)


@pytest.mark.parametrize(
    ("outcome", "cost", "source", "expected"),
    [
        (Outcome.OK, 30, TokensSource.REPORTED, 30),
        (Outcome.OK, None, TokensSource.NONE, 100),
        (Outcome.CLIENT_GONE, None, TokensSource.NONE, 100),
        (Outcome.CLIENT_GONE, 12, TokensSource.ESTIMATED, 12),
        (Outcome.ACCESS_WITHDRAWN, None, TokensSource.NONE, 100),
        (Outcome.STREAM_BROKEN, None, TokensSource.NONE, 100),
        (Outcome.TIMEOUT, None, TokensSource.NONE, 100),
        (Outcome.RATE_LIMITED, None, TokensSource.NONE, 0),
        (Outcome.AUTH_INVALID, None, TokensSource.NONE, 0),
        (Outcome.UNREACHABLE, None, TokensSource.NONE, 0),
        (Outcome.BAD_REQUEST, 8, TokensSource.REPORTED, 8),
    ],
)
async def test_who_may_have_charged_without_saying_so_counts_as_promised(
    store: Store, superuser: asyncpg.Connection, outcome: Outcome, cost: int | None, source: TokensSource, expected: int
) -> None:
    event_id, _ = await reserve(store.db, USER_DAY, Ceiling(Scope.TOKENS, Period.MINUTE, 1000))
    tokens = {} if source is not TokensSource.NONE else {"tokens": None}
    await settle(store.db, event_id, cost, outcome=outcome, tokens_source=source, **tokens)
    assert (await counters(superuser))["user", "ann", "day"] == (expected, 0)
    assert await superuser.fetchval("select count(*) from ownkey_private.spend_reservations") == 0
    used = await superuser.fetchval("select spent from ownkey_private.spend_counters where scope = 'tokens'")
    assert used == (60 if source is not TokensSource.NONE else 50 if expected else 0)


async def test_calls_count_at_once_and_tokens_when_they_are_known(store: Store, superuser: asyncpg.Connection) -> None:
    calls, tokens = Ceiling(Scope.REQUESTS, Period.MINUTE, 3), Ceiling(Scope.TOKENS, Period.MINUTE, 100)
    at = datetime.now(UTC)
    first, _ = await reserve(store.db, calls, tokens, tokens=90, at=at)
    _, refused = await reserve(store.db, calls, tokens, tokens=11, at=at)
    assert [(one.scope, one.short) for one in refused.counters] == [("requests", False), ("tokens", True)]
    assert not refused.granted
    await settle(store.db, first)  # 60 tokens
    _, granted = await reserve(store.db, calls, tokens, tokens=40, at=at)
    assert granted.granted
    assert [one.spent for one in granted.counters] == [1, 60], "who was refused took nobody's place"
    assert (await reserve(store.db, calls, tokens, tokens=0, at=at))[1].granted
    assert not (await reserve(store.db, calls, tokens, tokens=0, at=at))[1].granted
    next_minute = Period.MINUTE.end(at)
    _, fresh = await reserve(store.db, calls, tokens, tokens=10_000, at=next_minute)
    assert fresh.granted, "a whole minute's tokens are had when nothing else was"
    assert [one.needed for one in fresh.counters] == [1, 100]


async def test_a_call_belongs_to_the_month_in_which_it_was_let_through(
    store: Store, superuser: asyncpg.Connection
) -> None:
    month, day = Ceiling(Scope.TOTAL, Period.MONTH, 100), Ceiling(Scope.USER, Period.DAY, 100)
    late, answer = await reserve(store.db, month, day, at=LAST_OF_MONTH)
    assert answer.granted
    assert {one.resets_at for one in answer.counters} == {FIRST_OF_MONTH}
    assert not (await reserve(store.db, month, day, at=LAST_OF_MONTH))[1].granted
    early, answer = await reserve(store.db, month, day, at=FIRST_OF_MONTH)
    assert answer.granted, "a new month, and nothing of it is spent"
    # The process's own clock is ahead, and the answer comes when the month is over.
    await settle(store.db, late, 100, occurred_at=FIRST_OF_MONTH + timedelta(seconds=3))
    await settle(store.db, early, 40, occurred_at=LAST_OF_MONTH)
    rows = await superuser.fetch(f"{COUNTERS} where scope in ('total', 'user') and reserved + spent > 0")
    found = {(row["scope"], row["period"], row["starts"]): (row["spent"], row["reserved"]) for row in rows}
    october, november = Period.MONTH.start(LAST_OF_MONTH), FIRST_OF_MONTH
    assert found["total", "month", october] == found["user", "day", october + timedelta(days=30)] == (100, 0)
    assert found["total", "month", november] == found["user", "day", november] == (40, 0)
    assert not (await reserve(store.db, month, cost=1, at=LAST_OF_MONTH))[1].granted
    assert (await reserve(store.db, month, cost=60, at=FIRST_OF_MONTH))[1].granted


async def test_a_promise_is_taken_back_or_ends_by_itself(store: Store, superuser: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    kept, _ = await reserve(store.db, USER_DAY, cost=100, lifetime_seconds=60, at=now)
    dead, _ = await reserve(store.db, USER_DAY, cost=400, lifetime_seconds=5, at=now)
    back, _ = await reserve(store.db, USER_DAY, cost=500, lifetime_seconds=60, at=now)
    assert not (await reserve(store.db, USER_DAY, cost=1, at=now))[1].granted
    assert await spending.release(store.db, [back, back, new_id()]) == 1
    assert await spending.release(store.db, [back]) == 0
    assert await spending.expire(store.db, now + timedelta(seconds=4)) == 0
    assert (await counters(superuser))["user", "ann", "day"] == (0, 500)
    ended = await asyncio.gather(*(spending.expire(store.db, now + timedelta(seconds=6)) for _ in range(4)))
    assert sum(ended) == 1
    assert (await counters(superuser))["user", "ann", "day"] == (0, 100)
    # Its process lives after all, and was only slow: what it has cost is not forgotten.
    await settle(store.db, dead, 250)
    await settle(store.db, kept, 100)
    assert (await counters(superuser))["user", "ann", "day"] == (350, 0)
    await check_books(superuser)


async def test_old_periods_are_forgotten(store: Store, superuser: asyncpg.Connection) -> None:
    calls = Ceiling(Scope.REQUESTS, Period.MINUTE, 9)
    for ago in (timedelta(), timedelta(minutes=70), timedelta(days=9), timedelta(days=80)):
        await reserve(store.db, calls, USER_DAY, Ceiling(Scope.TOTAL, Period.MONTH, 900), at=NOON - ago)
    await spending.expire(store.db, NOON)
    left = await superuser.fetch("select period, count(*) as count from ownkey_private.spend_counters group by 1")
    months = {Period.MONTH.start(NOON), Period.MONTH.start(NOON - timedelta(days=9))}
    assert {row["period"]: row["count"] for row in left} == {"minute": 1, "day": 1, "month": len(months)}


async def test_a_group_shares_one_budget(store: Store, superuser: asyncpg.Connection) -> None:
    team = Ceiling(Scope.GROUP, Period.DAY, 150)
    for name in ("ann", "bob"):
        await add_user(store.db, name, "research")
    first, answer = await reserve(store.db, team, group="research")
    assert answer.granted
    assert not (await reserve(store.db, team, group="research", user_id="bob"))[1].granted
    assert (await reserve(store.db, team, group="sales", user_id="cid"))[1].granted
    async with store.db.transaction("ann") as tx:
        assert await users.set_user_group(tx, "ann", "sales")
        assert not await users.set_user_group(tx, "ann", "sales")
    await settle(store.db, first, 40)
    found = await counters(superuser, Scope.GROUP)
    assert found["group", "research", "day"] == (40, 0), "where it was promised"
    assert found["group", "sales", "day"] == (0, 100)


async def test_erasing_oneself_brings_no_fresh_budget(store: Store, superuser: asyncpg.Connection) -> None:
    await add_user(store.db, "ann")
    await usage.insert_events(store.db, [shared(new_id(), 70), shared(new_id(), 8, payer=Payer.OWN)])
    async with store.db.transaction("ann") as tx:
        assert await users.delete_user(tx)
    assert set(await counters(superuser)) == {
        ("user", "ann", "day"), ("user", "ann", "month"), ("total", "", "day"), ("total", "", "month"),
    }  # fmt: skip
    await add_user(store.db, "ann")
    _, answer = await reserve(store.db, Ceiling(Scope.USER, Period.MONTH, 100), cost=31)
    assert not answer.granted


async def test_a_user_sees_their_own_counters(store: Store) -> None:
    for name, group in (("ann", "research"), ("bob", "research"), ("cid", None)):
        await add_user(store.db, name, group)
        await usage.insert_events(store.db, [shared(new_id(), 10, user_id=name)])
    await reserve(store.db, USER_DAY, Ceiling(Scope.REQUESTS, Period.MINUTE, 5), cost=3)
    async with store.db.transaction("ann") as tx:
        found = {(one.scope, one.period): (one.spent, one.reserved) for one in await spending.look(tx)}
    assert found == {
        (Scope.USER, Period.DAY): (10, 3),
        (Scope.USER, Period.MONTH): (10, 0),
        (Scope.GROUP, Period.DAY): (20, 0),
        (Scope.GROUP, Period.MONTH): (20, 0),
        (Scope.TOTAL, Period.DAY): (30, 0),
        (Scope.TOTAL, Period.MONTH): (30, 0),
        (Scope.REQUESTS, Period.MINUTE): (1, 0),
    }
    async with store.db.transaction(None) as tx:
        assert await spending.look(tx) == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await tx.fetch("select 1 from ownkey_private.spend_counters")


async def test_administrators_see_who_spends_what(store: Store) -> None:
    for name, group, cost in (("ann", "research", 10), ("bob", "research", 40), ("cid", None, 30)):
        await add_user(store.db, name, group)
        await usage.insert_events(store.db, [shared(new_id(), cost, user_id=name)])
    await add_user(store.db, "dan", "sales")
    await usage.insert_events(store.db, [shared(new_id(), 99, user_id="dan", payer=Payer.OWN)])
    now = datetime.now(UTC)
    async with store.db.transaction("root", role="ownkey_admin") as tx:
        pots = {(one.scope, one.owner, one.period): one.spent for one in await spending.list_pots(tx, now)}
        assert pots == {
            (Scope.TOTAL, "", Period.DAY): 80,
            (Scope.TOTAL, "", Period.MONTH): 80,
            (Scope.GROUP, "research", Period.DAY): 50,
            (Scope.GROUP, "research", Period.MONTH): 50,
        }
        assert await spending.count_group_members(tx) == {"research": 2, "sales": 1}
        spenders = await spending.list_users(tx, now, limit=2)
        assert [(one.user_id, one.group, one.day_spent, one.month_spent) for one in spenders] == [
            ("bob", "research", 40, 40), ("cid", None, 30, 30),
        ]  # fmt: skip


async def test_the_database_judges_as_the_preview_does(store: Store) -> None:
    """The same counters, the same answer: the pure function shows what the function in SQL will do."""
    chance = random.Random(20261125)
    at = NOON
    for number in range(60):
        user = f"user-{number}"
        ceilings = [
            Ceiling(scope, period, chance.randrange(0, 300), chance.random() < 0.8)
            for scope, period in (
                (Scope.USER, Period.DAY), (Scope.USER, Period.MONTH), (Scope.GROUP, Period.DAY),
                (Scope.TOTAL, Period.MONTH), (Scope.OWN, Period.DAY), (Scope.REQUESTS, Period.MINUTE),
                (Scope.TOKENS, Period.MINUTE),
            )
            if chance.random() < 0.5
        ]  # fmt: skip
        known: dict[tuple[Scope, Period], Counter] = {}
        for _ in range(4):
            cost, tokens = chance.randrange(0, 120), chance.randrange(0, 200)
            _, answer = await reserve(
                store.db, *ceilings, user_id=user, group=f"group-{number}", cost=cost, tokens=tokens, at=at
            )
            bound = Bound(cost_microdollars=cost, tokens=tokens)
            asked = {(one.scope, one.period): one for one in ceilings}
            assert {(one.scope, one.period) for one in answer.counters} == set(asked)
            for one in answer.counters:
                assert one.needed == need(asked[one.scope, one.period], bound)
                before = known.get((one.scope, one.period))
                if before is not None and one.scope is not Scope.TOTAL:
                    assert (one.spent, one.reserved) == (before.spent, before.reserved)
            refusal = judge(answer.counters, answer.at)
            assert answer.granted == (refusal is None), answer
            known = {(one.scope, one.period): _after(one, granted=answer.granted) for one in answer.counters}


def _after(one: Counter, *, granted: bool) -> Counter:
    if not granted:
        return one
    call = one.scope is Scope.REQUESTS
    return Counter(
        scope=one.scope, period=one.period, limit=one.limit, needed=0, resets_at=one.resets_at,
        spent=one.spent + (1 if call else 0), reserved=one.reserved + (0 if call else one.needed),
    )  # fmt: skip


async def test_a_storm_of_calls_locks_nobody_out(
    db: Database, pooled_db: Database, superuser: asyncpg.Connection
) -> None:
    """Promises, costs in overlapping batches, releases and clean-ups at once: no deadlock, and the books balance."""
    chance = random.Random(7)
    people = [f"user-{number}" for number in range(5)]
    for number, name in enumerate(people):
        await add_user(db, name, f"group-{number % 2}")

    async def call(number: int) -> UsageEvent | None:
        where, person = (db, pooled_db)[number % 2], chance.randrange(len(people))
        ceilings = chance.sample(
            [
                Ceiling(Scope.TOTAL, Period.DAY, 20_000),
                Ceiling(Scope.TOTAL, Period.MONTH, 30_000),
                Ceiling(Scope.GROUP, Period.MONTH, 20_000),
                Ceiling(Scope.USER, Period.DAY, 9_000),
                Ceiling(Scope.TOKENS, Period.MINUTE, 100_000),
                Ceiling(Scope.REQUESTS, Period.MINUTE, 10_000),
            ],
            chance.randrange(1, 7),
        )
        event_id, answer = await reserve(where, *ceilings, user_id=people[person], group=f"group-{person % 2}")
        if not answer.granted:
            return None
        if number % 7 == 0:
            await spending.release(where, [event_id])
            return None
        return shared(event_id, chance.randrange(0, 101), user_id=people[person])

    async def write(events: Sequence[UsageEvent]) -> None:
        await usage.insert_events(chance.choice((db, pooled_db)), events)

    for _ in range(4):
        called = await asyncio.gather(*(call(number) for number in range(60)))
        events = [one for one in called if one is not None]
        assert events
        batches = [chance.sample(events, len(events) // 2) for _ in range(4)]
        await asyncio.gather(
            *(write(batch) for batch in [*batches, events]),
            *(call(number * 7) for number in range(20)),
            *(spending.expire(db) for _ in range(3)),
        )
    await check_books(superuser)


async def test_an_upgrade_counts_what_was_spent_this_month(server: PostgresServer) -> None:
    """Usage from before the counters were there counts, that of other months does not."""
    await server.create_database("upgraded", "template0")
    dsn = server.dsn("upgraded", "postgres")
    try:
        migrations = load_migrations()
        cut = next(number for number, one in enumerate(migrations) if one.name.endswith("_create_spending.sql"))
        await migrate(dsn, migrations=migrations[:cut])
        db = await Database.open(dsn)
        now = datetime.now(UTC)
        earlier = Period.MONTH.start(now) - timedelta(hours=1)
        await usage.insert_events(
            db,
            [
                shared(new_id(), 5),
                shared(new_id(), 7, user_id="bob", occurred_at=Period.MONTH.start(now)),
                shared(new_id(), 900, occurred_at=earlier),
                shared(new_id(), 3, payer=Payer.OWN),
            ],
        )
        await db.close()
        await migrate(dsn, migrations=migrations[: cut + 1])
        superuser = await asyncpg.connect(dsn)
        found = await counters(superuser)
        assert {key: spent for key, (spent, _) in found.items() if key[2] == "month"} == {
            ("user", "ann", "month"): 5, ("user", "bob", "month"): 7, ("total", "", "month"): 12,
            ("own", "ann", "month"): 3,
        }  # fmt: skip
        assert found["user", "ann", "day"] == (5, 0)
        await superuser.close()
    finally:
        await server.drop_database("upgraded")
