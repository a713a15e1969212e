"""One-time links, found by the SHA-256 of what they carry."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.domain.account import LinkPurpose
from ownkey.domain.user import UserStatus
from ownkey.storage.database import Database
from ownkey.storage.sql import query


class PresentedLink(Struct, frozen=True, kw_only=True):
    """A link that can be used. `login` is None for a user without an account."""

    user_id: str
    purpose: LinkPurpose
    status: UserStatus
    login: str | None
    expires_at: datetime


_LINK: Final = msgspec.json.Decoder(PresentedLink)


async def load_link(db: Database, token_hash: bytes) -> PresentedLink | None:
    """What the link of this hash is for, or None if it cannot be used (any more). Raises StorageError."""
    text = await db.fetch_value("load_link", token_hash)
    return None if text is None else _LINK.decode(text)


async def insert_link(tx: Any, user_id: str, hash: bytes, purpose: LinkPurpose, expires_at: datetime) -> None:
    """A link for the transaction's user."""
    await tx.execute(query("insert_link"), user_id, hash, str(purpose), expires_at)


async def take_link(tx: Any, hash: bytes) -> bool:
    """Use the link up; False if somebody was faster. Whoever locks the user's row first is the one who may."""
    return await tx.fetchval(query("take_link"), hash) is not None


async def drop_unused_links(tx: Any) -> None:
    """No unused link of the transaction's user leads anywhere any more."""
    await tx.execute(query("drop_unused_links"))


async def has_unused_link(tx: Any, purpose: LinkPurpose) -> bool:
    """Whether the transaction's user has a link of this purpose that nobody used, expired or not."""
    return bool(await tx.fetchval(query("has_unused_link"), str(purpose)))
