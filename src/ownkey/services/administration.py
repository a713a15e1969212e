"""What administrators do to users. There is always one administrator left."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from ownkey.domain.audit import AuditAction
from ownkey.domain.budget import check_group
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import Conflict, NotFound
from ownkey.services.changes import Change, Changes
from ownkey.services.erasure import ErasureReceipt, erase
from ownkey.services.sessions import end_everything
from ownkey.storage import accounts as account_rows
from ownkey.storage import users as rows
from ownkey.storage.users import User


class Administration:
    """Every change and its audit row are one transaction. Whether `actor` may is the caller's to check."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def change_user(
        self,
        user_id: str,
        *,
        role: Role | None = None,
        status: UserStatus | None = None,
        group: str | UnsetType | None = UNSET,
        actor: str,
    ) -> User:
        """Another role, status or group, from now on in every process. Who is suspended is signed out as well.

        `group` None takes the user out of any. Raises NotFound(user_not_found), Conflict(last_administrator) and
        RequestError.
        """
        wanted_group = check_group(group) if isinstance(group, str) else None
        async with self._changes.begin(user_id, actor, create=False) as change:
            weaker = role is Role.USER or status is UserStatus.SUSPENDED
            await self._get(change, keep_an_administrator=weaker)
            if role is not None and await rows.set_user_role(change.tx, user_id, role):
                await change.record(AuditAction.USER_UPDATED, user_id, role=role.value)
            if status is not None and await rows.set_user_status(change.tx, user_id, status):
                await change.record(AuditAction.USER_UPDATED, user_id, status=status.value)
                if status is UserStatus.SUSPENDED:
                    await end_everything(change)
            if group is not UNSET and await rows.set_user_group(change.tx, user_id, wanted_group):
                await change.record(AuditAction.USER_UPDATED, user_id, group=wanted_group)
            return await self._get(change)

    async def delete_user(self, user_id: str, *, actor: str) -> ErasureReceipt:
        """Erase somebody with all that is theirs but the audit entries; gives a receipt.

        Raises NotFound(user_not_found) and Conflict(last_administrator).
        """
        async with self._changes.begin(user_id, actor, create=False) as change:
            await self._get(change, keep_an_administrator=True)
            return await erase(change)

    async def end_sessions(self, user_id: str, *, actor: str) -> int:
        """Sign somebody out everywhere; says how many sessions that were. Raises NotFound(user_not_found)."""
        async with self._changes.begin(user_id, actor, create=False) as change:
            await self._get(change)
            return await end_everything(change)

    async def _get(self, change: Change, *, keep_an_administrator: bool = False) -> User:
        others = 1
        if keep_an_administrator:
            # Before the user is read: whoever else changes administrators has finished by then.
            others = await account_rows.count_other_administrators(change.tx, change.user_id)
        user = await rows.find_user(change.tx, change.user_id)
        if user is None:
            raise NotFound("There is no such user.", code="user_not_found")
        if others == 0 and user.role is Role.ADMIN and user.status is UserStatus.ACTIVE:
            raise Conflict("This is the last administrator. Make another one first.", code="last_administrator")
        return user
