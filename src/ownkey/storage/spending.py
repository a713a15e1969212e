"""Promises of money to calls, and what the counters say.

Promises are made, kept and taken back by functions of the database, which count for all processes. What calls have
cost is counted there too, when their usage events are stored (`usage.insert_events`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ownkey.domain.budget import Bound, Ceiling, Counter, CounterState, Period, Scope
from ownkey.storage.database import Database
from ownkey.storage.sql import query


class Reservation(Struct, frozen=True, kw_only=True):
    """What a call was told. `counters` are as they stood just before it; `at` is the database's clock."""

    granted: bool
    at: datetime
    counters: tuple[Counter, ...]


class PotSpending(CounterState, frozen=True, kw_only=True):
    """The same of everybody (`owner` is empty) or of one group."""

    owner: str


class UserSpending(Struct, frozen=True, kw_only=True):
    """What one user took from the operator's keys in this month and today, in micro-dollars."""

    user_id: str
    group: str | None
    day_spent: int
    day_reserved: int
    month_spent: int
    month_reserved: int


class _Counted(Struct, frozen=True):
    scope: Scope
    period: Period
    limit: int
    stop: bool
    spent: int
    reserved: int
    needed: int


class _Answer(Struct, frozen=True):
    granted: bool
    at: datetime
    counters: list[_Counted]


_ANSWER: Final = msgspec.json.Decoder(_Answer)


async def reserve(
    db: Database,
    *,
    event_id: str,
    user_id: str,
    group: str | None,
    ceilings: Sequence[Ceiling],
    bound: Bound,
    lifetime_seconds: float,
    at: datetime | None = None,
) -> Reservation:
    """Promise a call the most that it may need, if every ceiling allows it: one round trip. Raises StorageError.

    The promise ends when the usage event `event_id` is stored, when it is released, or after `lifetime_seconds`.
    `at` stands for the database's clock, for tests.
    """
    answer = _ANSWER.decode(
        await db.fetch_value(
            "reserve_spending",
            UUID(event_id),
            user_id,
            group,
            bound.cost_microdollars or 0,
            bound.tokens,
            msgspec.json.encode(ceilings).decode(),
            lifetime_seconds,
            at,
        )
    )
    counters = tuple(
        Counter(
            scope=one.scope,
            period=one.period,
            limit=one.limit,
            stop=one.stop,
            spent=one.spent,
            reserved=one.reserved,
            needed=one.needed,
            resets_at=one.period.end(answer.at),
        )
        for one in answer.counters
    )
    return Reservation(granted=answer.granted, at=answer.at, counters=counters)


async def release(db: Database, event_ids: Sequence[str]) -> int:
    """Take promises back; says how many there were. Raises StorageError."""
    return int(await db.fetch_value("release_spending", [UUID(one) for one in event_ids]))


async def expire(db: Database, at: datetime | None = None) -> int:
    """End the promises of processes that died, and forget old periods; says how many ended. Raises StorageError."""
    return int(await db.fetch_value("expire_spending", at))


async def look(tx: Any, at: datetime | None = None) -> list[CounterState]:
    """How the limits of the transaction's user stand; what nothing was counted in is missing."""
    return [
        CounterState(**{**row, "scope": Scope(row["scope"]), "period": Period(row["period"])})
        for row in await tx.fetch(query("look_at_spending"), at)
    ]


async def list_pots(tx: Any, at: datetime) -> list[PotSpending]:
    """The total's and the groups' day and month, for a transaction with the role `ownkey_admin`."""
    return [
        PotSpending(**{**row, "scope": Scope(row["scope"]), "period": Period(row["period"])})
        for row in await tx.fetch(query("list_pot_spending"), at)
    ]


async def count_group_members(tx: Any) -> dict[str, int]:
    """How many users are in each group, for a transaction with the role `ownkey_admin`."""
    return {row["name"]: row["members"] for row in await tx.fetch(query("count_group_members"))}


async def list_users(tx: Any, at: datetime, *, limit: int) -> list[UserSpending]:
    """Who took something from the operator's keys this month, the most expensive first, for `ownkey_admin`."""
    return [UserSpending(**row) for row in await tx.fetch(query("list_user_spending"), at, limit)]
