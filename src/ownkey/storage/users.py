"""Rows of `ownkey.users`. Every function works inside a transaction that carries an identity."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from ownkey.domain.user import Role, UserStatus
from ownkey.storage.sql import query


class User(Struct, frozen=True, kw_only=True):
    """One user. Times are UTC; `group` is for budgets."""

    id: str
    role: Role
    status: UserStatus
    group: str | None
    generation: int
    created_at: datetime
    updated_at: datetime


async def ensure_user(tx: Any, user_id: str, role: str = "user") -> bool:
    """Make the user if there is none; says whether there was none.

    Either way the user is locked until the transaction ends: changes of one user happen one after the other.
    """
    created = await tx.fetchval(query("insert_user"), user_id, role) is not None
    if not created:
        await lock_user(tx, user_id)
    return created


async def lock_user(tx: Any, user_id: str) -> None:
    """Keep other changes of the transaction's user away until it ends."""
    await tx.fetchval(query("lock_user"), user_id)


async def find_user(tx: Any, user_id: str) -> User | None:
    """The user, or None if there is none in sight."""
    row = await tx.fetchrow(query("find_user"), user_id)
    return None if row is None else _user(row)


async def list_users(tx: Any, *, after: str = "", limit: int = 100) -> list[User]:
    """Users by id, those behind `after`; all of them in a transaction with the role `ownkey_admin`."""
    return [_user(row) for row in await tx.fetch(query("list_users"), after, limit)]


async def set_user_status(tx: Any, user_id: str, status: str) -> bool:
    """Let the user in or keep them out; says whether that changed anything."""
    return await tx.fetchval(query("set_user_status"), user_id, str(status)) is not None


async def set_user_role(tx: Any, user_id: str, role: str) -> bool:
    """Make the user an administrator or not; says whether that changed anything."""
    return await tx.fetchval(query("set_user_role"), user_id, str(role)) is not None


async def set_user_group(tx: Any, user_id: str, group: str | None) -> bool:
    """Put the user into a group for budgets, or out of any; says whether that changed anything."""
    return await tx.fetchval(query("set_user_group"), user_id, group) is not None


class Holdings(Struct, frozen=True, kw_only=True):
    """How much there is of a user."""

    credentials: int
    gateway_tokens: int
    sessions: int
    calls: int
    data_key: bool


async def count_holdings(tx: Any) -> Holdings:
    """What deleting the transaction's user would destroy."""
    return Holdings(**await tx.fetchrow(query("count_holdings")))


async def delete_user(tx: Any) -> bool:
    """Delete the transaction's user, their data key and all their rows but the audit trail.

    Says whether there was one.
    """
    return await tx.fetchval(query("delete_user")) is not None


async def bump_generation(tx: Any, user_id: str) -> None:
    """Make every process forget what it holds of the transaction's user, who must be `user_id`."""
    await lock_user(tx, user_id)
    await tx.fetchval(query("bump_own_generation"))


def _user(row: Any) -> User:
    return User(
        id=row["id"],
        role=Role(row["role"]),
        status=UserStatus(row["status"]),
        group=row["spending_group"],
        generation=row["generation"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
