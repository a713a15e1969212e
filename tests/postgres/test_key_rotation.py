"""From one wrapping key to the next: phases, who holds what, rewrapping by several at once, and calling it off."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ownkey.crypto.audit_seal import AuditKey
from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.key_calls import KeyCalls
from ownkey.crypto.key_ring import KeyRing
from ownkey.crypto.key_text import generate_key_line
from ownkey.errors import ConfigError, Conflict, DataKeyClosed, NotFound, StorageError
from ownkey.services.audit_trail import AuditTrail
from ownkey.services.changes import Changes
from ownkey.services.key_rotation import KeyRotation
from ownkey.services.key_watch import KeyWatch
from ownkey.storage import data_keys, users, wrapping_keys
from ownkey.storage.database import Database

DEPLOYMENT = "tests"
ADMIN = "cli:tester"
LINES = {name: f"{name}:{generate_key_line().partition(':')[2]}" for name in ("old", "new", "later")}


class Process:
    """What one server process has to do with wrapping keys."""

    def __init__(self, db: Database, *names: str, path: Path | None = None) -> None:
        self.db = db
        self.ring = KeyRing.parse("\n".join(LINES[name] for name in names))
        load = None if path is None else lambda: KeyRing.parse(path.read_text())
        # Reports come only when a test asks for one.
        self.watch = KeyWatch(db, self.ring, KeyCalls(), load=load, path=path, interval_seconds=3600)
        self.data_keys = DataKeys(self.ring, DEPLOYMENT)
        self.rotation = KeyRotation(Changes(db), self.data_keys, self.ring, self.watch)

    async def add_users(self, count: int, start: int = 0) -> None:
        """Users whose data keys are under the primary key."""
        async with self.db.transaction(None, role="ownkey_rotator") as tx:
            primary = await wrapping_keys.lock_primary(tx)
        connection = await asyncpg.connect(SUPERUSER["dsn"])
        names = [f"user-{number:05d}" for number in range(start, start + count)]
        made = [await self.data_keys.make(name, primary) for name in names]
        await connection.execute("insert into ownkey.users (id) select unnest($1::text[])", names)
        await connection.copy_records_to_table(
            "data_keys",
            schema_name="ownkey_private",
            columns=("user_id", "wrapped", "wrapping_key_id", "version"),
            records=[(n, m.wrapped, m.wrapping_key_id, m.version) for n, m in zip(names, made, strict=True)],
        )
        await connection.close()

    async def open_all(self) -> dict[str, bytes]:
        """Every user's data key, as this process opens it."""
        async with self.db.transaction(None, role="ownkey_rotator") as tx:
            rows = [row for name in self.ring.ids for row in await data_keys.lock_data_keys(tx, name, 100_000)]
        return {
            row.user_id: self.data_keys.open(row.user_id, row.wrapped, row.wrapping_key_id, row.version) for row in rows
        }

    async def phases(self) -> dict[str, str]:
        return {one.id: one.phase for one in (await self.rotation.describe(ADMIN)).keys}


SUPERUSER: dict[str, str] = {}


@pytest.fixture
async def processes(db: Database, superuser_dsn: str) -> AsyncIterator[Any]:
    """Starts processes with keys of the names that are given, and ends them."""
    SUPERUSER["dsn"] = superuser_dsn
    async with AsyncExitStack() as stack:

        async def start(*names: str, path: Path | None = None) -> Process:
            process = Process(db, *names, path=path)
            await process.watch.start()
            stack.push_async_callback(process.watch.close)
            return process

        yield start


