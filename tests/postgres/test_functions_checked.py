"""Every plpgsql function is read by `plpgsql_check`, which knows the columns and types behind each statement in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest
import pytest_asyncio

from tests.servers import PostgresServer

_FINDINGS: Final = """
select p.oid::regprocedure::text as name, t.level, t.message
from pg_proc p
join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
left join lateral (
    -- The tables that a statement's trigger compares have names only in the trigger.
    select tgrelid, tgoldtable, tgnewtable from pg_trigger where tgfoid = p.oid and not tgisinternal limit 1
) g on true
cross join lateral checks.plpgsql_check_function_tb(
    p.oid, coalesce(g.tgrelid, 0)::regclass, oldtable => g.tgoldtable, newtable => g.tgnewtable,
    performance_warnings => false, security_warnings => true
) t
where p.pronamespace in ('ownkey'::regnamespace, 'ownkey_private'::regnamespace)
order by 1, 3
"""
# A local of `json_to_recordset` is copied into a record whose columns have the wider type.
_HARMLESS: Final = {("warning", "target type is different type than source type")}


@pytest_asyncio.fixture
async def checked(server: PostgresServer, own_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser in a database of its own that has the extension; the embedded server does not ship it."""
    connection = await asyncpg.connect(server.dsn(own_database, "postgres"))
    try:
        if not await connection.fetchval("select count(*) from pg_available_extensions where name = 'plpgsql_check'"):
            pytest.skip("plpgsql_check is not installed (Debian: postgresql-15-plpgsql-check)")
        await connection.execute("create schema checks; create extension plpgsql_check schema checks")
        yield connection
    finally:
        await connection.close()


async def find(connection: asyncpg.Connection) -> list[tuple[str, str, str]]:
    rows = await connection.fetch(_FINDINGS)
    return [tuple(row) for row in rows if (row["level"], row["message"]) not in _HARMLESS]


async def test_no_function_has_a_fault(checked: asyncpg.Connection) -> None:
    assert await find(checked) == []


async def test_a_fault_would_be_found(checked: asyncpg.Connection) -> None:
    await checked.execute(
        "create function ownkey_private.faulty() returns text language plpgsql as "
        "$$ begin return (select no_such_column from ownkey.users); end $$"
    )
    assert [(name, level) for name, level, _ in await find(checked)] == [("ownkey_private.faulty()", "error")]
