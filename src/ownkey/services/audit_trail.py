"""Reading the audit chain: a user their own part, an administrator all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from ownkey.crypto.audit_seal import AuditKey
from ownkey.domain.audit import AuditEntry
from ownkey.services.audit_anchors import AnchorFile
from ownkey.services.audit_verification import Verification, verify_audit
from ownkey.services.changes import Changes
from ownkey.services.csv_table import write_table
from ownkey.storage import audit as rows

PAGE_LIMIT: Final = 500
EXPORT_LIMIT: Final = 50_000


class AuditTrail:
    """Newest first, in pages: `before` is the id of the last entry of the page before."""

    def __init__(self, changes: Changes, key: AuditKey, anchors: AnchorFile | None = None) -> None:
        self._changes, self._key, self._anchors = changes, key, anchors
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
        """Recompute every chain, once for all who ask meanwhile. Raises StorageError, ConfigError."""
        if self._verifying is None:
            self._verifying = asyncio.create_task(verify_audit(self._changes.database, self._key, self._anchors))
            self._verifying.add_done_callback(self._verified)
        return await asyncio.shield(self._verifying)

    async def verify_against(self, anchors: Path) -> Verification:
        """The same against anchors that were kept elsewhere. Raises StorageError, ConfigError."""
        return await verify_audit(self._changes.database, self._key, AnchorFile(anchors, self._key))

    async def list_heads(self) -> list[rows.AuditHead]:
        """The end of every chain. Raises StorageError."""
        return await rows.list_heads(self._changes.database)

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