async def test_a_rotation_from_the_first_report_to_the_end(processes: Any, db: Database) -> None:
    one, other = await processes("old", "new"), await processes("old")
    assert await one.phases() == {"old": "primary", "new": "known"}
    await one.add_users(7)
    before = await one.open_all()
    with pytest.raises(Conflict) as caught:
        await one.rotation.promote(ADMIN, "new")
    assert caught.value.code == "key_not_everywhere"
    assert f"process {os.getpid()}" in caught.value.message
    with pytest.raises(NotFound):
        await one.rotation.promote(ADMIN, "unheard-of")
    other.ring.adopt(KeyRing.parse(f"{LINES['old']},{LINES['new']}"))
    await other.watch.report()

    await one.rotation.promote(ADMIN, "new")
    assert await one.phases() == {"old": "retiring", "new": "primary"}
    state = await one.rotation.describe(ADMIN)
    assert (state.left, state.to_move, state.primary_key) == (7, 7, "new")
    with pytest.raises(Conflict, match="left under"):
        await one.rotation.retire(ADMIN, "old")
    assert await one.open_all() == before, "everything opens while the rotation stands still"
    done = await one.rotation.rewrap_all()
    assert (done.moved, done.left, done.unreadable) == (7, 0, 0)
    assert await one.open_all() == before, "the data keys are the same"
    await one.rotation.retire(ADMIN, "old")

    with pytest.raises(Conflict) as held:
        await one.rotation.destroy(ADMIN, "old")
    assert held.value.code == "key_held"
    for process in (one, other):
        process.ring.adopt(KeyRing.parse(LINES["new"]))
        await process.watch.report()
    await one.rotation.destroy(ADMIN, "old")
    assert await one.phases() == {"old": "destroyed", "new": "primary"}
    for step in (one.rotation.destroy, one.rotation.retire):
        with pytest.raises(Conflict):
            await step(ADMIN, "old")
    with pytest.raises(Conflict) as used:
        await one.rotation.promote(ADMIN, "old")
    assert used.value.code == "key_used_up"
    trail = await AuditTrail(Changes(db), AuditKey(bytes(32), "test")).list_entries(ADMIN, limit=10)
    assert [(entry.action, entry.subject) for entry in reversed(trail)] == [
        ("wrapping_key.promoted", "new"),
        ("wrapping_key.retired", "old"),
        ("wrapping_key.destroyed", "old"),
    ]


async def test_nothing_comes_under_a_key_that_retires(processes: Any, db: Database) -> None:
    process = await processes("old", "new")
    await process.add_users(1)
    await process.rotation.promote(ADMIN, "new")
    await process.rotation.rewrap_all()
    assert process.data_keys.new("ann").wrapping_key_id == "new", "this process has heard of it"
    made = await process.data_keys.make("ann", "old")
    for phase in ("retiring", "retired", "destroyed"):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=phase):
            async with db.transaction("ann") as tx:
                await users.ensure_user(tx, "ann")
                await data_keys.put_data_key(tx, "ann", made.wrapped, "old", 1)
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=phase):
            async with db.transaction(None, role="ownkey_rotator") as tx:
                (row,) = await data_keys.lock_data_keys(tx, "new", 5)
                await data_keys.swap_data_key(tx, row, b"under the old one", "old")
        if phase == "retiring":
            await process.rotation.retire(ADMIN, "old")
        elif phase == "retired":
            process.ring.adopt(KeyRing.parse(LINES["new"]))
            await process.rotation.destroy(ADMIN, "old")


async def test_who_wraps_and_who_lets_a_key_retire_wait_for_each_other(
    processes: Any, db: Database, superuser: asyncpg.Connection
) -> None:
    process = await processes("old", "new")
    async with db.transaction("ann") as tx:
        await users.ensure_user(tx, "ann")
        assert await wrapping_keys.lock_primary(tx) == "old"
        promoting = asyncio.create_task(process.rotation.promote(ADMIN, "new"))
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        async with asyncio.timeout(10):
            while not await superuser.fetchval(waiting):
                await asyncio.sleep(0.005)
        made = await process.data_keys.make("ann", "old")
        await data_keys.put_data_key(tx, "ann", made.wrapped, "old", 1)
    await promoting
    assert (await process.rotation.describe(ADMIN)).to_move == 1, "what was wrapped at the last moment is counted"
    async with db.transaction(None) as tx:
        assert await wrapping_keys.lock_primary(tx) == "new"
    assert (await process.rotation.rewrap_all()).left == 0
    await process.rotation.retire(ADMIN, "old")


