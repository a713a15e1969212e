"""Erasing a user, and the receipt for it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ownkey.domain.audit import AuditAction
from ownkey.services.changes import Change
from ownkey.services.expiry import utc_now
from ownkey.storage import users as rows


class ErasureReceipt(Struct, frozen=True, kw_only=True):
    """What was destroyed, by whom, and the entry of the audit trail that says so: `hash` is that entry's own.

    `data_key`: there was one. Without it no copy of their API keys opens, whatever backup it comes from.
    """

    user_id: str
    erased_at: datetime
    erased_by: str
    credentials: int
    gateway_tokens: int
    sessions: int
    calls: int
    data_key: bool
    audit_id: int
    audit_chain: int
    audit_position: int
    audit_hash: str


async def erase(change: Change) -> ErasureReceipt:
    """Erase the user of this change with all that is theirs but the audit entries. They must exist."""
    held = await rows.count_holdings(change.tx)
    counted = {"credentials": held.credentials, "tokens": held.gateway_tokens, "calls": held.calls}
    entry = await change.record(AuditAction.USER_DELETED, change.user_id, **counted)
    await rows.delete_user(change.tx)
    return ErasureReceipt(
        user_id=change.user_id,
        erased_at=entry.occurred_at or utc_now(),
        erased_by=change.actor,
        credentials=held.credentials,
        gateway_tokens=held.gateway_tokens,
        sessions=held.sessions,
        calls=held.calls,
        data_key=held.data_key,
        audit_id=entry.id,
        audit_chain=entry.chain,
        audit_position=entry.position,
        audit_hash=entry.hash.hex(),
    )
