"""What `ownkey doctor` asks the database."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from ownkey.cli.check import Check, fail, ok, warn
from ownkey.cli.database_text import describe_database, explain
from ownkey.cli.doctor_webhook import check_webhook_delivery
from ownkey.cli.migrate import database_urls
from ownkey.config import Config
from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.key_ring import KeyRing
from ownkey.errors import CredentialUnreadable, DataKeyClosed, StorageError
from ownkey.services.vault import Vault
from ownkey.storage import credentials, data_keys
from ownkey.storage.database import Database
from ownkey.storage.health_check import Finding

# Token expiry, rate windows and JWTs compare the two clocks.
_CLOCK_WARN_SECONDS: Final = 2.0
_CLOCK_FAIL_SECONDS: Final = 30.0
# How many users to look at for one that has a sealed key.
_SAMPLE: Final = 20
_CLOCK: Final = "select clock_timestamp()"

# Which line a finding of the database belongs to, and what cures it.
_LINES: Final = {
    "PostgreSQL": ("postgres_too_old",),
    "schema": ("schema_missing", "schema_changed", "schema_outdated", "schema_newer"),
    "row-level security": ("rls_missing",),
    "runtime role": ("login_is_superuser", "login_bypasses_rls", "login_is_owner", "role_missing", "role_unsafe"),
    "indexes and partitions": ("index_invalid", "partition_missing"),
}
_GOOD: Final = {
    "PostgreSQL": "New enough.",
    "schema": "That of this version.",
    "row-level security": "Enabled and forced on every table.",
    "runtime role": "Owns nothing and cannot bypass row-level security.",
    "indexes and partitions": "All there.",
}
_ROWS: Final = frozenset({"row-level security", "indexes and partitions"})
# A finding after which the database was not asked about the rest, and what that rest is.
_UNSEEN: Final = {
    "postgres_too_old": _ROWS | {"schema", "runtime role"},
    "schema_missing": _ROWS | {"runtime role"},
    "role_missing": _ROWS | {"schema"},
    "schema_changed": _ROWS,
    "schema_outdated": _ROWS,
    "schema_newer": _ROWS,
}
_LOGIN_FIX: Final = "Run: ownkey migrate --create-login ownkey_server, and set OWNKEY_DATABASE_URL to what it prints."
# `{names}` is what the finding's message names at its end.
_FIXES: Final = {
    "postgres_too_old": "Upgrade PostgreSQL.",
    "schema_missing": "Run: ownkey migrate",
    "schema_changed": "Restore the released migration files, or the database that fits them.",
    "schema_outdated": "Run: ownkey migrate",
    "schema_newer": "Start the newer version of Ownkey that made it.",
    "rls_missing": "Run as the owner: alter table {names} enable row level security, force row level security",
    "login_is_superuser": _LOGIN_FIX,
    "login_bypasses_rls": _LOGIN_FIX,
    "login_is_owner": _LOGIN_FIX,
    "role_missing": _LOGIN_FIX,
    "role_unsafe": "Run for each: alter role {names} nosuperuser nobypassrls",
    "index_invalid": "Run: {names}",
    "partition_missing": "Restart Ownkey: it makes them at its start.",
}


async def check_database(config: Config, keys: KeyRing | None) -> list[Check]:
    """Reach the database and look at schema, rights, clock and sealed rows. Changes nothing."""
    name = "database"
    try:
        async with _connect(config) as database:
            checks = [ok(name, f"{describe_database(config)} answers.")]
            findings = await database.check()
            checks += _describe(findings)
            checks.append(await _check_clock(database))
            if not any(finding.code in _UNSEEN and finding.level == "error" for finding in findings):
                checks += await _check_sealed(config, database, keys)
                checks += await check_webhook_delivery(config, database)
            return checks
    except StorageError as error:
        return [fail(name, explain(config, error), _fix_connection(config))]


@asynccontextmanager
async def _connect(config: Config) -> AsyncIterator[Database]:
    """The pool of the server's own login."""
    async with database_urls(config) as (_, runtime):
        database = await Database.open(runtime, pool_size=1, pooler=config.database_pooler)
        try:
            yield database
        finally:
            await database.close()


def _fix_connection(config: Config) -> str:
    if config.embedded:
        return f"Read its log below {config.data_dir}/postgres."
    return "Check OWNKEY_DATABASE_URL, the network, and that PostgreSQL runs and lets this login in."


def _describe(findings: list[Finding]) -> list[Check]:
    """A line for each thing that was looked at, good or bad."""
    unseen = {name for finding in findings for name in _UNSEEN.get(finding.code, ())}
    checks = []
    for name, codes in _LINES.items():
        bad = [finding for finding in findings if finding.code in codes]
        if bad or name not in unseen:
            checks += [_line(name, finding) for finding in bad] or [ok(name, _GOOD[name])]
    known = {code for codes in _LINES.values() for code in codes}
    return checks + [_line("database", finding) for finding in findings if finding.code not in known]


def _line(name: str, finding: Finding) -> Check:
    level = fail if finding.level == "error" else warn
    names = re.split(r" on |: ", finding.message)[-1].rstrip(".")
    return level(name, finding.message, _FIXES.get(finding.code, "See the message.").format(names=names))


async def _check_clock(database: Database) -> Check:
    name = "clock"
    async with database.transaction(None) as tx:
        before = datetime.now(UTC)
        theirs: datetime = await tx.fetchval(_CLOCK)
        after = datetime.now(UTC)
    # The database looked at its clock somewhere between the two.
    seconds = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    message = f"{seconds:.1f} s from the database's."
    if seconds < _CLOCK_WARN_SECONDS:
        return ok(name, message)
    fix = "Set both clocks by NTP: timedatectl set-ntp true"
    return warn(name, message, fix) if seconds < _CLOCK_FAIL_SECONDS else fail(name, message, fix)


async def _check_sealed(config: Config, database: Database, keys: KeyRing | None) -> list[Check]:
    name = "sealed keys"
    if keys is None:
        return []
    async with database.transaction(None, role="ownkey_rotator") as tx:
        counts = await data_keys.count_by_wrapping_key(tx)
        sample = [await data_keys.lock_data_keys(tx, key_id, _SAMPLE) for key_id in counts]
    lost = {key_id: count for key_id, count in counts.items() if key_id not in keys.ids}
    if lost:
        listed = ", ".join(f"{key_id} ({count} data keys)" for key_id, count in lost.items())
        return [fail(name, f"Wrapping keys in use are missing: {listed}.", "Add them to OWNKEY_WRAPPING_KEYS.")]
    vault = Vault(DataKeys(keys, config.deployment_id), config.deployment_id)
    for user_id in (row.user_id for rows in sample for row in rows):
        opened = await _open_one(database, vault, user_id)
        if opened is False:
            return [
                fail(
                    name,
                    "A stored API key does not open.",
                    "Restore the wrapping key and OWNKEY_DEPLOYMENT_ID under which it was stored.",
                )
            ]
        if opened:
            return [ok(name, "A stored API key opens.")]
    return [ok(name, "Nothing is stored yet.")]


async def _open_one(database: Database, vault: Vault, user_id: str) -> bool | None:
    """Whether the user's first sealed secret opens; None when they have none."""
    async with database.transaction(user_id) as tx:
        for credential in await credentials.list_credentials(tx):
            sealed = await credentials.find_sealed(tx, credential.id)
            if sealed is None or not sealed.sealed:
                continue
            try:
                await vault.open(tx, user_id, sealed)
            except (CredentialUnreadable, DataKeyClosed):
                return False
            return True
    return None
