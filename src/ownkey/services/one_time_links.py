"""One-time links: how a person gets their first password, or a new one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from ownkey.crypto.tokens import LINK_PREFIX, hash_token, mint_token
from ownkey.domain.account import LinkPurpose, clean_login
from ownkey.domain.audit import AuditAction
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import Conflict, NotFound, PermissionDenied
from ownkey.services.changes import Change, Changes
from ownkey.services.expiry import utc_now
from ownkey.services.password_work import PasswordWork
from ownkey.services.sessions import SessionService, StartedSession, Visitor
from ownkey.services.sign_in import store_password
from ownkey.storage import accounts as account_rows
from ownkey.storage import links as rows
from ownkey.storage import users as user_rows
from ownkey.storage.database import Database
from ownkey.storage.links import PresentedLink

LINK_LIFETIME: Final = timedelta(hours=24)


class NewLink(Struct, frozen=True, kw_only=True):
    """A link just made. `text` is what follows `#link=` and cannot be had again."""

    text: str
    user_id: str
    login: str
    purpose: LinkPurpose
    expires_at: datetime

    def __repr__(self) -> str:
        return f"NewLink(user_id={self.user_id!r}, purpose={self.purpose.value!r})"

    def url(self, base_url: str) -> str:
        """The link under an address. The token is in the fragment, which no server and no log gets to see."""
        return f"{base_url.rstrip('/')}/#link={self.text}"


class OneTimeLinks:
    """A user has one link at most: a new one ends the one before. It lasts a day and works once."""

    def __init__(
        self,
        changes: Changes,
        database: Database,
        sessions: SessionService,
        passwords: PasswordWork,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._changes, self._database, self._now = changes, database, now
        self._sessions, self._passwords = sessions, passwords

    async def invite(
        self,
        user_id: str,
        *,
        login: str | None = None,
        role: Role | None = None,
        purpose: LinkPurpose = LinkPurpose.INVITE,
        actor: str | None = None,
    ) -> NewLink:
        """A user who is new, and the link with which they set their password.

        `role` is by default that of the user, or an ordinary user's. Raises Conflict(user_exists) for somebody who has
        a password or another role, Conflict(login_taken) and RequestError.
        """
        async with self._changes.begin(user_id, actor, role=role or Role.USER) as change:
            user = await user_rows.find_user(change.tx, user_id)
            if role is not None and user is not None and user.role is not role:
                raise Conflict(f"This user exists, with the role {user.role.value!r}.", code="user_exists")
            account = await account_rows.find_account(change.tx)
            if account is not None and account.password_hash is not None:
                raise Conflict("This user has a password already. Make a link to reset it.", code="user_exists")
            return await self._add(change, purpose, login)

    async def reset(self, user_id: str, *, actor: str | None = None) -> NewLink:
        """A link with which a user sets a new password; the old one works until then. Raises NotFound."""
        async with self._changes.begin(user_id, actor, create=False) as change:
            if await user_rows.find_user(change.tx, user_id) is None:
                raise NotFound("There is no such user.", code="user_not_found")
            return await self._add(change, LinkPurpose.RESET, None)

    async def renew_first(self, user_id: str, *, actor: str | None = None) -> NewLink | None:
        """Another link for the first administrator, if nobody has used the one that the first start printed."""
        async with self._changes.begin(user_id, actor, create=False) as change:
            account = await account_rows.find_account(change.tx)
            if account is None or account.password_hash is not None:
                return None
            if not await rows.has_unused_link(change.tx, LinkPurpose.FIRST_ADMIN):
                return None
            return await self._add(change, LinkPurpose.FIRST_ADMIN, None)

    async def check(self, token: str) -> PresentedLink:
        """What a link is for; `login` is what its user will sign in with. Raises NotFound(link_invalid)."""
        digest = hash_token(token, LINK_PREFIX)
        link = None if digest is None else await rows.load_link(self._database, digest)
        if link is None:
            raise _invalid()
        return link

    async def use(self, token: str, password: str, visitor: Visitor, *, login: str | None = None) -> StartedSession:
        """Set the password and sign in. Everybody who was signed in as this user is signed out.

        Raises NotFound(link_invalid), Conflict(login_taken), RequestError(password_refused) and
        PermissionDenied(user_suspended); nothing is used up then.
        """
        link = await self.check(token)
        if link.status is not UserStatus.ACTIVE:
            raise PermissionDenied("This user is suspended. Ask the administrator.", code="user_suspended")
        chosen = clean_login(login or link.login or link.user_id)
        hashed = await self._passwords.hash_new(password, login=chosen)
        digest = hash_token(token, LINK_PREFIX)
        async with self._changes.begin(link.user_id, create=False) as change:
            if digest is None or not await rows.take_link(change.tx, digest):
                raise _invalid()
            await account_rows.ensure_account(change.tx, link.user_id, chosen)
            await account_rows.set_login(change.tx, chosen)
            await rows.drop_unused_links(change.tx)
            for known in {chosen, link.login or chosen}:
                await account_rows.clear_attempts(change.tx, known)
            await change.record(AuditAction.LINK_USED, link.user_id, purpose=link.purpose.value)
            await store_password(change, hashed)
            started = await self._sessions.insert(change, visitor, method="link")
        return await self._sessions.finish_start(started, visitor)

    async def _add(self, change: Change, purpose: LinkPurpose, login: str | None) -> NewLink:
        chosen = clean_login(login or change.user_id)
        await account_rows.ensure_account(change.tx, change.user_id, chosen)
        if login is not None:
            await account_rows.set_login(change.tx, chosen)
        account = await account_rows.find_account(change.tx)
        await rows.drop_unused_links(change.tx)
        text, digest = mint_token(LINK_PREFIX)
        expires_at = self._now() + LINK_LIFETIME
        await rows.insert_link(change.tx, change.user_id, digest, purpose, expires_at)
        await change.record(AuditAction.LINK_CREATED, change.user_id, purpose=purpose.value)
        return NewLink(
            text=text,
            user_id=change.user_id,
            login=account.login if account is not None else chosen,
            purpose=purpose,
            expires_at=expires_at,
        )


def _invalid() -> NotFound:
    return NotFound("This link was used, has expired, or is not complete. Ask for a new one.", code="link_invalid")
