"""Whose rows a query sees does not depend on who used the connection before, nor on who was cancelled on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from ownkey.storage import credentials, snapshots, users
from ownkey.storage.database import Database
from tests.postgres.people import Person, Store

PEOPLE = 8
CALLS = 600


async def _by_snapshot(db: Database, person: Person) -> set[str]:
    snapshot = await snapshots.load_snapshot(db, person.id)
    assert snapshot is not None
    return {snapshot.user_id, *(_owner(one.sealed) for one in snapshot.credentials)}


async def _by_token(db: Database, person: Person) -> set[str]:
    owner = await snapshots.load_by_token(db, person.token_hash)
    assert owner is not None
    return {owner.user_id, owner.snapshot.user_id, *(_owner(one.sealed) for one in owner.snapshot.credentials)}


async def _by_transaction(db: Database, person: Person) -> set[str]:
    async with db.transaction(person.id) as tx:
        seen = {row["id"] for row in await tx.fetch("select id from ownkey.users")}
        await asyncio.sleep(0)
        seen |= {row["user_id"] for row in await tx.fetch("select user_id from ownkey.credentials")}
        sealed = await credentials.find_sealed(tx, person.credential_id)
        assert sealed is not None
        return seen | {_owner(sealed.sealed)}


async def _by_write(db: Database, person: Person) -> set[str]:
    async with db.transaction(person.id) as tx:
        await users.ensure_user(tx, person.id)
        rows = await tx.fetch("update ownkey.credentials set position = position + 1 returning user_id")
        return {row["user_id"] for row in rows}


READS: list[Callable[[Database, Person], Coroutine[Any, Any, set[str]]]] = [
    _by_snapshot, _by_token, _by_transaction, _by_write,
]  # fmt: skip
_owners: dict[bytes, str] = {}


def _owner(sealed: bytes) -> str:
    return _owners[sealed]


async def test_no_query_ever_sees_another_user_though_a_quarter_is_cancelled(store: Store, db: Database) -> None:
    await _storm(store, db)


async def test_nor_through_pgbouncer_where_connections_are_shared(store: Store, pooled_db: Database) -> None:
    await _storm(store, pooled_db)


async def _storm(store: Store, db: Database) -> None:
    people = [await store.add_person(f"user-{number}") for number in range(PEOPLE)]
    for person in people:
        snapshot = await snapshots.load_snapshot(store.db, person.id)
        assert snapshot is not None
        _owners[snapshot.credentials[0].sealed] = person.id
    seed = random.Random(20261123)
    done = cancelled = 0
    room = asyncio.Semaphore(40)

    async def call() -> None:
        nonlocal done, cancelled
        async with room:
            person, read = seed.choice(people), seed.choice(READS)
            task = asyncio.create_task(read(db, person))
            if seed.random() < 0.25:
                await asyncio.sleep(seed.random() * 0.01)
                task.cancel()
            try:
                seen = await task
            except asyncio.CancelledError:
                cancelled += 1
            else:
                assert seen == {person.id}
                done += 1

    await asyncio.gather(*(call() for _ in range(CALLS)))
    assert done + cancelled == CALLS
    assert cancelled > CALLS * 0.05
    # What the cancelled ones left behind serves everybody as before.
    for person in people:
        assert await _by_transaction(db, person) == {person.id}
    async with db.transaction(None) as tx:
        assert await tx.fetchval("select count(*) from ownkey.users") == 0