async def test_several_processes_share_the_work(processes: Any) -> None:
    working = [await processes("old", "new") for _ in range(3)]
    await working[0].add_users(1600)
    before = await working[0].open_all()
    await working[0].rotation.promote(ADMIN, "new")
    done = await asyncio.gather(*(one.rotation.rewrap_all() for one in working))
    assert sum(one.moved for one in done) == 1600, "each key was moved once"
    assert sum(bool(one.moved) for one in done) > 1
    assert (await working[0].rotation.describe(ADMIN)).left == 0
    assert await working[0].open_all() == before


async def test_a_rotation_can_be_called_off_at_any_point(processes: Any, superuser: asyncpg.Connection) -> None:
    process = await processes("old", "new")
    await process.add_users(1200)
    before = await process.open_all()
    await process.rotation.promote(ADMIN, "new")
    assert await process.rotation._move_batch("old", set()) == 500
    assert await process.open_all() == before

    await process.rotation.promote(ADMIN, "old")
    assert await process.phases() == {"old": "primary", "new": "retiring"}
    assert await process.open_all() == before
    assert (await process.rotation.rewrap_all()).moved == 500
    await process.rotation.retire(ADMIN, "new")
    assert await process.open_all() == before
    assert await superuser.fetchval("select count(*) from ownkey_private.data_keys where wrapping_key_id <> 'old'") == 0


