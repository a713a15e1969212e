"""Accounts: logins, password hashes, and the count of attempts to sign in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

from ownkey.domain.account import Account
from ownkey.domain.user import UserStatus
from ownkey.errors import Conflict
from ownkey.storage.database import Database
from ownkey.storage.sql import query


class Attempt(Struct, frozen=True):
    """An attempt to sign in, already counted. While `wait_seconds` is not 0, it must not be tried."""

    failed_count: int
    wait_seconds: float


class PresentedAccount(Struct, frozen=True):
    """The account that a login belongs to."""

    user_id: str
    password_hash: str | None
    status: UserStatus

    def __repr__(self) -> str:
        return f"PresentedAccount(user_id={self.user_id!r})"


class BegunSignIn(Struct, frozen=True):
    """What is known once a login was shown. `account` is None for a login that nobody has and while it is locked."""

    attempt: Attempt
    account: PresentedAccount | None


_BEGUN: Final = msgspec.json.Decoder(BegunSignIn)
_ATTEMPT: Final = msgspec.json.Decoder(Attempt)


async def begin_sign_in(db: Database, login: str) -> BegunSignIn:
    """Count an attempt with this login as failed, and read its account. Raises StorageError."""
    return _BEGUN.decode(await db.fetch_value("begin_sign_in", login))


async def take_attempt(tx: Any, name: str) -> Attempt:
    """Count an attempt as failed under a name that is no login's. It counts once the transaction is committed."""
    return _ATTEMPT.decode(await tx.fetchval(query("take_attempt"), name))


async def clear_attempts(tx: Any, login: str) -> None:
    """Forget the attempts with this login, or under this name: the last one succeeded."""
    await tx.fetchval(query("clear_sign_in_attempts"), login)


async def find_account(tx: Any) -> Account | None:
    """The account of the transaction's user."""
    row = await tx.fetchrow(query("find_account"))
    return None if row is None else Account(**row)


async def ensure_account(tx: Any, user_id: str, login: str, display_name: str | None = None) -> None:
    """Make an account without a password unless there is one. Raises Conflict(login_taken)."""
    with _unique_login():
        await tx.execute(query("insert_account"), user_id, login, display_name)


async def set_login(tx: Any, login: str) -> bool:
    """Another login for the transaction's user; says whether that changed anything. Raises Conflict(login_taken)."""
    with _unique_login():
        return await tx.fetchval(query("set_login"), login) is not None


async def set_password_hash(tx: Any, password_hash: str) -> bool:
    """A new password for the transaction's user; False where there is no account."""
    return await tx.fetchval(query("set_password_hash"), password_hash) is not None


async def renew_password_hash(tx: Any, password_hash: str, before: str) -> None:
    """The same password hashed anew, unless it was changed since `before` was read."""
    await tx.fetchval(query("renew_password_hash"), password_hash, before)


async def set_signed_out(tx: Any) -> None:
    """From now on, no token of the transaction's user is let in that a host application signed before."""
    await tx.execute(query("set_signed_out"))


async def find_signed_out(tx: Any) -> datetime | None:
    """When the transaction's user last signed out everywhere."""
    at: datetime | None = await tx.fetchval(query("find_signed_out"))
    return at


async def count_other_administrators(tx: Any, user_id: str) -> int:
    """Active administrators besides this user. Holds back others who ask until the transaction ends."""
    return int(await tx.fetchval(query("count_other_administrators"), user_id))


@contextmanager
def _unique_login() -> Iterator[None]:
    """Turn the violated constraint into the error that a person can act on."""
    try:
        yield
    except asyncpg.UniqueViolationError:
        raise Conflict("Somebody else has this login. Choose another.", code="login_taken", param="login") from None
