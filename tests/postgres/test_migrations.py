"""Migrations go forward, once, whoever applies them; and the checks before start-up see what is wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from ownkey.errors import ConfigError, StorageError
from ownkey.storage import snapshots
from ownkey.storage.database import Database
from ownkey.storage.migrate import create_login, export, migrate, pending
from ownkey.storage.migration_files import Migration, load_migrations
from tests.postgres.people import Store
from tests.servers import LOGIN, PostgresServer

NAMES = [migration.name for migration in load_migrations()]


@pytest_asyncio.fixture
async def empty(server: PostgresServer) -> AsyncIterator[str]:
    """The name of an empty database."""
    await server.create_database("empty", "template0")
    yield "empty"
    await server.drop_database("empty")


def test_files_are_named_in_order_and_the_first_is_the_users_settings() -> None:
    assert NAMES[0] == "20261123090000_create_user_llm_settings.sql"
    assert sorted(NAMES) == NAMES
    assert len({migration.version for migration in load_migrations()}) == len(NAMES)
    folder = Path(__file__).parents[2] / "src" / "ownkey" / "storage" / "migrations"
    assert sorted(path.name for path in folder.iterdir()) == NAMES


async def test_each_file_is_applied_once_though_many_processes_try(server: PostgresServer, empty: str) -> None:
    dsn = server.dsn(empty, "postgres")
    assert await pending(dsn) == NAMES
    steps: list[str] = []
    applied = await asyncio.gather(*(migrate(dsn, steps.append) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == NAMES
    assert steps == NAMES
    assert await migrate(dsn, steps.append) == []
    assert await pending(dsn) == []


async def test_a_file_that_was_changed_afterwards_is_refused(server: PostgresServer, own_database: str) -> None:
    changed = [Migration(m.version, m.name, m.text + "-- a word") for m in load_migrations()]
    with pytest.raises(StorageError) as refused:
        await migrate(server.dsn(own_database, "postgres"), migrations=changed)
    assert refused.value.code == "schema_changed"
    assert NAMES[0] in refused.value.message


@pytest.mark.parametrize("statement", ["select 1 / 0", "select nothing_of_that_name()", "not even SQL"])
async def test_a_file_that_fails_leaves_nothing(server: PostgresServer, own_database: str, statement: str) -> None:
    dsn = server.dsn(own_database, "postgres")
    broken = Migration("20990101000000", "20990101000000_break_things.sql", f"create table ownkey.x (); {statement};")
    with pytest.raises(StorageError) as refused:
        await migrate(dsn, migrations=[*load_migrations(), broken])
    assert refused.value.code == "migration_failed"
    assert broken.name in refused.value.message
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("select to_regclass('ownkey.x')") is None
    assert await connection.fetchval("select count(*) from ownkey_private.schema_migrations") == len(NAMES)
    await connection.close()


async def test_a_file_does_not_wait_long_for_a_table_in_use(
    server: PostgresServer, own_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ownkey.storage.migrate._LOCK_WAIT", "50ms")
    file = Migration("99990101000000", "99990101000000_add_a_column.sql", "alter table ownkey.users add column x int;")
    reader = await asyncpg.connect(server.dsn(own_database, "postgres"))
    try:
        async with reader.transaction():
            await reader.fetch("select * from ownkey.users")
            with pytest.raises(StorageError, match="waited 50ms for a table that somebody else uses") as refused:
                await migrate(server.dsn(own_database, "postgres"), migrations=[*load_migrations(), file])
        assert refused.value.code == "migration_failed"
        assert await migrate(server.dsn(own_database, "postgres"), migrations=[*load_migrations(), file]) == [file.name]
    finally:
        await reader.close()


async def test_exported_files_applied_by_another_tool_are_known(
    server: PostgresServer, empty: str, tmp_path: Path
) -> None:
    """As Supabase's tool does it: each file one script, and no part of ours."""
    written = export(tmp_path / "supabase" / "migrations")
    assert [path.name for path in written] == NAMES
    assert export(tmp_path / "supabase" / "migrations") == []
    connection = await asyncpg.connect(server.dsn(empty, "postgres"))
    for path in written:
        await connection.execute(path.read_text())
    await connection.close()
    assert await pending(server.dsn(empty, "postgres")) == []
    assert await migrate(server.dsn(empty, "postgres")) == []


