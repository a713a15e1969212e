"""Brings a database to this version's schema."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from ownkey.errors import ConfigError, StorageError
from ownkey.storage.failures import storage_errors
from ownkey.storage.health_check import OLDEST_VERSION
from ownkey.storage.migration_files import Migration, load_migrations
from ownkey.storage.sql import query

# Any fixed number: all processes that migrate one database have to take the same.
_LOCK: Final = 0x6F776E6B6579
_CONNECT_TIMEOUT_SECONDS: Final = 10.0
# Requests queue behind a migration that waits for a table.
_LOCK_WAIT: Final = "5s"
_LOGIN: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


async def migrate(
    dsn: str,
    on_step: Callable[[str], None] | None = None,
    *,
    migrations: Sequence[Migration] | None = None,
) -> list[str]:
    """Apply what is pending, each file in a transaction of its own; gives the names of those that were applied.

    `on_step` is called with a file's name before it is applied. Several processes may do this at once: each file is
    applied once. The first time, the login needs the right to create roles and schemas.

    Raises StorageError(database_unavailable, schema_changed, postgres_too_old, migration_failed).
    """
    files = load_migrations() if migrations is None else tuple(migrations)
    async with _connect(dsn) as connection:
        await _check_version(connection)
        return [migration.name for migration in files if await _apply(connection, migration, on_step)]


async def pending(dsn: str) -> list[str]:
    """The names of the files that have not been applied. Raises StorageError(database_unavailable, schema_changed)."""
    async with _connect(dsn) as connection:
        with storage_errors():
            async with connection.transaction():
                applied = await _read_applied(connection)
    for migration in load_migrations():
        _check_unchanged(migration, applied)
    return [migration.name for migration in load_migrations() if migration.version not in applied]


def export(directory: Path) -> list[Path]:
    """Write the migrations to a directory such as `supabase/migrations`; gives the files that are new or differ.

    Each file ends with a statement that records it, so that `ownkey migrate` and `ownkey doctor` know what the
    other tool has applied. Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for migration in load_migrations():
        path, text = directory / migration.name, migration.text + _record_statement(migration)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


async def create_login(dsn: str, name: str, password: str) -> None:
    """Create or renew a login for the server: no rights of its own, member of the roles that it switches to.

    `dsn` is the migrating login's. Raises ConfigError for a name that is not plain, StorageError.
    """
    if not _LOGIN.fullmatch(name):
        raise ConfigError("A login's name holds up to 63 lower-case letters, digits and '_'.")
    async with _connect(dsn) as connection:
        with storage_errors():
            async with connection.transaction():
                await connection.execute(await connection.fetchval(query("compose_login"), name, password))


@asynccontextmanager
async def _connect(dsn: str) -> AsyncIterator[Any]:
    with storage_errors(connecting=True):
        connection = await asyncpg.connect(
            dsn,
            timeout=_CONNECT_TIMEOUT_SECONDS,
            statement_cache_size=0,
            server_settings={"application_name": "ownkey"},
        )
    try:
        yield connection
    finally:
        with storage_errors(connecting=True):
            await connection.close(timeout=_CONNECT_TIMEOUT_SECONDS)


async def _check_version(connection: Any) -> None:
    with storage_errors():
        async with connection.transaction():
            version = int(await connection.fetchval(query("server_version"))) // 10_000
    if version < OLDEST_VERSION:
        raise StorageError(
            f"PostgreSQL {OLDEST_VERSION} or newer is needed; this is {version}.", code="postgres_too_old"
        )


async def _apply(connection: Any, migration: Migration, on_step: Callable[[str], None] | None) -> bool:
    """Apply one file unless it is there already.

    The lock is held for the transaction, not for the session, so a pooler may stand in between.
    """
    try:
        with storage_errors():
            async with connection.transaction():
                await connection.fetchval(query("lock_migrations"), _LOCK)
                applied = await _read_applied(connection)
                if migration.version in applied:
                    _check_unchanged(migration, applied)
                    return False
                if on_step is not None:
                    on_step(migration.name)
                await connection.fetchval(query("bound_lock_wait"), _LOCK_WAIT)
                await connection.execute(migration.text)
                await connection.execute("set local role ownkey_owner")
                await connection.execute(query("record_migration"), migration.version, migration.name, migration.sha256)
                return True
    except asyncpg.PostgresError as error:
        raise _failed(migration, error) from error
    except StorageError as error:
        if isinstance(error.__cause__, asyncpg.LockNotAvailableError):
            raise _blocked(migration) from error
        # A name that the file itself misspells looks like an outdated schema.
        if error.code == "schema_outdated":
            raise _failed(migration, error.__cause__) from error
        raise


async def _read_applied(connection: Any) -> dict[str, str]:
    """Version and hash of each applied file, read as the owner, which whoever migrates can become."""
    if not await connection.fetchval(query("has_migrations_table")):
        return {}
    await connection.execute("set local role ownkey_owner")
    rows = await connection.fetch(query("list_applied_migrations"))
    await connection.execute("set local role none")
    return {row["version"]: row["sha256"] for row in rows}


def _check_unchanged(migration: Migration, applied: dict[str, str]) -> None:
    recorded = applied.get(migration.version)
    if recorded is not None and recorded != migration.sha256:
        raise StorageError(
            f"{migration.name} was changed after it was applied. Migrations only go forward: add a new file.",
            code="schema_changed",
        )


def _failed(migration: Migration, cause: BaseException | None) -> StorageError:
    return StorageError(f"{migration.name} could not be applied and was rolled back: {cause}", code="migration_failed")


def _blocked(migration: Migration) -> StorageError:
    return StorageError(
        f"{migration.name} waited {_LOCK_WAIT} for a table that somebody else uses, and was rolled back so that no "
        "request queues behind it. End what holds it (pg_stat_activity names long transactions) and migrate again.",
        code="migration_failed",
    )


def _record_statement(migration: Migration) -> str:
    """Every part is made of digits, hexadecimal digits or the letters of a checked file name."""
    return (
        "\n-- Tells Ownkey that this file was applied.\nset role ownkey_owner;\n"  # nosec B608
        "insert into ownkey_private.schema_migrations (version, name, sha256)\n"
        f"    values ('{migration.version}', '{migration.name}', '{migration.sha256}')\n"
        "    on conflict (version) do nothing;\nreset role;\n"
    )
