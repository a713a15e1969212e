"""The audit trail: appended in the transaction of what it speaks of, hash-chained, never changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from ownkey.domain.audit import AuditAction, AuditEntry
from ownkey.domain.audit_chain import hash_entry
from ownkey.storage.database import Database
from ownkey.storage.sql import query


class AuditHead(Struct, frozen=True, kw_only=True):
    """The end of a chain. A copy kept elsewhere shows whether a chain was rewritten as a whole."""

    chain: int
    position: int
    hash: bytes


class AuditStart(AuditHead, frozen=True, kw_only=True):
    """Behind which entry of a chain every one is sealed."""

    seal: bytes


class AuditRow(Struct, frozen=True, kw_only=True):
    """An entry as it is stored, with all that its hash covers. `seal` None: it has none.

    `occurred_at` None: what somebody has put there is no time that Python knows, such as infinity.
    """

    id: int
    chain: int
    position: int
    occurred_at: datetime | None
    actor: str
    user_id: str
    action: str
    subject: str | None
    details: str
    previous_hash: bytes
    hash: bytes
    seal: bytes | None = None


async def append(
    tx: Any,
    *,
    actor: str,
    user_id: str,
    action: AuditAction,
    subject: str | None,
    details: Mapping[str, Any],
) -> AuditRow:
    """Append a row; it commits or rolls back with the transaction, whose user must be `user_id`.

    The rows of a chain wait for one another, so append late in the transaction. `details` must not hold a secret.
    Gives the row as it was handed over, with the hash that follows from that: it is yet to be sealed.
    """
    text = msgspec.json.encode(dict(details), order="deterministic").decode()
    place = await tx.fetchrow(query("append_audit"), actor, user_id, str(action), subject, text)
    content = {"actor": actor, "user_id": user_id, "action": str(action), "subject": subject, "details": text}
    fields: dict[str, Any] = {**place, **content}
    previous_hash = fields.pop("previous_hash")
    return AuditRow(**fields, previous_hash=previous_hash, hash=hash_entry(previous_hash, **fields))


async def list_unsealed(tx: Any) -> list[AuditRow]:
    """What this transaction has appended by way of the database's own functions, and not sealed."""
    return [AuditRow(**row) for row in await tx.fetch(query("list_unsealed_audit"))]


async def seal(tx: Any, seals: Mapping[int, bytes]) -> None:
    """Seal entries of this transaction, by their ids."""
    sealed = await tx.fetchval(query("seal_audit"), list(seals), list(seals.values()))
    if sealed != len(seals):
        raise LookupError("an audit entry that was just appended is not there to be sealed")


async def lock_heads(tx: Any) -> list[AuditHead]:
    """The heads from which the seals are to begin; none where they have begun."""
    return [AuditHead(**row) for row in await tx.fetch(query("lock_audit_heads"))]


async def start_seals(tx: Any, seals: Mapping[int, bytes]) -> None:
    """From now on every entry is sealed. By chain, the seals of the heads that `lock_heads` gave."""
    await tx.fetchval(query("start_audit_seals"), list(seals), list(seals.values()))


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


async def read_rows(tx: Any, *, chunk: int) -> AsyncIterator[list[AuditRow]]:
    """All rows, chain by chain in their order, with the role `ownkey_auditor`."""
    cursor = await tx.cursor(query("read_audit"))
    while rows := await cursor.fetch(chunk):
        yield [AuditRow(**row) for row in rows]


async def read_starts(tx: Any) -> list[AuditStart]:
    """Where the seals of each chain begin, with the role `ownkey_auditor`."""
    return [AuditStart(**row) for row in await tx.fetch(query("list_audit_starts"))]


async def read_heads(tx: Any) -> list[AuditHead]:
    """The end of every chain, with the role `ownkey_auditor`."""
    return [AuditHead(**row) for row in await tx.fetch(query("list_audit_heads"))]


async def list_heads(db: Database) -> list[AuditHead]:
    """The end of every chain. Raises StorageError."""
    async with db.transaction(None, role="ownkey_auditor") as tx:
        return await read_heads(tx)
