"""Requests as they went: the usage events of each, in order."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, TokensSource
from ownkey.storage.sql import query


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
    cost_microdollars: int | None
    price_version: str | None
    duration_ms: int
    first_byte_ms: int | None
    provider_request_id: str | None
    finish_reason: str | None


async def list_requests(
    tx: Any,
    *,
    limit: int,
    before: str | None = None,
    provider: str | None = None,
    task: str | None = None,
    outcome: str | None = None,
) -> list[LoggedAttempt]:
    """The attempts of at most `limit` requests that came before the one named, the newest request first.

    A request counts when one of its attempts is as asked; `outcome` "error" is every outcome but ok and client_gone.
    """
    rows = await tx.fetch(query("list_requests"), before, provider, task, outcome, limit)
    return [
        LoggedAttempt(
            **{
                **row,
                "payer": Payer(row["payer"]),
                "outcome": Outcome(row["outcome"]),
                "tokens_source": TokensSource(row["tokens_source"]),
            }
        )
        for row in rows
    ]
