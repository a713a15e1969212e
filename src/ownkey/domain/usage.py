"""The record of one dispatched upstream call."""

from __future__ import annotations

import os
import re
import time
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from ownkey.domain.settings import Payer

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class Outcome(StrEnum):
    """How an upstream call ended; failures carry the row of the error taxonomy."""

    OK = "ok"
    AUTH_INVALID = "auth_invalid"
    AUTH_SCOPE = "auth_scope"
    CREDIT_EXHAUSTED = "credit_exhausted"
    QUOTA_DAILY = "quota_daily"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    MODEL_UNAVAILABLE = "model_unavailable"
    BAD_REQUEST = "bad_request"
    CANNOT_CARRY = "cannot_carry"
    CONTENT_REFUSED = "content_refused"
    STREAM_BROKEN = "stream_broken"
    ANSWER_TOO_LARGE = "answer_too_large"
    CLIENT_GONE = "client_gone"
    ACCESS_WITHDRAWN = "access_withdrawn"
    UNREADABLE = "unreadable"
    INTERNAL = "internal"


# The provider may have charged for such a call, whether or not it said for how much. `settle_spending` in the database
# goes by the same list.
MAY_HAVE_CHARGED: Final = frozenset(
    {
        Outcome.OK,
        Outcome.CLIENT_GONE,
        Outcome.ACCESS_WITHDRAWN,
        Outcome.STREAM_BROKEN,
        Outcome.ANSWER_TOO_LARGE,
        Outcome.TIMEOUT,
        Outcome.INTERNAL,
    }
)


class TokensSource(StrEnum):
    """Where token counts come from."""

    REPORTED = "reported"
    ESTIMATED = "estimated"
    NONE = "none"


class CostSource(StrEnum):
    """Where a cost comes from.

    `reported`: the provider said what it charged. `computed`: from its token counts and a price. `estimated`: from
    token counts that are themselves an estimate. `unpriced`: there are tokens, and nobody knows their price.
    """

    REPORTED = "reported"
    COMPUTED = "computed"
    ESTIMATED = "estimated"
    UNPRICED = "unpriced"


class Tokens(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Five disjoint counters; their sum is what the provider billed for."""

    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output_text: int = 0
    output_reasoning: int = 0

    @property
    def input_total(self) -> int:
        """All input, cached or not."""
        return self.input_uncached + self.cache_read + self.cache_write

    @property
    def output_total(self) -> int:
        """All output, reasoning included."""
        return self.output_text + self.output_reasoning


class SkippedHop(Struct, frozen=True):
    """A hop that would have come before a call and was left out, at whose expense it would have been, and why."""

    provider: str
    payer: Payer
    reason: str


class UsageEvent(Struct, kw_only=True, omit_defaults=True):
    """One upstream call. It gets its id before dispatch; the rest is filled in as it becomes known.

    `cost_microdollars` is None where no price is known ("unpriced", never 0); `cost_source` is None until it is priced,
    and where there is nothing to price. `service_tier` is the provider's word for how it served the call, where it says
    so. `fallback`: the call took over from another key or provider of the same request. `skipped`: the hops that were
    left out before it, and after the attempt before.
    """

    id: str
    request_id: str
    user_id: str
    occurred_at: datetime
    attempt: int
    task: str | None
    provider: str
    model: str
    requested_model: str
    credential_id: str | None
    payer: Payer
    operation: str
    streamed: bool
    outcome: Outcome = Outcome.INTERNAL
    http_status: int | None = None
    tokens: Tokens | None = None
    tokens_source: TokensSource = TokensSource.NONE
    raw_usage: bytes | None = None
    service_tier: str | None = None
    fallback: bool = False
    cost_microdollars: int | None = None
    cost_source: CostSource | None = None
    price_version: str | None = None
    duration_ms: int = 0
    first_byte_ms: int | None = None
    provider_request_id: str | None = None
    finish_reason: str | None = None
    skipped: tuple[SkippedHop, ...] = ()


# The two bits 10, and the two lowest of a random digit.
_VARIANT: Final = {f"{digit:x}": "89ab"[digit & 3] for digit in range(16)}
# The random ends of the next ids: to ask the system for each of them would take longer than all the rest.
_ends: Final[list[str]] = []
_ENDS_AT_ONCE: Final = 128
# What is still there after a fork would be given out twice.
os.register_at_fork(after_in_child=_ends.clear)


def new_id(moment: datetime | None = None) -> str:
    """A UUIDv7 of now, or of another moment.

    Unique, and ordered by time, so that B-tree inserts stay at the right edge (RFC 9562).
    """
    milliseconds = time.time_ns() // 1_000_000 if moment is None else int(moment.timestamp() * 1000)
    time_part = f"{milliseconds & 0xFFFFFFFFFFFF:012x}"
    try:
        end = _ends.pop()  # at once, whatever other threads do
    except IndexError:
        _ends.extend(_make_ends())
        end = _ends.pop()
    return f"{time_part[:8]}-{time_part[8:]}-{end}"


def _make_ends() -> list[str]:
    """What follows the time: version and variant take six bits of the eighty."""
    digits = os.urandom(10 * _ENDS_AT_ONCE).hex()
    parts = [digits[begin : begin + 20] for begin in range(0, len(digits), 20)]
    return [f"7{part[:3]}-{_VARIANT[part[3]]}{part[4:7]}-{part[7:19]}" for part in parts]


def first_id(moment: datetime) -> str:
    """What no id of an earlier moment reaches, and every later one is beyond."""
    text = f"{int(moment.timestamp() * 1000) & ((1 << 48) - 1):012x}"
    return f"{text[:8]}-{text[8:]}"


def is_record_id(text: str) -> bool:
    """Whether a text has the one form in which `new_id` gives ids out: anything else is the id of nothing."""
    return _ID.fullmatch(text) is not None
