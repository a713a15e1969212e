"""Events are kept with what they tell of, told once where they are to be told once, and held by one claim at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from ownkey.domain.event import EventType
from ownkey.storage import events, users
from ownkey.storage.database import Database
from ownkey.storage.events import ClaimedEvent
from tests.postgres.people import Store

KIND = EventType.CREDENTIAL_STATUS_CHANGED
WEEK = 7 * 86_400.0


async def emit(db: Database, user_id: str | None = "ann", once: str | None = None, **data: Any) -> bool:
    async with db.transaction("ann") as tx:
        return await events.emit(tx, KIND, user_id, data, once=once)


async def claim(db: Database, limit: int = 100) -> list[ClaimedEvent]:
    return await events.claim(db, "webhook", limit=limit, lease_seconds=60)


async def let_due(superuser: asyncpg.Connection) -> None:
    """As if every wait and every lease were over."""
    await superuser.execute("update ownkey_private.outbox set due_at = now()")


async def test_nothing_is_kept_for_nobody(db: Database, superuser: asyncpg.Connection) -> None:
    assert not await emit(db)
    assert (await events.describe_sink(db, "webhook")).seen_at is None
    await events.serve(db, "webhook")
    assert await emit(db)
    await superuser.execute("update ownkey_private.event_sinks set seen_at = now() - interval '8 days'")
    assert not await emit(db)
    assert (await events.describe_sink(db, "webhook")).waiting == 1


async def test_an_event_shares_the_fate_of_its_transaction(db: Database) -> None:
    await events.serve(db, "webhook")
    with pytest.raises(ZeroDivisionError):
        async with db.transaction("ann") as tx:
            await events.emit(tx, KIND, "ann", {"number": 1})
            raise ZeroDivisionError
    assert await claim(db) == []
    await emit(db, number=2, text='a "quoted" ☂')
    [claimed] = await claim(db)
    assert claimed.event.data == {"number": 2, "text": 'a "quoted" ☂'}
    assert (claimed.event.type, claimed.event.user_id, claimed.tries) == (KIND, "ann", 1)


async def test_every_way_out_gets_the_same_event_and_settles_it_by_itself(db: Database) -> None:
    await events.serve(db, "webhook")
    await events.serve(db, "callback")
    await emit(db)
    [sent] = await claim(db)
    [called] = await events.claim(db, "callback", limit=5, lease_seconds=60)
    assert sent.event == called.event
    await events.mark_delivered(db, "webhook", sent)
    state = await events.describe_sink(db, "webhook")
    assert (state.waiting, state.given_up) == (0, 0)
    assert state.last_delivered_at is not None
    assert (await events.describe_sink(db, "callback")).waiting == 1


async def test_what_is_told_once_is_told_once_though_many_find_it(db: Database) -> None:
    await events.serve(db, "webhook")
    told = await asyncio.gather(*(emit(db, once=f"expiry/{number % 2}") for number in range(20)))
    assert sum(told) == 2
    assert len(await claim(db)) == 2


async def test_many_who_take_up_events_get_different_ones(db: Database) -> None:
    await events.serve(db, "webhook")
    for number in range(30):
        await emit(db, number=number)
    batches = await asyncio.gather(*(claim(db, 4) for _ in range(12)))
    numbers = [one.event.data["number"] for batch in batches for one in batch]
    assert sorted(numbers) == sorted(set(numbers))
    rest = [one.event.data["number"] for one in await claim(db)]
    assert sorted(numbers + rest) == list(range(30))
    assert await claim(db) == []


async def test_a_claim_of_somebody_who_died_ends_and_their_late_word_does_not_count(
    db: Database, superuser: asyncpg.Connection
) -> None:
    await events.serve(db, "webhook")
    await emit(db)
    [first] = await claim(db)
    await let_due(superuser)
    [second] = await claim(db)
    assert (second.event, second.tries) == (first.event, 2)
    assert not await events.mark_failed(db, "webhook", first, "late", wait_seconds=0, give_up_seconds=0)
    assert await claim(db) == []
    # That it has arrived is true, whoever says so.
    await events.mark_delivered(db, "webhook", first)
    assert not await events.mark_failed(db, "webhook", second, "twice", wait_seconds=0, give_up_seconds=WEEK)
    await let_due(superuser)
    assert await claim(db) == []


async def test_a_failed_try_waits_and_is_given_up_when_it_is_old(db: Database, superuser: asyncpg.Connection) -> None:
    await events.serve(db, "webhook")
    await emit(db)
    [first] = await claim(db)
    assert not await events.mark_failed(
        db, "webhook", first, "status 500" * 100, wait_seconds=3600, give_up_seconds=WEEK
    )
    assert await claim(db) == []
    state = await events.describe_sink(db, "webhook")
    assert state.waiting == 1
    assert state.oldest_waiting == first.event.occurred_at
    assert state.last_error is not None and state.last_error.startswith("status 500")
    await superuser.execute("update ownkey_private.outbox set due_at = now(), occurred_at = now() - interval '8 days'")
    [second] = await claim(db)
    assert await events.mark_failed(db, "webhook", second, "status 503", wait_seconds=1, give_up_seconds=WEEK)
    state = await events.describe_sink(db, "webhook")
    assert (state.waiting, state.given_up, state.last_error) == (0, 1, "status 503")


async def test_old_events_are_forgotten(db: Database, superuser: asyncpg.Connection) -> None:
    await events.serve(db, "webhook")
    await emit(db, once="old")
    await superuser.execute("update ownkey_private.outbox set occurred_at = now() - interval '71 days'")
    await emit(db, once="new")
    assert await events.forget_old(db) == 1
    assert [one.event.user_id for one in await claim(db)] == ["ann"]


async def test_nothing_is_told_of_a_user_who_is_gone(store: Store) -> None:
    await events.serve(store.db, "webhook")
    await store.add_person("ann")
    await emit(store.db)
    await emit(store.db, user_id=None, total=True)
    async with store.db.transaction("ann") as tx:
        assert await users.delete_user(tx)
    assert [one.event.data for one in await claim(store.db)] == [{"total": True}]


async def test_it_works_through_pgbouncer(pooled_db: Database) -> None:
    await events.serve(pooled_db, "webhook")
    await emit(pooled_db, once="one")
    assert not await emit(pooled_db, once="one")
    [claimed] = await claim(pooled_db)
    await events.mark_delivered(pooled_db, "webhook", claimed)
    assert (await events.describe_sink(pooled_db, "webhook")).waiting == 0
