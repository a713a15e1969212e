"""Before somebody is known: whose login, session or link it is can be learnt by showing it, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime

import asyncpg
import pytest

from ownkey.domain.account import LinkPurpose
from ownkey.errors import Conflict
from ownkey.storage import accounts, links, sessions, users
from ownkey.storage.database import Database
from tests.postgres.people import Store, digest
from tests.servers import LOGIN

IDLE = 3600.0


async def test_a_login_finds_its_account_and_nothing_stays_on_the_connection(dsn: str, store: Store) -> None:
    await store.add_person("ann")
    await store.add_person("bob")
    db = await Database.open(dsn, pool_size=1)
    begun = await accounts.begin_sign_in(db, "ann@example.com")
    assert begun.account is not None
    assert begun.account.user_id == "ann"
    assert begun.account.password_hash == "$argon2id$v=19$…ann"
    assert "argon2" not in repr(begun)
    assert (begun.attempt.failed_count, begun.attempt.wait_seconds) == (1, 0)
    assert (await accounts.begin_sign_in(db, "nobody@example.com")).account is None
    owner = await sessions.load_session(db, digest("session", "bob"), "session", IDLE)
    assert owner is not None
    assert (owner.user_id, owner.role.value, owner.status.value) == ("bob", "user", "active")
    link = await links.load_link(db, digest("link", "bob"))
    assert link is not None
    assert (link.user_id, link.purpose, link.login) == ("bob", LinkPurpose.RESET, "bob@example.com")
    async with db._connection() as connection:
        left = await connection.fetchrow(
            "select current_user, ownkey.current_user_id(), ownkey_private.presented_token_hash()"
        )
        assert tuple(left) == (LOGIN, None, None)
    await db.close()


async def test_what_is_not_shown_is_not_found(db: Database, store: Store) -> None:
    await store.add_person("ann")
    assert await sessions.load_session(db, digest("session", "eve"), "session", IDLE) is None
    assert await sessions.load_session(db, digest("session", "ann"), "panel", IDLE) is None
    assert await sessions.load_session(db, digest("session", "ann"), "session", 0.0) is None
    assert await links.load_link(db, digest("link", "eve")) is None


async def test_whoever_shows_a_secret_learns_whose_it_is_and_sees_no_row(
    store: Store, superuser: asyncpg.Connection
) -> None:
    await store.add_person("ann")
    await store.add_person("bob")
    async with superuser.transaction():
        await superuser.execute("set local role ownkey_gateway")
        for function, shown in (
            ("find_account_owner", "ann@example.com"),
            ("find_session_owner", digest("session", "ann")),
            ("find_link_owner", digest("link", "ann")),
        ):
            assert await superuser.fetchval(f"select ownkey_private.{function}($1)", shown) == "ann"
        for table in ("accounts", "sessions", "one_time_links"):
            assert await superuser.fetch(f"select 1 from ownkey_private.{table}") == []
            assert await superuser.fetch(f"delete from ownkey_private.{table} returning 1") == []
    for role in ("ownkey_admin", "ownkey_auditor", "ownkey_rotator"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with superuser.transaction():
                await superuser.execute(f"set local role {role}")
                await superuser.fetchval("select ownkey_private.find_account_owner('ann@example.com')")


async def test_nobody_who_serves_reads_the_attempts(store: Store, superuser: asyncpg.Connection) -> None:
    await accounts.begin_sign_in(store.db, "ann@example.com")
    for role in ("ownkey_gateway", "ownkey_admin", "ownkey_auditor", "ownkey_rotator"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with superuser.transaction():
                await superuser.execute(f"set local role {role}")
                await superuser.fetch("select * from ownkey_private.sign_in_attempts")
    stored = await superuser.fetchrow("select * from ownkey_private.sign_in_attempts")
    assert "ann" not in str(dict(stored))


async def test_attempts_at_the_same_moment_are_all_counted(db: Database, superuser: asyncpg.Connection) -> None:
    for login in ("ann@example.com", "nobody@example.com"):
        begun = await asyncio.gather(*(accounts.begin_sign_in(db, login) for _ in range(24)))
        waits = Counter(one.attempt.wait_seconds > 0 for one in begun)
        assert waits == {False: 5, True: 19}
        assert all(one.account is None for one in begun if one.attempt.wait_seconds)
        assert sorted(one.attempt.failed_count for one in begun if not one.attempt.wait_seconds) == [1, 2, 3, 4, 5]
        assert all(0 < one.attempt.wait_seconds <= 30 for one in begun if one.attempt.wait_seconds)


async def test_attempts_are_forgotten_by_success_and_by_time(
    db: Database, store: Store, superuser: asyncpg.Connection
) -> None:
    await store.add_person("ann")
    for _ in range(6):
        begun = await accounts.begin_sign_in(db, "ann@example.com")
    assert begun.attempt.wait_seconds > 0
    async with db.transaction("ann") as tx:
        await accounts.clear_attempts(tx, "ann@example.com")
    assert (await accounts.begin_sign_in(db, "ann@example.com")).attempt.failed_count == 1
    for n in range(30):
        await accounts.begin_sign_in(db, f"nobody{n}@example.com")
    await superuser.execute("update ownkey_private.sign_in_attempts set last_at = now() - interval '25 hours'")
    await superuser.execute("update ownkey_private.sign_in_attempts set failed_count = 9")
    assert (await accounts.begin_sign_in(db, "ann@example.com")).attempt.failed_count == 1
    for _ in range(3):
        await accounts.begin_sign_in(db, "ann@example.com")
    assert await superuser.fetchval("select count(*) from ownkey_private.sign_in_attempts") == 1


async def test_a_login_belongs_to_one(db: Database, store: Store) -> None:
    await store.add_person("ann")
    await store.add_person("bob")
    with pytest.raises(Conflict) as taken:
        async with db.transaction("bob") as tx:
            await accounts.set_login(tx, "ann@example.com")
    assert taken.value.code == "login_taken"
    async with db.transaction("carl") as tx:
        await users.ensure_user(tx, "carl")
        with pytest.raises(Conflict):
            await accounts.ensure_account(tx, "carl", "bob@example.com")


async def test_a_link_is_used_once_and_a_session_rotates_only_for_its_owner(db: Database, store: Store) -> None:
    await store.add_person("ann")
    await store.add_person("bob")
    owner = await sessions.load_session(db, digest("session", "ann"), "session", IDLE)
    assert owner is not None
    async with db.transaction("bob") as tx:
        assert await sessions.rotate_session(tx, owner.session_id, digest("new"), datetime.now(UTC)) is None
        assert not await sessions.end_session(tx, owner.session_id)
        assert not await links.take_link(tx, digest("link", "ann"))
        assert await sessions.end_sessions(tx) == 1
    async with db.transaction("ann") as tx:
        assert await links.take_link(tx, digest("link", "ann"))
        assert not await links.take_link(tx, digest("link", "ann"))
        assert await sessions.rotate_session(tx, owner.session_id, digest("new"), datetime.now(UTC)) is not None
    assert await sessions.load_session(db, digest("session", "ann"), "session", IDLE) is None
    assert await sessions.load_session(db, digest("new"), "session", IDLE) is not None


async def test_behind_a_pooler_everybody_gets_their_own(pooled_db: Database, store: Store) -> None:
    """Twelve connections shared by all: no login, hash or identity of one statement is there for the next."""
    names = [f"user{n}" for n in range(8)]
    for name in names:
        await store.add_person(name)

    async def look(name: str) -> None:
        owner = await sessions.load_session(pooled_db, digest("session", name), "session", IDLE)
        begun = await accounts.begin_sign_in(pooled_db, f"{name}@example.com")
        link = await links.load_link(pooled_db, digest("link", name))
        assert owner is not None and begun.account is not None and link is not None
        assert {owner.user_id, begun.account.user_id, link.user_id} == {name}
        async with pooled_db.transaction(None) as tx:
            assert await tx.fetch("select 1 from ownkey_private.sessions") == []
            assert await tx.fetch("select 1 from ownkey_private.accounts") == []

    await asyncio.gather(*(look(name) for name in names for _ in range(5)))
