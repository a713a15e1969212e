"""What an administrator sees of everybody: who there is and which providers they use, without any secret."""

from __future__ import annotations

from datetime import date, datetime
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
    """One user. Times are UTC; `last_active_at` is the last use of a gateway token.

    Counts and costs are of the days since the one that was asked for; a cost of None has no known price.
    """

    id: str
    role: str
    status: str
    group: str | None
    created_at: datetime
    login: str | None
    display_name: str | None
    last_active_at: datetime | None
    credentials: tuple[HeldCredentials, ...]
    requests: int
    errors: int
    own_cost_microdollars: int | None
    shared_cost_microdollars: int | None


_CREDENTIALS: Final = msgspec.json.Decoder(tuple[HeldCredentials, ...])


async def list_overviews(
    tx: Any, *, since: date, after: str = "", limit: int = 100, holding: str | None = None
) -> list[UserOverview]:
    """A page of users by id, for a transaction with the role `ownkey_admin`.

    `holding` leaves only those whose id, login or name holds this text, in whatever case.
    """
    return [
        UserOverview(**{**row, "credentials": _CREDENTIALS.decode(row["credentials"])})
        for row in await tx.fetch(query("list_overviews"), after, limit, holding, since)
    ]
