"""Requests as they went: the usage events of each, in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, SkippedHop, TokensSource, first_id
from ownkey.storage.sql import query
from ownkey.storage.usage import read_skipped

_BEGIN: Final = datetime(1, 1, 1, tzinfo=UTC)
_END: Final = datetime(9999, 12, 31, tzinfo=UTC)


class LoggedAttempt(Struct, frozen=True, kw_only=True):
    """One dispatched upstream call. `credential_label` is None for the operator's key and for one that was removed."""

    request_id: str
    id: str
    occurred_at: datetime
    attempt: int
    task: str | None
    provider: str
    model: str
    requested_model: str
    credential_id: str | None
    credential_label: str | None
    payer: Payer
    operation: str
    streamed: bool
    outcome: Outcome
    http_status: int | None
    input_uncached: int
    cache_read: int
    cache_write: int
    output_text: int
    output_reasoning: int
    tokens_source: TokensSource
    service_tier: str | None
    fallback: bool
    cost_microdollars: int | None
    cost_source: CostSource | None
    price_version: str | None
    duration_ms: int
    first_byte_ms: int | None
    provider_request_id: str | None
    finish_reason: str | None
    skipped: tuple[SkippedHop, ...] = ()


class RequestQuery(Struct, frozen=True, kw_only=True):
    """Which requests: those of which an attempt, from `start` to before `end`, is as asked; None asks for nothing.

    `outcome` "error" is every outcome but ok and client_gone.
    """

    start: datetime | None = None
    end: datetime | None = None
    provider: str | None = None
    model: str | None = None
    task: str | None = None
    credential_id: str | None = None
    payer: str | None = None
    outcome: str | None = None


async def list_requests(tx: Any, asked: RequestQuery, *, limit: int, before: str | None = None) -> list[LoggedAttempt]:
    """The attempts of at most `limit` requests that came before the one named, the newest request first."""
    credential = UUID(asked.credential_id) if asked.credential_id else None
    choice = (asked.provider, asked.model, asked.task, credential, asked.payer)
    start, end = asked.start or _BEGIN, asked.end or _END
    if any(one is not None for one in choice):
        days = await tx.fetchrow(query("find_days"), *choice)
        if days["first"] is None:
            return []
        start = max(start, datetime.combine(days["first"], time(), UTC))
        end = min(end, datetime.combine(days["last"], time(), UTC) + timedelta(days=1))
    # Ids grow with time. No request lasts longer than a day, and no clock is set back that far.
    after = "" if start == _BEGIN else first_id(start - timedelta(days=1))
    last = "z" if end == _END else first_id(end + timedelta(days=1))
    bounds = (after, last if before is None else min(last, before), start, end)
    return _read(await tx.fetch(query("list_requests"), *bounds, *choice, asked.outcome, limit))


async def find_request(tx: Any, request_id: str) -> list[LoggedAttempt]:
    """The attempts of one request; empty where there is none, or none of this user's."""
    return _read(await tx.fetch(query("find_request"), request_id))


def _read(rows: Sequence[Any]) -> list[LoggedAttempt]:
    return [
        LoggedAttempt(
            **{
                **row,
                "payer": Payer(row["payer"]),
                "outcome": Outcome(row["outcome"]),
                "tokens_source": TokensSource(row["tokens_source"]),
                "cost_source": CostSource(row["cost_source"]) if row["cost_source"] else None,
                "skipped": read_skipped(row["skipped"]),
            }
        )
        for row in rows
    ]
