"""Two servers and a PgBouncer per worker; tests share a database that is emptied after each."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from ownkey.storage.database import Database
from ownkey.storage.migration_files import load_migrations
from tests.postgres.people import Store
from tests.servers import PostgresServer, start_debian_postgres, start_pgbouncer, start_wheel_postgres

_numbers = itertools.count(1)

# As a replica no trigger runs: not those that cascade, and not those that keep the audit chain.
CLEAN = """
set session_replication_role = replica;
do $$
declare
    name text;
begin
    for name in
        select c.oid::regclass::text from pg_class c
        where c.relnamespace in ('ownkey'::regnamespace, 'ownkey_private'::regnamespace) and c.relkind in ('r', 'p')
            and not c.relispartition and c.relname not in ('schema_migrations', 'audit_heads')
    loop
        execute 'delete from ' || name;
    end loop;
end
$$;
insert into ownkey_private.audit_heads
    select number, 0, sha256(convert_to('ownkey-audit-v1 chain ' || number, 'UTF8')) from generate_series(0, 7) number
    on conflict (chain) do update set position = excluded.position, hash = excluded.hash;
"""


@pytest.fixture(scope="session", params=["pg15", "pg18"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The oldest and the newest PostgreSQL that is supported."""
    start = start_debian_postgres if request.param == "pg15" else start_wheel_postgres
    with start() as running:
        yield running


@pytest.fixture(scope="session")
def pgbouncer(server: PostgresServer) -> Iterator[Path]:
    """The socket directory of a PgBouncer in transaction mode in front of `server`."""
    with start_pgbouncer(server) as socket_dir:
        yield socket_dir


@pytest_asyncio.fixture(scope="session")
async def shared_name(server: PostgresServer) -> str:
    """One database for all tests that only write rows: making one takes longer than most of them."""
    name = "shared"
    await server.create_database(name)
    return name


@pytest_asyncio.fixture
async def database_name(server: PostgresServer, shared_name: str) -> AsyncIterator[str]:
    """A database with the schema and no rows."""
    yield shared_name
    await server.execute(CLEAN, shared_name)


@pytest_asyncio.fixture
async def own_database(server: PostgresServer) -> AsyncIterator[str]:
    """A database with the schema that a test may change."""
    name = f"own_{next(_numbers)}"
    await server.create_database(name)
    yield name
    await server.drop_database(name)


@pytest.fixture
def dsn(server: PostgresServer, database_name: str) -> str:
    """For the login with which the gateway connects."""
    return server.dsn(database_name)


@pytest.fixture
def superuser_dsn(server: PostgresServer, database_name: str) -> str:
    """For what only a test may do: look behind the wall, break things."""
    return server.dsn(database_name, "postgres")


@pytest_asyncio.fixture
async def db(dsn: str) -> AsyncIterator[Database]:
    opened = await Database.open(dsn, pool_size=8)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def pooled_db(pgbouncer: Path, database_name: str, server: PostgresServer) -> AsyncIterator[Database]:
    """The same database through PgBouncer in transaction mode."""
    direct = server.dsn(database_name)
    opened = await Database.open(direct.replace(str(server.socket_dir), str(pgbouncer)), pool_size=12, pooler=True)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def superuser(superuser_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(superuser_dsn)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def supabase(superuser: asyncpg.Connection) -> None:
    """What a Supabase project adds: the role of signed-in users, with the grants that our migration gives it."""
    with suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        await superuser.execute("create role authenticated nologin")
    grants = next(one for one in load_migrations() if one.name.endswith("_grant_supabase_clients.sql"))
    await superuser.execute(grants.text)


@pytest.fixture
def store(db: Database) -> Store:
    return Store(db)
