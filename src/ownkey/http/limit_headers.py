"""How limits stand, in the headers of answers: `RateLimit` and `RateLimit-Policy` as in the IETF's draft
httpapi-ratelimit-headers of May 2026, and `X-Ownkey-Warning` for a user's own caps.

The draft has no unit for money or tokens: `microdollars` and `tokens` are ours. What everybody together spends is the
operator's business and in no header.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Final

from ownkey.domain.budget import Counter, Period, Scope
from ownkey.services.spending import Hold

Header = tuple[bytes, bytes]

_NAMES: Final = {Scope.USER: "user", Scope.GROUP: "group", Scope.REQUESTS: "requests", Scope.TOKENS: "tokens"}
_UNITS: Final = {
    Scope.USER: ';qu="microdollars"',
    Scope.GROUP: ';qu="microdollars"',
    Scope.REQUESTS: "",
    Scope.TOKENS: ';qu="tokens"',
}


def hold_headers(hold: Hold) -> list[Header]:
    """What an answer says: what is left now that it is made, and what the user wanted to be told."""
    headers = _limit_headers(
        [(one, one.left - one.needed, (one.resets_at - hold.at).total_seconds()) for one in hold.counters]
    )
    if warnings := hold.warnings:
        headers.append((b"x-ownkey-warning", ", ".join(warnings).encode()))
    return headers


def refusal_headers(counters: Sequence[Counter], wait_seconds: float | None) -> list[Header]:
    """What a refusal says: what is left, and for how long, which is never beyond `Retry-After` where there is one."""
    now = datetime.now(UTC)
    lasting = [(one, one.left, (one.resets_at - now).total_seconds()) for one in counters]
    if wait_seconds is not None:
        lasting = [(one, left, min(wait_seconds, seconds)) for one, left, seconds in lasting]
    return _limit_headers(lasting)


def _limit_headers(limits: Sequence[tuple[Counter, int, float]]) -> list[Header]:
    told = [one for one in limits if one[0].scope in _NAMES]
    if not told:
        return []
    policy = ", ".join(
        f'"{_name(one)}";q={one.limit}{_UNITS[one.scope]};w={_window(one.period, one.resets_at)}' for one, _, _ in told
    )
    left = ", ".join(f'"{_name(one)}";r={max(0, left)};t={max(0, ceil(seconds))}' for one, left, seconds in told)
    return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]


def _name(counter: Counter) -> str:
    name = _NAMES[counter.scope]
    return name if counter.period is Period.MINUTE else f"{name}-{counter.period}"


def _window(period: Period, resets_at: datetime) -> int:
    """The length in seconds of the period that ends then: months differ."""
    last = resets_at - resets_at.resolution
    return round((period.end(last) - period.start(last)).total_seconds())
