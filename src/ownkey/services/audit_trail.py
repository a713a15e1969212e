"""Reading the audit chain: a user their own part, an administrator all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from ownkey.domain.audit import AuditEntry
from ownkey.services.changes import Changes
from ownkey.services.csv_table import write_table
from ownkey.storage import audit as rows

PAGE_LIMIT: Final = 500
EXPORT_LIMIT: Final = 50_000


class Verification(Struct, frozen=True, kw_only=True):
    """What recomputing the chains found. `first_broken` None: every entry is as it was written."""

    ok: bool
    chains: int
    entries: int
    first_broken: rows.AuditFault | None


class AuditTrail:
    """Newest first, in pages: `before` is the id of the last entry of the page before."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._verifying: asyncio.Task[Verification] | None = None

    async def list_entries(self, user_id: str, *, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
        """What was done to the user's rows, by whomever."""
        async with self._changes.read(user_id) as tx:
            return await rows.list_entries(tx, limit=min(limit, PAGE_LIMIT), before=before)

    async def list_all(
        self,
        admin_id: str,
        *,
        user_id: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[AuditEntry]:
        """What was done by anybody to anybody, or only some of it. Whether somebody may ask is the caller's to check.

        `action` is one of `AuditAction`, or the first word of several; `end` is the first moment that is left out.
        """
        async with self._changes.oversee(admin_id) as tx:
            return await rows.search_entries(
                tx,
                user_id=user_id,
                actor=actor,
                action=action,
                start=start,
                end=end,
                limit=min(limit, EXPORT_LIMIT),
                before=before,
            )

    async def verify(self) -> Verification:
        """Recompute every chain. Of several who ask at once, one makes the database do it. Raises StorageError."""
        if self._verifying is None:
            self._verifying = asyncio.create_task(self._verify())
            self._verifying.add_done_callback(self._verified)
        return await asyncio.shield(self._verifying)

    async def _verify(self) -> Verification:
        fault = await rows.verify(self._changes.database)
        heads = await rows.list_heads(self._changes.database)
        return Verification(
            chains=len(heads), entries=sum(head.position for head in heads), first_broken=fault, ok=fault is None
        )

    def _verified(self, task: asyncio.Task[Verification]) -> None:
        self._verifying = None
        if not task.cancelled():
            task.exception()  # whoever asked may have left: it is not "never retrieved"


def write_audit_csv(entries: Sequence[AuditEntry]) -> str:
    """Entries as a table; the details are JSON."""
    columns = ("id", "occurred_at", "actor", "user_id", "action", "subject", "details", "chain", "position")
    return write_table(
        columns,
        (
            (
                one.id,
                one.occurred_at.isoformat(),
                one.actor,
                one.user_id,
                one.action.value,
                one.subject,
                msgspec.json.encode(one.details).decode(),
                one.chain,
                one.position,
            )
            for one in entries
        ),
    )