async def test_calling_off_waits_for_what_has_begun_and_for_nothing_after_that(
    processes: Any, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await processes("old", "new"), await processes("old", "new")
    await one.add_users(1200)
    await one.rotation.promote(ADMIN, "new")
    begun, go_on = asyncio.Event(), asyncio.Event()
    renew = one.rotation._renew

    async def hold(*batch: Any, **how: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await renew(*batch, **how)

    async def wait_for_waiting(count: int) -> None:
        while await superuser.fetchval("select count(*) from pg_locks where not granted") < count:
            pass

    monkeypatch.setattr(one.rotation, "_renew", hold)
    async with asyncio.timeout(20):
        first = asyncio.create_task(one.rotation._move_batch("old", set()))
        await begun.wait()
        calling_off = asyncio.create_task(other.rotation.promote(ADMIN, "old"))
        await wait_for_waiting(1)
        second = asyncio.create_task(other.rotation._move_batch("old", set()))
        await wait_for_waiting(2)
        go_on.set()
        assert (await first, await second) == (500, None)
        await calling_off
    assert await one.phases() == {"old": "primary", "new": "retiring"}


async def test_a_process_that_was_killed_counts_until_its_report_expires(
    processes: Any, superuser: asyncpg.Connection
) -> None:
    alive, killed = await processes("old", "new"), await processes("old")
    with pytest.raises(Conflict):
        await alive.rotation.promote(ADMIN, "new")
    await superuser.execute(
        "update ownkey_private.live_processes set expires_at = now() - interval '1 second' where id = $1",
        killed.watch.process_id,
    )
    await alive.rotation.promote(ADMIN, "new")
    # It was only stopped. Back again, it learns what it lacks, and opens what it can.
    await killed.watch.report()
    assert killed.watch.primary_id == "new"
    with pytest.raises(DataKeyClosed):
        await killed.data_keys.make("ann", killed.watch.primary_id)


async def test_a_process_without_the_primary_key_does_not_start(processes: Any) -> None:
    process = await processes("old", "new")
    await process.rotation.promote(ADMIN, "new")
    with pytest.raises(ConfigError, match="primary wrapping key new"):
        await processes("old")
    assert len((await process.rotation.describe(ADMIN)).processes) == 1, "and does not count as one that lacks a key"


async def test_what_does_not_open_is_left_and_keeps_its_key_from_retiring(
    processes: Any, superuser: asyncpg.Connection
) -> None:
    process = await processes("old", "new")
    await process.add_users(1100)
    await superuser.execute(
        "update ownkey_private.data_keys set wrapped = set_byte(wrapped, 90, (get_byte(wrapped, 90) + 1) % 256) "
        "where user_id < 'user-00003'"
    )
    await process.rotation.promote(ADMIN, "new")
    done = await process.rotation.rewrap_all()
    assert (done.moved, done.left, done.unreadable) == (1097, 3, 3)
    with pytest.raises(Conflict, match="left under"):
        await process.rotation.retire(ADMIN, "old")


async def test_a_file_that_changes_is_read_again_and_never_costs_a_key_in_use(
    processes: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "wrapping.key"
    path.write_text(LINES["old"])
    process = await processes("old", path=path)
    assert not await process.watch.reload()
    await process.add_users(1)
    path.write_text(f"{LINES['old']}\n{LINES['new']}\n")
    assert await process.watch.reload()
    assert process.ring.ids == ("old", "new")
    for content in (LINES["new"], "new:not a key"):
        path.write_text(content)
        assert not await process.watch.reload()
        assert process.ring.ids == ("old", "new"), "the one that is in use stays"
    assert "lacks old" in caplog.text
    assert "not a key" not in caplog.text


async def test_a_file_is_looked_at_again_until_it_can_be_taken(
    processes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old key was taken out too early; the database was away when the file changed; others could read it."""
    path = tmp_path / "wrapping.key"
    path.write_text(f"{LINES['old']}\n{LINES['new']}\n")
    process = await processes("old", "new", path=path)
    await process.add_users(2)
    await process.rotation.promote(ADMIN, "new")
    path.write_text(LINES["new"])
    assert not await process.watch.reload()
    await process.rotation.rewrap_all()
    await process.rotation.retire(ADMIN, "old")
    await process.rotation.destroy(ADMIN, "old")
    assert process.ring.ids == ("new",), "nobody had to touch the file once more"

    path.write_text(f"{LINES['new']}\n{LINES['later']}\n")
    with monkeypatch.context() as patch:
        patch.setattr(process.watch, "_database", Away())
        with pytest.raises(StorageError):
            await process.watch.reload()
    assert await process.watch.reload()
    assert process.ring.ids == ("new", "later")


async def test_another_key_under_a_name_in_use_is_not_taken(processes: Any, tmp_path: Path) -> None:
    path = tmp_path / "wrapping.key"
    path.write_text(LINES["old"])
    process = await processes("old", path=path)
    await process.add_users(1)
    before = await process.open_all()
    path.write_text(f"old:{generate_key_line().partition(':')[2]}\n{LINES['new']}\n")
    assert not await process.watch.reload()
    process.data_keys.forget("user-00000")
    assert await process.open_all() == before
    path.write_text(f"{LINES['old']}\nnew:{generate_key_line().partition(':')[2]}\n")
    assert await process.watch.reload()
    path.write_text(f"{LINES['old']}\n{LINES['new']}\n")
    assert await process.watch.reload(), "one that wraps nothing may be put right"


class Away:
    """A database that does not answer."""

    def transaction(self, *_: object, **__: object) -> Any:
        raise StorageError("The database cannot be reached.")


@pytest.mark.parametrize("role", ["ownkey_gateway", "ownkey_rotator", "ownkey_auditor"])
async def test_only_administrators_take_a_step(processes: Any, db: Database, role: Any) -> None:
    await processes("old", "new")
    for step in ("promote", "retire", "destroy"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with db.transaction(ADMIN, role=role) as tx:
                await wrapping_keys.take_step(tx, step, "new", ADMIN)  # type: ignore[arg-type]
