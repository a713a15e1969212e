"""Signing in with a login and a password, and proving again who one is."""

from __future__ import annotations

import logging
from typing import Any, Final

from ownkey.crypto.password_hash import needs_rehash
from ownkey.domain.account import Account, clean_login, clean_password
from ownkey.domain.audit import AuditAction
from ownkey.domain.user import UserStatus
from ownkey.errors import AuthError, PermissionDenied, RequestError, TooManyAttempts
from ownkey.services.address_limit import AddressLimit
from ownkey.services.changes import Change, Changes
from ownkey.services.password_work import PasswordWork
from ownkey.services.sessions import SessionService, StartedSession, Visitor
from ownkey.storage import accounts as rows
from ownkey.storage.accounts import Attempt, BegunSignIn
from ownkey.storage.database import Database
from ownkey.storage.links import drop_unused_links
from ownkey.storage.sessions import end_sessions

_FAILED: Final = "The login or the password is wrong."

logger = logging.getLogger(__name__)


class SignInService:
    """Unknown login, wrong password and an account without a password are the same to whoever asks: in words, in
    the work that is done, and in how attempts are counted.
    """

    def __init__(
        self,
        changes: Changes,
        database: Database,
        sessions: SessionService,
        passwords: PasswordWork,
        addresses: AddressLimit,
    ) -> None:
        self._changes, self._database, self._sessions = changes, database, sessions
        self._passwords, self._addresses = passwords, addresses

    async def sign_in(self, login: str, password: str, visitor: Visitor) -> StartedSession:
        """A new session.

        Raises AuthError(sign_in_failed), TooManyAttempts, PermissionDenied(user_suspended) and StorageError.
        """
        self._take_token(visitor)
        try:
            login = clean_login(login)
        except RequestError:
            _tell(visitor, "no login can be so")
            raise AuthError(_FAILED, code="sign_in_failed") from None
        begun = await self._check(login, password, visitor)
        account = begun.account
        if account is None or account.password_hash is None:
            raise AuthError(_FAILED, code="sign_in_failed")
        if account.status is not UserStatus.ACTIVE:
            _tell(visitor, "suspended", account.user_id)
            raise PermissionDenied("This user is suspended. Ask the administrator.", code="user_suspended")
        renewed = await self._rehash(account.password_hash, password)
        async with self._changes.begin(account.user_id, create=False) as change:
            await rows.clear_attempts(change.tx, login)
            if renewed is not None:
                await rows.renew_password_hash(change.tx, renewed, account.password_hash)
            failed = begun.attempt.failed_count - 1
            details: dict[str, Any] = {"failed_attempts_before": failed} if failed else {}
            started = await self._sessions.insert(change, visitor, method="password", **details)
        self._addresses.give_back(visitor.address)
        return await self._sessions.finish_start(started, visitor)

    async def confirm(self, user_id: str, session_id: str, password: str, visitor: Visitor) -> StartedSession:
        """Prove again who one is: the same session, fresh, with another token.

        Raises AuthError(sign_in_failed, session_ended), TooManyAttempts, RequestError(no_password).
        """
        await self._verify_own(user_id, password, visitor)
        async with self._changes.begin(user_id, create=False) as change:
            await rows.clear_attempts(change.tx, _confirmations_of(user_id))
            return await self._sessions.renew(change, session_id)

    async def change_password(
        self, user_id: str, session_id: str, current: str, new: str, visitor: Visitor
    ) -> StartedSession:
        """Another password. All other sessions of the user end; this one goes on with another token.

        Raises as `confirm`, and RequestError(password_refused).
        """
        account = await self._find_own(user_id)
        await self._verify_own(user_id, current, visitor)
        hashed = await self._passwords.hash_new(new, login=account.login)
        async with self._changes.begin(user_id, create=False) as change:
            for name in (account.login, _confirmations_of(user_id)):
                await rows.clear_attempts(change.tx, name)
            # A link that somebody else may hold must not set yet another one.
            await drop_unused_links(change.tx)
            await store_password(change, hashed, keep=session_id)
            return await self._sessions.renew(change, session_id)

    async def find_account(self, user_id: str) -> Account | None:
        """With what the user signs in here; None for somebody who comes in another way."""
        async with self._changes.read(user_id) as tx:
            return await rows.find_account(tx)

    async def _find_own(self, user_id: str) -> Account:
        account = await self.find_account(user_id)
        if account is None or account.password_hash is None:
            raise RequestError("You have no password here: you sign in another way.", code="no_password")
        return account

    async def _verify_own(self, user_id: str, password: str, visitor: Visitor) -> None:
        """Somebody who is signed in, once more. Counted apart: who guesses at the door keeps nobody out here."""
        account = await self._find_own(user_id)
        self._take_token(visitor)
        self._passwords.refuse_when_full()
        async with self._changes.read(user_id) as tx:
            attempt = await rows.take_attempt(tx, _confirmations_of(user_id))
        _refuse_locked(attempt, visitor, user_id)
        if not await self._passwords.verify(account.password_hash, clean_password(password)):
            _tell(visitor, "wrong password of somebody who is signed in", user_id)
            raise AuthError("The password is wrong.", code="sign_in_failed")
        self._addresses.give_back(visitor.address)

    def _take_token(self, visitor: Visitor) -> None:
        try:
            self._addresses.take(visitor.address)
        except TooManyAttempts:
            _tell(visitor, "too many attempts from there")
            raise

    async def _check(self, login: str, password: str, visitor: Visitor) -> BegunSignIn:
        """Count the attempt, then try it. What comes back without an account has failed. Raises TooManyAttempts."""
        self._passwords.refuse_when_full()
        begun = await rows.begin_sign_in(self._database, login)
        # Nobody's account is looked at while a login is locked.
        _refuse_locked(begun.attempt, visitor)
        user_id = begun.account.user_id if begun.account is not None else None
        stored = begun.account.password_hash if begun.account is not None else None
        if await self._passwords.verify(stored, clean_password(password)):
            return begun
        _tell(visitor, "wrong password" if stored is not None else "unknown login, or one without a password", user_id)
        return BegunSignIn(begun.attempt, None)

    async def _rehash(self, stored: str, password: str) -> str | None:
        return await self._passwords.hash(clean_password(password)) if needs_rehash(stored) else None


def _tell(visitor: Visitor, reason: str, user_id: str | None = None) -> None:
    """For whoever watches over the server. Never what was typed as a login: people type passwords there."""
    logger.warning(
        "sign-in refused: %s; user %s, address %s",
        reason,
        "not known" if user_id is None else repr(user_id),
        visitor.address or "not known",
    )


def _refuse_locked(attempt: Attempt, visitor: Visitor, user_id: str | None = None) -> None:
    """Raises TooManyAttempts while an attempt must not be tried."""
    if attempt.wait_seconds > 0:
        _tell(visitor, "too many attempts with this login", user_id)
        raise TooManyAttempts(
            "Too many attempts with this login. Wait before you try again.", retry_after_seconds=attempt.wait_seconds
        )


def _confirmations_of(user_id: str) -> str:
    """The name under which a user's confirmations are counted. No login holds a control character."""
    return f"confirm\x1f{user_id}"


async def store_password(change: Change, hashed: str, *, keep: str | None = None) -> None:
    """A new password for the change's user; whoever was signed in here with the old one is not any more, but `keep`."""
    await rows.set_password_hash(change.tx, hashed)
    ended = await end_sessions(change.tx, keep=keep)
    await change.record(AuditAction.PASSWORD_CHANGED, change.user_id, sessions_ended=ended)
