"""The error for a request that nobody could pay for: whose limit it was, what is left of it, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from ownkey.domain.budget import RATES, Reason, Refusal, Scope
from ownkey.domain.routing import Skipped, SkipReason
from ownkey.errors import LimitReached, NoProvider
from ownkey.services.expiry import utc_now

_WHOSE: Final = {
    Scope.USER: "Your budget of the operator's money",
    Scope.GROUP: "Your group's budget of the operator's money",
    Scope.TOTAL: "The budget of the operator's money",
    Scope.OWN: "Your own cap",
}
_CURE: Final = {
    Reason.BUDGET_SPENT: "Requests on a key of your own are outside of it: add one, or ask the administrator.",
    Reason.OWN_CAP_REACHED: "Raise it in your settings, or let it only warn.",
}


def refused(
    skipped: Sequence[Skipped],
    refusals: Sequence[Refusal],
    extra: dict[str, Any],
    *,
    now: Callable[[], datetime] = utc_now,
) -> NoProvider | None:
    """The error, if money is what was missing: of several refusals the one that is over first."""
    timed = [one for one in refusals if one.until is not None]
    if timed:
        first = min(timed, key=lambda one: one.until or now())
        return _limit_reached(first, extra, now())
    if any(hop.reason == SkipReason.CONSENT_NEEDED for hop in skipped):
        return NoProvider(
            "The operator's keys serve you once you have agreed to it: see your settings (`shared_consent`). Or add an "
            "API key of your own.",
            code="consent_needed",
            http_status=403,
            extra=extra,
        )
    return None


def _limit_reached(refusal: Refusal, extra: dict[str, Any], now: datetime) -> LimitReached:
    assert refusal.until is not None  # noqa: S101  # chosen so
    wait = max(1.0, (refusal.until - now).total_seconds())
    return LimitReached(
        _describe(refusal),
        code=refusal.reason,
        retry_after_seconds=wait,
        counters=refusal.counters,
        passing=refusal.in_flight or refusal.reason == Reason.RATE_LIMITED,
        extra=extra,
    )


def _describe(refusal: Refusal) -> str:
    until = f"{refusal.until:%Y-%m-%d %H:%M} UTC"
    if refusal.reason == Reason.RATE_LIMITED:
        limits = ", ".join(
            f"{one.limit:,} {'calls' if one.scope is Scope.REQUESTS else 'tokens'} a minute"
            for one in refusal.counters
            if one.scope in RATES
        )
        return f"The operator's keys serve you at most {limits}. Try again in a moment."
    worst = max(refusal.counters, key=lambda one: (one.used_up, one.resets_at))
    whose = f"{_WHOSE[worst.scope]} for this {worst.period}"
    if refusal.in_flight:
        return f"{whose} is promised to requests that are under way. Try again in a moment."
    cure = _CURE[refusal.reason]
    if worst.spent >= worst.limit:
        return f"{whose} is used up until {until}. {cure}"
    left = "" if worst.scope is Scope.TOTAL else f" ${_dollars(worst.limit - worst.spent)} is left until {until}."
    return (
        f"This request may cost up to ${_dollars(worst.needed)}, more than {whose[:1].lower()}{whose[1:]} has left."
        f"{left} A smaller limit on the length of the answer lowers that. {cure}"
    )


def _dollars(microdollars: int) -> str:
    """With cents, and with as many digits behind them as there are."""
    rest = f"{microdollars % 1_000_000:06d}"
    return f"{microdollars // 1_000_000}.{rest[:2]}{rest[2:].rstrip('0')}"
