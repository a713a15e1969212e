"""The error for a request that nobody could pay for: whose limit it was, what is left of it, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from math import ceil
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
_RAISE: Final = "Raise it in your settings, or let it only warn."
_GO_AROUND: Final = "Requests on a key of your own are outside of it: add one, or ask the administrator."
_CURE: Final = {
    Reason.BUDGET_SPENT: _GO_AROUND,
    Reason.REQUEST_OVER_BUDGET: _GO_AROUND,
    Reason.OWN_CAP_REACHED: _RAISE,
    Reason.REQUEST_OVER_CAP: _RAISE,
}


def refused(
    skipped: Sequence[Skipped],
    refusals: Sequence[Refusal],
    extra: dict[str, Any],
    *,
    now: Callable[[], datetime] = utc_now,
) -> NoProvider | None:
    """The error, if money is what was missing: of several refusals the one that is over first, if any ever is."""
    timed = [(one.until, one) for one in refusals if one.until is not None]
    if timed:
        _, first = min(timed, key=lambda pair: pair[0])
        return _limit_reached(first, extra, now())
    lasting = next((one for one in refusals if one.counters), None)
    if lasting is not None:
        return _limit_reached(lasting, extra, now())
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
    wait = None if refusal.until is None else max(1.0, (refusal.until - now).total_seconds())
    return LimitReached(
        _describe(refusal, wait),
        code=refusal.reason,
        retry_after_seconds=wait,
        counters=refusal.counters,
        passing=refusal.in_flight or refusal.reason == Reason.RATE_LIMITED,
        extra=extra,
    )


def _describe(refusal: Refusal, wait_seconds: float | None) -> str:
    if wait_seconds is None or refusal.until is None:
        return _describe_lasting(refusal)
    again = f"Try again in {_seconds(wait_seconds)}."
    if refusal.reason == Reason.RATE_LIMITED:
        limits = ", ".join(
            f"{one.limit:,} {'calls' if one.scope is Scope.REQUESTS else 'tokens'} a minute"
            for one in refusal.counters
            if one.scope in RATES
        )
        return f"The operator's keys serve you at most {limits}. {again}"
    worst = max(refusal.counters, key=lambda one: (one.used_up, one.resets_at))
    whose = f"{_WHOSE[worst.scope]} for this {worst.period}"
    if refusal.in_flight:
        return f"{whose} is promised to requests that are under way. {again}"
    until = f"{refusal.until:%Y-%m-%d %H:%M} UTC"
    cure = _CURE[refusal.reason]
    if worst.spent >= worst.limit:
        return f"{whose} is used up until {until}. {cure}"
    left = "" if worst.scope is Scope.TOTAL else f" ${_dollars(worst.limit - worst.spent)} is left until {until}."
    return (
        f"This request may cost up to ${_dollars(worst.needed)}, more than {whose[:1].lower()}{whose[1:]} has left."
        f"{left} {_describe_fit(refusal)} {cure}"
    )


def _describe_lasting(refusal: Refusal) -> str:
    """What the next day or month will not change."""
    smallest = min((one for one in refusal.counters if one.hopeless), key=lambda one: one.limit)
    whose, cure = f"{_WHOSE[smallest.scope]} for each {smallest.period}", _CURE[refusal.reason]
    if smallest.limit == 0:
        return f"{whose} is $0.00, which pays for no request at all. {cure}"
    limit = "" if smallest.scope is Scope.TOTAL else f", which is ${_dollars(smallest.limit)}"
    return (
        f"This request may cost up to ${_dollars(smallest.needed)}. That is more than the whole of "
        f"{whose[:1].lower()}{whose[1:]}{limit}: waiting does not help. {_describe_fit(refusal)} {cure}"
    )


def _describe_fit(refusal: Refusal) -> str:
    if refusal.fitting_output_tokens is None:
        return "A smaller limit on the length of the answer lowers that."
    return f"An answer of at most {refusal.fitting_output_tokens:,} tokens (`max_tokens`) would fit."


def _seconds(seconds: float) -> str:
    """As `Retry-After` has it."""
    whole = ceil(seconds)
    return "a second" if whole == 1 else f"{whole:,} seconds"


def _dollars(microdollars: int) -> str:
    """With cents, and with as many digits behind them as there are."""
    rest = f"{microdollars % 1_000_000:06d}"
    return f"{microdollars // 1_000_000}.{rest[:2]}{rest[2:].rstrip('0')}"
