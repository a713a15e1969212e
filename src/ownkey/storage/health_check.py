"""What start-up and `ownkey doctor` check in the database before they trust it."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from ownkey.storage.migration_files import load_migrations
from ownkey.storage.sql import query

OLDEST_VERSION: Final = 15


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be. An "error" keeps the server from starting."""

    level: Literal["error", "warning"]
    code: str
    message: str


async def find_faults(connection: Any) -> list[Finding]:
    """Check version, schema, row-level security and the rights of the login of this connection.

    `connection` is inside a transaction that did not take an identity.
    """
    version = int(await connection.fetchval(query("server_version"))) // 10_000
    if version < OLDEST_VERSION:
        return [_error("postgres_too_old", f"PostgreSQL {OLDEST_VERSION} or newer is needed; this is {version}.")]
    if not await connection.fetchval(query("has_migrations_table")):
        return [_error("schema_missing", "The database has no schema of Ownkey's. Run `ownkey migrate`.")]
    found = await _check_login(connection)
    if any(finding.code == "role_missing" for finding in found):
        return found
    schema = await _check_schema(connection)
    return found + (schema or await _check_rows(connection))


async def _check_login(connection: Any) -> list[Finding]:
    login = await connection.fetchrow(query("describe_login"))
    found = []
    if login["is_superuser"]:
        found.append(
            _error(
                "login_is_superuser",
                f"The server connects as {login['name']}, a superuser, for whom row-level security does not exist. "
                "Create a login of its own with `ownkey migrate --create-login`.",
            )
        )
    elif login["bypasses_rls"]:
        found.append(
            _warning(
                "login_bypasses_rls",
                f"The login {login['name']} may bypass row-level security. Every transaction leaves it for a role "
                "that may not, but a login without that right is safer.",
            )
        )
    if login["owns_tables"] and not login["is_superuser"]:
        found.append(_warning("login_is_owner", f"The login {login['name']} is a member of the tables' owner."))
    if login["missing_roles"]:
        names = ", ".join(login["missing_roles"])
        found.append(_error("role_missing", f"The login {login['name']} is not a member of: {names}."))
    if login["unsafe_roles"]:
        names = ", ".join(login["unsafe_roles"])
        found.append(_error("role_unsafe", f"These roles can pass row-level security by and must not: {names}."))
    return found


async def _check_schema(connection: Any) -> list[Finding]:
    migrations = load_migrations()
    await connection.fetchrow(query("set_identity"), "ownkey_gateway", "{}")
    applied = {row["version"]: row["sha256"] for row in await connection.fetch(query("list_applied_migrations"))}
    await connection.fetchrow(query("set_identity"), "none", "{}")
    pending = [migration for migration in migrations if migration.version not in applied]
    changed = [m.name for m in migrations if m.version in applied and applied[m.version] != m.sha256]
    unknown = sorted(applied.keys() - {migration.version for migration in migrations})
    if changed:
        return [_error("schema_changed", f"Applied migrations were changed afterwards: {', '.join(changed)}.")]
    if pending:
        names = ", ".join(migration.name for migration in pending)
        return [_error("schema_outdated", f"Migrations have not been applied: {names}. Run `ownkey migrate`.")]
    if unknown:
        return [_warning("schema_newer", f"The schema knows migrations of a newer version: {', '.join(unknown)}.")]
    return []


async def _check_rows(connection: Any) -> list[Finding]:
    found = [
        _error("rls_missing", f"Row-level security is not enabled and forced on {row['name']}.")
        for row in await connection.fetch(query("list_unprotected_tables"))
    ]
    found += [
        _warning("index_invalid", f"The index {row['name']} is invalid. Run: reindex index {row['name']}")
        for row in await connection.fetch(query("list_invalid_indexes"))
    ]
    if not await connection.fetchval(query("has_next_partition")):
        found.append(_warning("partition_missing", "There is no partition for next month's usage events."))
    return found


def _error(code: str, message: str) -> Finding:
    return Finding(level="error", code=code, message=message)


def _warning(code: str, message: str) -> Finding:
    return Finding(level="warning", code=code, message=message)