async def test_a_login_that_is_no_superuser_can_migrate_and_serve(server: PostgresServer, empty: str) -> None:
    """Supabase's `postgres` is one: it may create roles and owns the database, and here even bypasses the policies."""
    # The roles are there from other databases; whoever made them has handed them on.
    await server.execute(
        "create role hosted login createrole bypassrls; grant ownkey_owner, ownkey_gateway, ownkey_admin, "
        "ownkey_auditor, ownkey_rotator to hosted with admin option; alter database empty owner to hosted"
    )
    try:
        dsn = server.dsn(empty, "hosted")
        assert await migrate(dsn) == NAMES
        db = await Database.open(dsn)
        assert {finding.code for finding in await db.check()} == {"login_bypasses_rls", "login_is_owner"}
        await Store(db).add_person("ann")
        await Store(db).add_person("bob")
        async with db.transaction("ann") as tx:
            assert [row["id"] for row in await tx.fetch("select id from ownkey.users")] == ["ann"]
        assert await snapshots.load_snapshot(db, "bob") is not None
        await db.close()
    finally:
        await server.drop_database(empty)
        await server.execute("drop role hosted")
        await server.create_database(empty, "template0")


async def test_a_login_is_made_for_the_server(server: PostgresServer, own_database: str) -> None:
    superuser = server.dsn(own_database, "postgres")
    for password in ("first", 'it\'s "quoted" \\ and 100%'):
        await create_login(superuser, "made_for_test", password)
    try:
        db = await Database.open(server.dsn(own_database, "made_for_test"))
        assert await db.check() == []
        await db.close()
        for name in ("Robert'); drop", "", "x" * 64, "a b"):
            with pytest.raises(ConfigError):
                await create_login(superuser, name, "x")
    finally:
        await server.execute("drop role made_for_test")


BREAKAGE = {
    "rls_missing": "alter table ownkey.credentials no force row level security",
    "rls_missing for a new table": "create table ownkey_private.forgotten (); ",
    "schema_outdated": "set session_replication_role = replica; delete from ownkey_private.schema_migrations",
    "schema_changed": "update ownkey_private.schema_migrations set sha256 = 'x' where version like '%0100'",
    "schema_newer": "insert into ownkey_private.schema_migrations values ('29990101000000', 'x', 'x')",
    "index_invalid": "update pg_index set indisvalid = false where indexrelid = 'ownkey.usage_daily_day'::regclass",
    "partition_missing": "drop table ownkey_private.usage_events_default, ownkey_private.{next_partition}",
}


@pytest.mark.parametrize("code", list(BREAKAGE))
async def test_the_check_sees_a_broken_schema(server: PostgresServer, own_database: str, code: str) -> None:
    connection = await asyncpg.connect(server.dsn(own_database, "postgres"))
    next_partition = await connection.fetchval(
        "select 'usage_events_' || to_char((now() at time zone 'UTC') + interval '1 month', 'YYYY_MM')"
    )
    await connection.execute(BREAKAGE[code].replace("{next_partition}", next_partition))
    await connection.close()
    db = await Database.open(server.dsn(own_database))
    findings = await db.check()
    await db.close()
    assert [finding.code for finding in findings] == [code.split()[0]]


async def test_the_check_sees_a_database_without_schema(server: PostgresServer, empty: str) -> None:
    db = await Database.open(server.dsn(empty))
    assert [finding.code for finding in await db.check()] == ["schema_missing"]
    with pytest.raises(StorageError) as refused:
        await snapshots.load_snapshot(db, "ann")
    assert refused.value.code == "schema_outdated"
    await db.close()


async def test_the_check_sees_a_login_with_wrong_rights(server: PostgresServer, own_database: str) -> None:
    async def findings(login: str) -> set[tuple[str, str]]:
        db = await Database.open(server.dsn(own_database, login))
        try:
            return {(finding.level, finding.code) for finding in await db.check()}
        finally:
            await db.close()

    assert await findings(LOGIN) == set()
    assert await findings("postgres") == {("error", "login_is_superuser")}
    await server.execute("create role bare login; create role half login; grant ownkey_gateway to half")
    try:
        assert ("error", "role_missing") in await findings("half")
        assert ("error", "role_missing") in await findings("bare")
        await server.execute("alter role ownkey_gateway bypassrls")
        assert await findings(LOGIN) == {("error", "role_unsafe")}
    finally:
        await server.execute("alter role ownkey_gateway nobypassrls; drop role bare; drop role half")


def test_migrations_hold_no_superuser_statement() -> None:
    """What a hosted database refuses: extensions, superuser attributes, ownership games."""
    for migration in load_migrations():
        code = re.sub(r"--[^\n]*", "", migration.text)
        assert not re.search(r"\b(create extension|superuser|alter system|owner to)\b", code.replace("rolsuper", "")), (
            migration.name
        )
        assert code.count("set role ownkey_owner;") == code.count("reset role;") == 1
