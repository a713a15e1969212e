"""The audit trail: appended in the transaction of what it speaks of, hash-chained, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from ownkey.domain.audit import AuditAction, AuditEntry
from ownkey.storage.database import Database
from ownkey.storage.sql import query


class AuditFault(Struct, frozen=True, kw_only=True):
    """Where a chain is broken: at this row or before it."""

    chain: int
    position: int
    reason: str


class AuditHead(Struct, frozen=True, kw_only=True):
    """The end of a chain. A copy kept elsewhere shows whether a chain was rewritten as a whole."""

    chain: int
    position: int
    hash: bytes


async def append(
    tx: Any,
    *,
    actor: str,
    user_id: str,
    action: AuditAction,
    subject: str | None,
    details: Mapping[str, Any],
) -> None:
    """Append a row; it commits or rolls back with the transaction, whose user must be `user_id`.

    The rows of a chain wait for one another, so append late in the transaction. `details` must not hold a secret.
    """
    text = msgspec.json.encode(dict(details), order="deterministic").decode()
    await tx.fetchval(query("append_audit"), actor, user_id, str(action), subject, text)


async def list_entries(tx: Any, *, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
    """Rows whose id is below `before`, the newest first: the user's own, or all with the role `ownkey_admin`."""
    return [_entry(row) for row in await tx.fetch(query("list_audit_entries"), before, limit)]


async def search_entries(
    tx: Any,
    *,
    limit: int,
    before: int | None = None,
    user_id: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[AuditEntry]:
    """The same of everybody, with the role `ownkey_admin`. `action` may be the first word of several; `end` is out."""
    found = await tx.fetch(query("search_audit"), before, limit, user_id, actor, action, start, end)
    return [_entry(row) for row in found]


async def count_recent(tx: Any, action: AuditAction, window: timedelta) -> int:
    """How many rows of the transaction's user say this action, as far back as the window reaches."""
    return int(await tx.fetchval(query("count_recent_audit"), str(action), window))


def _entry(row: Any) -> AuditEntry:
    details = msgspec.json.decode(row["details"])
    return AuditEntry(**{**row, "action": AuditAction(row["action"]), "details": details})


async def verify(db: Database) -> AuditFault | None:
    """The first row that is not as it was written, or None. Raises StorageError."""
    async with db.transaction(None, role="ownkey_auditor") as tx:
        rows = await tx.fetch(query("verify_audit"), timeout=600)
    return AuditFault(**rows[0]) if rows else None


async def list_heads(db: Database) -> list[AuditHead]:
    """The end of every chain. Raises StorageError."""
    async with db.transaction(None, role="ownkey_auditor") as tx:
        return [AuditHead(**row) for row in await tx.fetch(query("list_audit_heads"))]
