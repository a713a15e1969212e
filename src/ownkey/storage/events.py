"""The outbox: events for the host application, from the transaction that makes them to the one that settles them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ownkey.domain.event import Event, EventType, Sink
from ownkey.storage.database import Database
from ownkey.storage.sql import query


class ClaimedEvent(Struct, frozen=True):
    """An event that this process is to deliver; `tries` counts this one and tells it from a later claim."""

    event: Event
    tries: int


class SinkState(Struct, frozen=True, kw_only=True):
    """How a way out fares. `seen_at` None: nobody ever served it; `last_error` is of a try that has not succeeded yet.

    `given_up` counts events that could not be delivered within days and are kept for some weeks.
    """

    seen_at: datetime | None
    waiting: int
    oldest_waiting: datetime | None
    given_up: int
    last_delivered_at: datetime | None
    last_error: str | None


_DATA: Final = msgspec.json.Decoder(dict[str, Any])


async def emit(
    tx: Any, type: EventType, user_id: str | None, data: Mapping[str, Any], *, once: str | None = None
) -> bool:
    """Tell the host of something, if the transaction commits. Says whether anybody will hear of it.

    `user_id` is whom it is about. `once` names what is told only once, whichever process finds it first; the name is
    remembered for ten weeks. `data` is chosen field by field by the caller: never a secret.
    """
    text = msgspec.json.encode(dict(data), order="deterministic").decode()
    return bool(await tx.fetchval(query("emit_event"), type.value, user_id, text, once))


async def serve(db: Database, sink: Sink) -> None:
    """Say that this process serves a way out: events are kept for it from now on. Raises StorageError."""
    await db.fetch_value("serve_sink", sink)


async def claim(db: Database, sink: Sink, *, limit: int, lease_seconds: float) -> list[ClaimedEvent]:
    """Due events, the longest due first. Nobody else gets them before the lease is over. Raises StorageError."""
    return [
        ClaimedEvent(
            Event(
                id=row["event_id"],
                type=row["kind"],
                user_id=row["owner"],
                occurred_at=row["occurred_at"],
                data=_DATA.decode(row["data"]),
            ),
            row["tries"],
        )
        for row in await db.fetch_rows("claim_events", sink, limit, lease_seconds)
    ]


async def mark_delivered(db: Database, sink: Sink, claimed: ClaimedEvent) -> None:
    """The event has arrived. Raises StorageError."""
    await db.fetch_value("mark_delivered", UUID(claimed.event.id), sink)


async def mark_failed(
    db: Database, sink: Sink, claimed: ClaimedEvent, reason: str, *, wait_seconds: float, give_up_seconds: float
) -> bool:
    """The try has failed; says whether that was the last one. A claim that is not the last one changes nothing.

    Raises StorageError.
    """
    state = await db.fetch_value(
        "mark_failed", UUID(claimed.event.id), sink, claimed.tries, reason, wait_seconds, give_up_seconds
    )
    return bool(state == "given_up")


async def warn_of_expiry(db: Database, days: Sequence[int]) -> int:
    """Tell of credentials that end within one of these days, or have ended; of each once for the nearest of them.

    Says how many events that were. Raises StorageError.
    """
    return int(await db.fetch_value("warn_of_expiry", list(days)))


async def forget_old(db: Database) -> int:
    """Remove what is ten weeks old; says how many. Raises StorageError."""
    return int(await db.fetch_value("forget_events"))


async def describe_sink(db: Database, sink: Sink) -> SinkState:
    """How a way out fares. Raises StorageError."""
    row = (await db.fetch_rows("describe_sink", sink))[0]
    return SinkState(**row)
