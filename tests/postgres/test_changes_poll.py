"""Asking for changes misses none, however late it was committed, and whatever becomes of the listening connection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from ownkey.storage import snapshots, users
from ownkey.storage.changes_feed import ChangesFeed, Hearer
from ownkey.storage.database import Database
from tests.postgres.people import Store
from tests.servers import PostgresServer, start_wheel_postgres

END_LISTENERS = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity "
    "where application_name = 'ownkey listen' and datname = current_database()"
)


class Told:
    """What a feed told."""

    def __init__(self) -> None:
        self.users: list[tuple[str, int]] = []
        self.deployments = self.checks = self.syncs = 0
        self._news = asyncio.Event()

    @property
    def hearer(self) -> Hearer:
        return Hearer(on_change=self._change, on_deployment=self._deployment, check_all=self._check, on_sync=self._sync)

    def _change(self, user_id: str, generation: int) -> None:
        self.users.append((user_id, generation))
        self._news.set()

    def _deployment(self) -> None:
        self.deployments += 1
        self._news.set()

    async def _check(self) -> None:
        self.checks += 1
        self._news.set()

    def _sync(self, _moment: float) -> None:
        self.syncs += 1
        self._news.set()

    async def until(self, is_there: object) -> None:
        async with asyncio.timeout(15):
            while not is_there():  # type: ignore[operator]
                self._news.clear()
                await self._news.wait()


class Asked:
    """A feed that asks only when the test says so, and hears nothing meanwhile."""

    def __init__(self, feed: ChangesFeed, told: Told) -> None:
        self._feed, self._told = feed, told

    async def changed(self) -> set[str]:
        """Who is told of by the next question."""
        del self._told.users[:]
        await self._feed.sync()
        return {user_id for user_id, _ in self._told.users}


@pytest_asyncio.fixture
async def told() -> Told:
    return Told()


@pytest_asyncio.fixture
async def asked(db: Database, dsn: str, told: Told) -> AsyncIterator[Asked]:
    feed = ChangesFeed(dsn, told.hearer, db, 3600)
    await feed.sync()  # through the pool: it does not listen
    yield Asked(feed, told)
    await feed.close()


async def test_only_what_changed_is_told(store: Store, asked: Asked, told: Told) -> None:
    people = [await store.add_person(f"user-{number}") for number in range(5)]
    assert await asked.changed() == {person.id for person in people}
    assert await asked.changed() == set()
    async with store.db.transaction("user-3") as tx:
        await users.bump_generation(tx, "user-3")
    assert await asked.changed() == {"user-3"}
    async with store.db.transaction("user-4") as tx:
        await users.delete_user(tx)
    checks = told.checks
    assert "user-4" not in await asked.changed(), "nothing of them is left"
    assert told.checks == checks + 1


async def test_who_began_first_and_committed_last_is_not_missed(store: Store, asked: Asked) -> None:
    """The trap of every feed that remembers the highest number it has seen."""
    for name in ("ann", "bob"):
        await store.add_person(name)
    await asked.changed()
    async with store.db.transaction("ann") as slow:
        await users.bump_generation(slow, "ann")
        async with store.db.transaction("bob") as tx:
            await users.bump_generation(tx, "bob")
        assert await asked.changed() == {"bob"}
        assert await asked.changed() == set()
    assert await asked.changed() == {"ann"}


async def test_a_rolled_back_change_is_not_told(store: Store, asked: Asked) -> None:
    await store.add_person("ann")
    await asked.changed()
    await asked.changed()
    with pytest.raises(ZeroDivisionError):
        async with store.db.transaction("ann") as tx:
            await users.bump_generation(tx, "ann")
            raise ZeroDivisionError
    assert await asked.changed() == set()


async def test_what_administrators_decide_is_told(store: Store, asked: Asked, told: Told) -> None:
    before = told.deployments
    async with store.db.transaction("root", role="ownkey_admin") as tx:
        await tx.fetchval("select ownkey_private.put_policy('{}', 0, 'root', '{}')")
    await asked.changed()
    assert told.deployments == before + 1


async def test_changes_are_told_though_the_listening_connection_is_ended_again_and_again(
    store: Store, db: Database, dsn: str, told: Told, superuser: asyncpg.Connection
) -> None:
    person = await store.add_person("ann")
    feed = await snapshots.listen(dsn, told.hearer, database=db, poll_seconds=0.05)
    stop = asyncio.Event()

    async def end_listeners() -> int:
        ended = 0
        while not stop.is_set():
            ended += await superuser.fetchval(END_LISTENERS)
            await asyncio.sleep(0.01)
        return ended

    ending = asyncio.create_task(end_listeners())
    for _ in range(5):
        async with store.db.transaction("ann") as tx:
            await users.bump_generation(tx, "ann")
        generation = (await snapshots.load_generations(db, [person.id]))[person.id]
        await told.until(lambda generation=generation: ("ann", generation) in told.users)
    stop.set()
    assert await ending > 0
    await feed.close()


async def test_a_login_that_may_only_listen_will_do(
    store: Store, db: Database, server: PostgresServer, database_name: str, told: Told, superuser: asyncpg.Connection
) -> None:
    await superuser.execute("create role only_listens login")
    try:
        feed = await snapshots.listen(
            server.dsn(database_name, "only_listens"), told.hearer, database=db, poll_seconds=0.05
        )
        syncs = told.syncs
        await told.until(lambda: told.syncs > syncs + 2)
        assert feed.connected
        await feed.close()
    finally:
        await superuser.execute("drop role only_listens")


async def test_after_a_restart_everything_is_checked_and_nobody_waits_for_what_is_away() -> None:
    with start_wheel_postgres() as server:
        await server.create_database("restarted")
        db = await Database.open(server.dsn("restarted"))
        told = Told()
        feed = await snapshots.listen(server.dsn("restarted"), told.hearer, database=db, poll_seconds=0.05)
        assert not db.away
        await asyncio.to_thread(server.stop, "immediate")
        async with asyncio.timeout(10):
            while not db.away:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(server.start)
        await told.until(lambda: told.checks == 1)
        assert not db.away
        await db.ping()
        await feed.close()
        await db.close()


async def test_a_process_that_came_to_nothing_for_a_while_does_not_take_it_for_an_outage(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A busy machine, a long garbage collection, a laptop's lid: the answer is there, and nobody has looked yet."""
    monkeypatch.setattr("ownkey.storage.changes_feed._ANSWER_SECONDS", 0.2)
    db = await Database.open(dsn)
    feed = await snapshots.listen(dsn, Hearer(), database=db, poll_seconds=0.02)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            time.sleep(0.25)  # nothing runs meanwhile: that is what is tested
            await asyncio.sleep(0)
            assert not db.away
    assert feed.connected
    assert caplog.messages == []
    await feed.close()
    await db.close()


async def test_old_changes_are_swept(store: Store, db: Database, superuser: asyncpg.Connection) -> None:
    await store.add_person("ann")
    async with store.db.transaction("ann") as tx:
        await users.bump_generation(tx, "ann")
    assert await db.fetch_value("sweep_changes") == 0
    await superuser.execute("update ownkey_private.recent_changes set changed_at = now() - interval '2 days'")
    assert await db.fetch_value("sweep_changes") > 0
    assert await superuser.fetchval("select count(*) from ownkey_private.recent_changes") == 0
