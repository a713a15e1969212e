"""What may be spent: budgets of the operator's money, a user's caps on their own, and calls and tokens per minute.

Pure. Money is integer micro-dollars, times are UTC. The database counts and judges in one step, by the same rule as
`judge`: what was spent, what is promised to calls under way, and the most that the next call may need fit the limit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct

from ownkey.errors import RequestError

# Where a request names no limit and nobody knows the model's: what such answers rarely exceed.
ASSUMED_OUTPUT_TOKENS: Final = 16_384
# A billion dollars: sums of many such amounts still fit into 64 bits.
MICRODOLLARS_LIMIT: Final = 10**15
# When nothing but calls under way is in the way: their price is known in a moment.
IN_FLIGHT_SECONDS: Final = 1.0
_NEAR_PERCENT: Final = 80
_GROUP: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.ASCII)


class Reason:
    """Why a call may not be paid for. Stable codes: see `routing.SkipReason`."""

    BUDGET_SPENT = "budget_spent"
    REQUEST_OVER_BUDGET = "request_over_budget"
    RATE_LIMITED = "rate_limited"
    OWN_CAP_REACHED = "own_cap_reached"
    REQUEST_OVER_CAP = "request_over_cap"
    UNPRICED = "unpriced"


class Period(StrEnum):
    """What a limit is for: a whole minute, day or month of UTC."""

    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"

    def start(self, moment: datetime) -> datetime:
        """When the period began that this moment is in."""
        whole = moment.astimezone(UTC).replace(second=0, microsecond=0)
        if self is Period.MINUTE:
            return whole
        whole = whole.replace(hour=0, minute=0)
        return whole if self is Period.DAY else whole.replace(day=1)

    def end(self, moment: datetime) -> datetime:
        """When it ends, and its counters begin at nothing."""
        start = self.start(moment)
        if self is Period.MINUTE:
            return start + timedelta(minutes=1)
        if self is Period.DAY:
            return start + timedelta(days=1)
        # 32 days on from the first of a month is always in the next one.
        return (start + timedelta(days=32)).replace(day=1)


class Scope(StrEnum):
    """What a limit is about.

    `user`, `group` and `total` are budgets of the operator's money, `own` is a cap on the user's; `requests` and
    `tokens` count a user's calls on the operator's keys.
    """

    USER = "user"
    GROUP = "group"
    TOTAL = "total"
    OWN = "own"
    REQUESTS = "requests"
    TOKENS = "tokens"


RATES: Final = (Scope.REQUESTS, Scope.TOKENS)


class Allowance(Struct, frozen=True, kw_only=True):
    """How much may be spent; None: without a limit."""

    day_microdollars: int | None = None
    month_microdollars: int | None = None


class Budgets(Struct, frozen=True, kw_only=True):
    """How much of the operator's money may be spent: by each user, by the members of a group together, and in total.

    `assumed_output_tokens` bounds the answer to a request that names no limit, from a model whose own is not known.
    """

    per_user: Allowance = Allowance()
    groups: dict[str, Allowance] = {}
    total: Allowance = Allowance()
    assumed_output_tokens: int = ASSUMED_OUTPUT_TOKENS


class Limits(Struct, frozen=True, kw_only=True):
    """How fast each user may use the operator's keys; None: without a limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class CapAction(StrEnum):
    """What happens at a user's own cap."""

    WARN = "warn"
    STOP = "stop"


class Caps(Struct, frozen=True, kw_only=True):
    """A user's limits on their own money; None: without a limit."""

    day_microdollars: int | None = None
    month_microdollars: int | None = None
    action: CapAction = CapAction.STOP


class Ceiling(Struct, frozen=True):
    """One limit that concerns a call. `stop` false only warns."""

    scope: Scope
    period: Period
    limit: int
    stop: bool = True


class Bound(Struct, frozen=True, kw_only=True):
    """The most that a call may cost and count for. `cost_microdollars` None: nobody knows the price."""

    cost_microdollars: int | None
    tokens: int


class Counter(Struct, frozen=True, kw_only=True):
    """How one ceiling stood when a call asked: micro-dollars, calls or tokens, by its scope.

    `needed` is the most that the call may need. `reserved` is promised to calls under way, this one not included.
    """

    scope: Scope
    period: Period
    limit: int
    stop: bool = True
    spent: int
    reserved: int
    needed: int
    resets_at: datetime

    @property
    def left(self) -> int:
        """What is neither spent nor promised."""
        return max(0, self.limit - self.spent - self.reserved)

    @property
    def short(self) -> bool:
        """Whether the call may need more than that."""
        return self.spent + self.reserved + self.needed > self.limit

    @property
    def used_up(self) -> bool:
        """Whether it is too much even when the calls under way cost nothing."""
        return self.spent + self.needed > self.limit

    @property
    def hopeless(self) -> bool:
        """Whether it is too much for a whole period in which nothing else is spent: waiting does not help."""
        return self.needed > self.limit


