"""Loads snapshots: one user's settings and sealed credentials, by user id or by gateway token, in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from ownkey.domain.settings import Snapshot
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import PermissionDenied
from ownkey.storage.changes_feed import ChangesFeed, Hearer, listen
from ownkey.storage.database import Database

__all__ = [
    "ChangesFeed",
    "Hearer",
    "Standing",
    "TokenOwner",
    "TokenState",
    "listen",
    "load_by_token",
    "load_generations",
    "load_snapshot",
    "load_standing",
]

TokenState = Literal["active", "expired", "revoked", "suspended"]


class TokenOwner(Struct, frozen=True, kw_only=True):
    """Who a gateway token belongs to. Unless `state` is "active", the snapshot holds nothing that could be used."""

    token_id: str
    user_id: str
    role: Role
    state: TokenState
    scopes: tuple[str, ...]
    expires_at: datetime | None
    snapshot: Snapshot


class Standing(Struct, frozen=True, kw_only=True):
    """A user, their settings, and when they last signed out everywhere. Unless active, the snapshot is empty."""

    role: Role
    status: UserStatus
    signed_out_at: datetime | None
    snapshot: Snapshot


class _Loaded(Struct, frozen=True):
    status: UserStatus
    snapshot: Snapshot


# Base64 text becomes bytes, ISO 8601 becomes an aware datetime: the database writes the form that msgspec reads.
_LOADED: Final = msgspec.json.Decoder(_Loaded)
_OWNER: Final = msgspec.json.Decoder(TokenOwner)
_STANDING: Final = msgspec.json.Decoder(Standing)


async def load_snapshot(db: Database, user_id: str) -> Snapshot | None:
    """The user's snapshot, or None for a user that does not exist.

    Raises PermissionDenied(user_suspended) and StorageError.
    """
    text = await db.fetch_value("load_snapshot", user_id)
    if text is None:
        return None
    loaded = _LOADED.decode(text)
    if loaded.status is not UserStatus.ACTIVE:
        raise PermissionDenied("This account is suspended. Ask the administrator.", code="user_suspended")
    return loaded.snapshot


async def load_standing(db: Database, user_id: str) -> Standing | None:
    """The user's standing with their snapshot, or None for a user that does not exist. Raises StorageError."""
    text = await db.fetch_value("load_standing", user_id)
    return None if text is None else _STANDING.decode(text)


async def load_by_token(db: Database, token_hash: bytes) -> TokenOwner | None:
    """The owner of the token with this SHA-256, or None for a token that does not exist. Raises StorageError.

    A token that is expired or revoked, or whose owner is suspended, is told by `state`: it lets nobody in.
    """
    text = await db.fetch_value("load_by_token", token_hash)
    return None if text is None else _OWNER.decode(text)


async def load_generations(db: Database, user_ids: Sequence[str]) -> dict[str, int]:
    """The current generation of each of these users; one who does not exist is missing. Raises StorageError."""
    rows = await db.fetch_rows("load_generations", list(user_ids))
    return {row["user_id"]: row["generation"] for row in rows}
