"""The users themselves: created, made administrators, suspended, deleted. For operators, not for the users."""

from __future__ import annotations

from ownkey.domain.audit import AuditAction
from ownkey.domain.budget import check_group
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import NotFound
from ownkey.services.changes import Changes
from ownkey.services.erasure import ErasureReceipt, erase
from ownkey.storage import users as rows
from ownkey.storage.users import User


class UserService:
    """Every change and its audit row are one transaction. `actor` is who the audit names."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def create(self, user_id: str, *, role: Role = Role.USER, actor: str | None = None) -> User:
        """The user, who exists from now on. Somebody who existed keeps their role. Raises RequestError."""
        async with self._changes.begin(user_id, actor, role=role) as change:
            return await _get(change.tx, user_id)

    async def get(self, user_id: str) -> User:
        """One user. Raises NotFound."""
        async with self._changes.read(user_id) as tx:
            return await _get(tx, user_id)

    async def list_users(self, admin_id: str, *, after: str | None = None, limit: int = 100) -> list[User]:
        """A page of all users by id; whether `admin_id` may ask is the caller's to check."""
        async with self._changes.oversee(admin_id) as tx:
            return await rows.list_users(tx, after=after or "", limit=limit)

    async def set_role(self, user_id: str, role: Role, *, actor: str | None = None) -> User:
        """Make somebody an administrator or an ordinary user. Their tokens lose no scope. Raises NotFound."""
        async with self._changes.begin(user_id, actor, create=False) as change:
            await _get(change.tx, user_id)
            if await rows.set_user_role(change.tx, user_id, Role(role)):
                await change.record(AuditAction.USER_UPDATED, user_id, role=Role(role).value)
            return await _get(change.tx, user_id)

    async def set_status(self, user_id: str, status: UserStatus, *, actor: str | None = None) -> User:
        """Suspend somebody (no token of theirs works from now on) or let them in again. Raises NotFound."""
        async with self._changes.begin(user_id, actor, create=False) as change:
            await _get(change.tx, user_id)
            if await rows.set_user_status(change.tx, user_id, UserStatus(status)):
                await change.record(AuditAction.USER_UPDATED, user_id, status=UserStatus(status).value)
            return await _get(change.tx, user_id)

    async def set_group(self, user_id: str, group: str | None, *, actor: str | None = None) -> User:
        """Put somebody into a group, whose budget they share from now on; None: into none.

        Raises NotFound and RequestError.
        """
        wanted = None if group is None else check_group(group)
        async with self._changes.begin(user_id, actor, create=False) as change:
            await _get(change.tx, user_id)
            if await rows.set_user_group(change.tx, user_id, wanted):
                await change.record(AuditAction.USER_UPDATED, user_id, group=wanted)
            return await _get(change.tx, user_id)

    async def delete(self, user_id: str, *, actor: str | None = None) -> ErasureReceipt:
        """Erase somebody with all rows of theirs. Their data key goes too, so no backup of a sealed secret opens.

        The audit chain keeps its entries: it shows that there was somebody, and no secret. Raises NotFound.
        """
        async with self._changes.begin(user_id, actor, create=False) as change:
            await _get(change.tx, user_id)
            return await erase(change)


async def _get(tx: object, user_id: str) -> User:
    user = await rows.find_user(tx, user_id)
    if user is None:
        raise NotFound("There is no such user.", code="user_not_found")
    return user
