"""What everybody's traffic says about providers and about the operator's keys, for the role `ownkey_admin`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.storage.sql import query
from ownkey.storage.usage import tile


class ProviderMeasure(Struct, frozen=True, kw_only=True):
    """How a provider answered. Times are those of successful calls, None where there was none."""

    provider: str
    requests: int = 0
    errors: dict[str, int] = {}
    p50_duration_ms: int | None = None
    p95_duration_ms: int | None = None
    p50_first_byte_ms: int | None = None


class FallbackCause(Struct, frozen=True, kw_only=True):
    """How often requests fell from one hop to another because of one class of error."""

    from_provider: str
    from_payer: str
    to_provider: str
    to_payer: str
    error: str
    requests: int
    answered: int
    last_at: datetime


class SharedUse(Struct, frozen=True, kw_only=True):
    """What one user took from the operator's keys. `cost_microdollars` None: nothing of it has a known price."""

    user_id: str
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_microdollars: int | None
    unpriced_requests: int
    providers: tuple[str, ...]
    last_day: date


_ERRORS: Final = msgspec.json.Decoder(dict[str, int])


async def measure_providers(tx: Any, since: datetime) -> dict[str, ProviderMeasure]:
    """By provider; one without a call is missing."""
    rows = await tx.fetch(query("measure_providers"), since)
    return {row["provider"]: ProviderMeasure(**{**row, "errors": _ERRORS.decode(row["errors"])}) for row in rows}


async def list_fallbacks(tx: Any, start: date, end: date, *, limit: int = 1000) -> list[FallbackCause]:
    """Over the days from `start` to `end`, both included, the most frequent first."""
    return [FallbackCause(**row) for row in await tx.fetch(query("list_fallbacks"), start, end, limit)]


async def list_shared_users(tx: Any, start: date, end: date, *, limit: int = 1000) -> list[SharedUse]:
    """Over the days from `start` to `end`, both included, the most expensive first."""
    rows = await tx.fetch(query("list_shared_users"), start, end, limit, *tile(start, end))
    return [SharedUse(**{**row, "providers": tuple(sorted(row["providers"]))}) for row in rows]