class CounterState(Struct, frozen=True, kw_only=True):
    """What is counted in one period that is under way: micro-dollars, calls or tokens, by its scope."""

    scope: Scope
    period: Period
    spent: int
    reserved: int


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a call may not be paid for, and when it may again; `until` None: waiting does not help.

    `in_flight`: only calls under way stand in its way. `fitting_output_tokens` is the longest answer with which the
    call would fit what is left, where that can be worked out.
    """

    reason: str
    until: datetime | None = None
    in_flight: bool = False
    counters: tuple[Counter, ...] = ()
    fitting_output_tokens: int | None = None


class CapWarning(Struct, frozen=True):
    """What a user asked to be told about a cap on their own money."""

    code: str
    period: Period


def check_group(name: str) -> str:
    """A group's name, lower-cased. Raises RequestError."""
    wanted = name.strip().lower()
    if not _GROUP.fullmatch(wanted):
        raise RequestError(
            "A group's name starts with a letter and holds up to 40 letters, digits, '-' or '_'.", param="group"
        )
    return wanted


def shared_ceilings(budgets: Budgets, limits: Limits, group: str | None) -> tuple[Ceiling, ...]:
    """What concerns a call on the operator's key by a member of this group."""
    found = _of_allowance(Scope.USER, budgets.per_user)
    if group is not None:
        found += _of_allowance(Scope.GROUP, budgets.groups.get(group, Allowance()))
    found += _of_allowance(Scope.TOTAL, budgets.total)
    if limits.requests_per_minute is not None:
        found.append(Ceiling(Scope.REQUESTS, Period.MINUTE, limits.requests_per_minute))
    if limits.tokens_per_minute is not None:
        found.append(Ceiling(Scope.TOKENS, Period.MINUTE, limits.tokens_per_minute))
    return tuple(found)


def own_ceilings(caps: Caps) -> tuple[Ceiling, ...]:
    """What concerns a call on the user's own key."""
    allowance = Allowance(day_microdollars=caps.day_microdollars, month_microdollars=caps.month_microdollars)
    return tuple(_of_allowance(Scope.OWN, allowance, stop=caps.action is CapAction.STOP))


def need(ceiling: Ceiling, bound: Bound) -> int:
    """The most that a call may need of this ceiling.

    A call that may count for more tokens than a whole minute has is let in when nothing else was: else it never were.
    """
    if ceiling.scope is Scope.REQUESTS:
        return 1
    if ceiling.scope is Scope.TOKENS:
        return min(bound.tokens, ceiling.limit)
    return bound.cost_microdollars or 0


def count(
    ceilings: Sequence[Ceiling], states: Sequence[CounterState], now: datetime, bound: Bound | None = None
) -> tuple[Counter, ...]:
    """How these limits stand for a call with this bound; what nothing was counted in stands at nothing."""
    known = {(one.scope, one.period): one for one in states}
    found = []
    for ceiling in ceilings:
        state = known.get((ceiling.scope, ceiling.period))
        found.append(
            Counter(
                scope=ceiling.scope,
                period=ceiling.period,
                limit=ceiling.limit,
                stop=ceiling.stop,
                spent=state.spent if state else 0,
                reserved=state.reserved if state else 0,
                needed=0 if bound is None else need(ceiling, bound),
                resets_at=ceiling.period.end(now),
            )
        )
    return tuple(found)


def judge(counters: Sequence[Counter], now: datetime) -> Refusal | None:
    """Why a call may not be paid for; None when it may."""
    short = [one for one in counters if one.stop and one.short]
    if not short:
        return None
    hopeless = [one for one in short if one.hopeless]
    if hopeless:
        # Of a limit of nothing, any request is too much: that says nothing of this one.
        smallest = min(hopeless, key=lambda one: one.limit)
        return Refusal(reason=_name_reason(smallest, whole=smallest.limit > 0), counters=tuple(short))
    used_up = [one for one in short if one.used_up]
    worst = max(used_up or short, key=lambda one: one.resets_at)
    until = worst.resets_at if used_up else min(worst.resets_at, now + timedelta(seconds=IN_FLIGHT_SECONDS))
    return Refusal(reason=_name_reason(worst, whole=False), until=until, in_flight=not used_up, counters=tuple(short))


def _name_reason(counter: Counter, *, whole: bool) -> str:
    if counter.scope in RATES:
        return Reason.RATE_LIMITED
    if counter.scope is Scope.OWN:
        return Reason.REQUEST_OVER_CAP if whole else Reason.OWN_CAP_REACHED
    return Reason.REQUEST_OVER_BUDGET if whole else Reason.BUDGET_SPENT


def warn(counters: Sequence[Counter]) -> tuple[CapWarning, ...]:
    """What to tell the user of their caps, by what they have spent; bounds of calls under way are not that yet."""
    found = []
    for one in counters:
        if one.scope is Scope.OWN and one.spent >= one.limit:
            found.append(CapWarning("own_cap_reached", one.period))
        elif one.scope is Scope.OWN and one.spent * 100 >= one.limit * _NEAR_PERCENT:
            found.append(CapWarning("own_cap_near", one.period))
    return tuple(found)


def _of_allowance(scope: Scope, allowance: Allowance, *, stop: bool = True) -> list[Ceiling]:
    found = []
    if allowance.day_microdollars is not None:
        found.append(Ceiling(scope, Period.DAY, allowance.day_microdollars, stop))
    if allowance.month_microdollars is not None:
        found.append(Ceiling(scope, Period.MONTH, allowance.month_microdollars, stop))
    return found
