"""What an administrator sees of everybody: who there is and which providers they use, without any secret."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.storage.sql import query


class HeldCredentials(Struct, frozen=True):
    """How many of a user's credentials at one provider have one status."""

    provider: str
    status: str
    count: int


class UserOverview(Struct, frozen=True, kw_only=True):
    """One user. Times are UTC; `last_active_at` is the last use of a gateway token."""

    id: str
    role: str
    status: str
    created_at: datetime
    last_active_at: datetime | None
    credentials: tuple[HeldCredentials, ...]


_CREDENTIALS: Final = msgspec.json.Decoder(tuple[HeldCredentials, ...])


async def list_overviews(tx: Any, *, after: str = "", limit: int = 100) -> list[UserOverview]:
    """A page of users by id, for a transaction with the role `ownkey_admin`."""
    return [
        UserOverview(**{**row, "credentials": _CREDENTIALS.decode(row["credentials"])})
        for row in await tx.fetch(query("list_overviews"), after, limit)
    ]
