"""A database that is away is one error with a Retry-After, and is used again as soon as it is back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import asyncpg
import pytest

from ownkey.errors import OwnkeyError, StorageError
from ownkey.storage import snapshots, users
from ownkey.storage.database import Database
from ownkey.storage.migrate import migrate, pending
from tests.postgres.people import Store
from tests.servers import PostgresServer, start_wheel_postgres


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with start_wheel_postgres() as running:
        yield running


def check_away(error: OwnkeyError) -> None:
    assert isinstance(error, StorageError)
    assert (error.code, error.status, error.retry_after_seconds) == ("database_unavailable", 503, 2)
    assert "postgres" not in error.message.lower()


async def test_a_crash_is_survived_by_the_pool(mortal: PostgresServer) -> None:
    db = await Database.open(mortal.dsn("ownkey_template"), pool_size=4)
    await Store(db).add_person("ann")
    with pytest.raises(StorageError) as lost:
        async with db.transaction("ann") as tx:
            await users.bump_generation(tx, "ann")
            await asyncio.to_thread(mortal.stop, "immediate")
            await users.bump_generation(tx, "ann")
    check_away(lost.value)
    for attempt in (
        snapshots.load_snapshot(db, "ann"),
        snapshots.load_generations(db, ["ann"]),
        db.ping(),
        db.check(),
        _read(db),
        Database.open(mortal.dsn("ownkey_template")),
        migrate(mortal.dsn("ownkey_template", "postgres")),
        pending(mortal.dsn("ownkey_template", "postgres")),
    ):
        with pytest.raises(StorageError) as away:
            await attempt
        check_away(away.value)
    await asyncio.to_thread(mortal.start)
    assert await snapshots.load_snapshot(db, "ann") is not None
    assert {user.id for user in await asyncio.gather(*(_read(db) for _ in range(8)))} == {"ann"}
    await db.close()
    with pytest.raises(StorageError) as closed:
        await db.ping()
    check_away(closed.value)


async def _read(db: Database) -> users.User:
    async with db.transaction("ann") as tx:
        found = await users.find_user(tx, "ann")
        assert found is not None
        return found


async def test_a_terminated_connection_costs_one_request_at_most(store: Store, superuser: asyncpg.Connection) -> None:
    await store.add_person("ann")
    await superuser.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'ownkey' and datname = current_database() and pid <> pg_backend_pid()"
    )
    failures = 0
    for _ in range(20):
        try:
            assert await snapshots.load_snapshot(store.db, "ann") is not None
        except StorageError as error:
            check_away(error)
            failures += 1
    assert failures <= 8, "at most one per connection of the pool"


async def test_where_nothing_listens_and_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ownkey.storage.database._CONNECT_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_port = silent.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as closed:
            closed_port = closed.getsockname()[1]
        for port in (closed_port, silent_port):
            with pytest.raises(StorageError) as away:
                await Database.open(f"postgresql://x@127.0.0.1:{port}/x")
            check_away(away.value)


async def test_a_login_or_database_that_is_refused_says_nothing_more(server: PostgresServer) -> None:
    for dsn in (server.dsn("no_such_database"), server.dsn("postgres", "no_such_login")):
        with pytest.raises(StorageError) as away:
            await Database.open(dsn)
        check_away(away.value)


async def test_a_full_pool_is_an_outage_and_not_a_hang(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ownkey.storage.database._ACQUIRE_TIMEOUT_SECONDS", 0.05)
    db = await Database.open(dsn, pool_size=1)
    async with db.transaction("ann"):
        with pytest.raises(StorageError) as away:
            await db.ping()
        check_away(away.value)
    await db.ping()
    await db.close()


async def test_errors_of_the_caller_pass_unchanged(db: Database) -> None:
    for error in (ValueError("x"), TimeoutError("x"), FileNotFoundError("x"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            async with db.transaction("ann"):
                raise error
    await db.ping()


async def test_what_is_left_open_on_a_connection_is_rolled_back_with_its_identity(dsn: str) -> None:
    db = await Database.open(dsn, pool_size=1)
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    try:
        async with db._connection() as connection:
            first = await connection.fetchval("select pg_backend_pid()")
            await connection.execute("begin")
            await connection.execute("select set_config('request.jwt.claims', '{\"sub\": \"ann\"}', true)")
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert len(reports) == 1, "asyncpg says that it met an open transaction"
    async with db._connection() as connection:
        assert await connection.fetchval("select pg_backend_pid()") == first
        assert not connection.is_in_transaction()
        assert await connection.fetchval("select ownkey.current_user_id()") is None
    await db.close()


async def test_who_is_cancelled_while_the_server_goes_hears_of_that_alone(mortal: PostgresServer) -> None:
    """Else a loop in the background takes it for an outage, tries again, and whoever ends it waits for ever."""
    db = await Database.open(mortal.dsn("ownkey_template"), pool_size=8)
    running = [asyncio.ensure_future(_sleep(db)) for _ in range(8)]
    async with asyncio.timeout(20):
        while await _sleepers(mortal) < 8:
            await asyncio.sleep(0.01)
    stopping = asyncio.ensure_future(asyncio.to_thread(mortal.stop, "immediate"))
    for task in running:
        task.cancel()
    ended = await asyncio.gather(*running, return_exceptions=True)
    await stopping
    assert [type(one) for one in ended] == [asyncio.CancelledError] * 8
    await db.close()


async def _sleep(db: Database) -> None:
    async with db.transaction("ann") as tx:
        await tx.execute("select pg_sleep(60)")


async def _sleepers(server: PostgresServer) -> int:
    connection = await asyncpg.connect(server.dsn("ownkey_template", "postgres"))
    try:
        return int(await connection.fetchval("select count(*) from pg_stat_activity where wait_event = 'PgSleep'"))
    finally:
        await connection.close()
