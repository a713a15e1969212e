"""Reading the audit chain: a user their own part, an administrator all of it."""

from __future__ import annotations

from typing import Final

from ownkey.domain.audit import AuditEntry
from ownkey.services.changes import Changes
from ownkey.storage import audit as rows

PAGE_LIMIT: Final = 500


class AuditTrail:
    """Newest first, in pages: `before` is the id of the last entry of the page before."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def list_entries(self, user_id: str, *, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
        """What was done to the user's rows, by whomever."""
        async with self._changes.read(user_id) as tx:
            return await rows.list_entries(tx, limit=min(limit, PAGE_LIMIT), before=before)

    async def list_all(
        self, admin_id: str, *, user_id: str | None = None, limit: int = 100, before: int | None = None
    ) -> list[AuditEntry]:
        """What was done by anybody to anybody, or to one user. Whether somebody may ask is the caller's to check."""
        if user_id is not None:
            return await self.list_entries(user_id, limit=limit, before=before)
        async with self._changes.oversee(admin_id) as tx:
            return await rows.list_entries(tx, limit=min(limit, PAGE_LIMIT), before=before)
