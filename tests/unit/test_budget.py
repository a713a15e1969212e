"""Budgets, caps and rates: periods, what concerns a call, and who is let through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.budget import (
    Allowance,
    Bound,
    Budgets,
    CapAction,
    Caps,
    CapWarning,
    Ceiling,
    Counter,
    Limits,
    Period,
    Scope,
    check_group,
    judge,
    need,
    own_ceilings,
    shared_ceilings,
    warn,
)
from ownkey.errors import RequestError

NOW = datetime(2026, 11, 25, 10, 30, 15, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 26, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
LEAP_MARCH = datetime(2028, 3, 1, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1))


def counter(scope: Scope = Scope.USER, period: Period = Period.DAY, **fields: int | bool) -> Counter:
    values: dict[str, object] = {"limit": 100, "spent": 0, "reserved": 0, "needed": 10, **fields}
    return Counter(scope=scope, period=period, resets_at=period.end(NOW), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("period", "moment", "start", "end"),
    [
        (Period.MINUTE, NOW, NOW.replace(second=0), NOW.replace(minute=31, second=0)),
        (Period.DAY, NOW, datetime(2026, 11, 25, tzinfo=UTC), MIDNIGHT),
        (Period.DAY, MIDNIGHT, MIDNIGHT, datetime(2026, 11, 27, tzinfo=UTC)),
        (Period.MONTH, MIDNIGHT, datetime(2026, 11, 1, tzinfo=UTC), DECEMBER),
        (Period.MONTH, DECEMBER - timedelta(microseconds=1), datetime(2026, 11, 1, tzinfo=UTC), DECEMBER),
        (Period.MONTH, DECEMBER, DECEMBER, datetime(2027, 1, 1, tzinfo=UTC)),
        (Period.MONTH, datetime(2028, 2, 29, 23, tzinfo=UTC), datetime(2028, 2, 1, tzinfo=UTC), LEAP_MARCH),
        # Half past midnight in Berlin is still yesterday.
        (Period.DAY, datetime(2026, 11, 26, 0, 30, tzinfo=BERLIN), datetime(2026, 11, 25, tzinfo=UTC), MIDNIGHT),
    ],
)  # fmt: skip
def test_a_period_is_whole_in_utc(period: Period, moment: datetime, start: datetime, end: datetime) -> None:
    assert (period.start(moment), period.end(moment)) == (start, end)


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda one: one.year < 9999))
def test_every_moment_is_in_its_period(moment: datetime) -> None:
    for period in Period:
        assert period.start(moment) <= moment < period.end(moment)
        assert period.start(period.end(moment)) == period.end(moment), "the next one follows at once"
        assert period.end(period.start(moment)) == period.end(moment)


def test_what_concerns_a_call_on_the_operators_key() -> None:
    budgets = Budgets(
        per_user=Allowance(day_microdollars=1, month_microdollars=2),
        groups={"research": Allowance(month_microdollars=3)},
        total=Allowance(day_microdollars=4),
    )
    limits = Limits(requests_per_minute=5, tokens_per_minute=6)
    alone = [
        Ceiling(Scope.USER, Period.DAY, 1),
        Ceiling(Scope.USER, Period.MONTH, 2),
        Ceiling(Scope.TOTAL, Period.DAY, 4),
        Ceiling(Scope.REQUESTS, Period.MINUTE, 5),
        Ceiling(Scope.TOKENS, Period.MINUTE, 6),
    ]
    assert list(shared_ceilings(budgets, limits, None)) == alone
    assert list(shared_ceilings(budgets, limits, "unheard-of")) == alone
    assert set(shared_ceilings(budgets, limits, "research")) == {*alone, Ceiling(Scope.GROUP, Period.MONTH, 3)}
    assert shared_ceilings(Budgets(), Limits(), "research") == ()


def test_what_concerns_a_call_on_a_users_own_key() -> None:
    assert own_ceilings(Caps()) == ()
    assert own_ceilings(Caps(day_microdollars=7)) == (Ceiling(Scope.OWN, Period.DAY, 7),)
    told = own_ceilings(Caps(month_microdollars=0, action=CapAction.WARN))
    assert told == (Ceiling(Scope.OWN, Period.MONTH, 0, stop=False),)


def test_what_a_call_may_need() -> None:
    bound = Bound(cost_microdollars=70, tokens=900)
    assert need(Ceiling(Scope.TOTAL, Period.DAY, 1), bound) == 70
    assert need(Ceiling(Scope.REQUESTS, Period.MINUTE, 60), bound) == 1
    assert need(Ceiling(Scope.TOKENS, Period.MINUTE, 1000), bound) == 900
    assert need(Ceiling(Scope.TOKENS, Period.MINUTE, 500), bound) == 500, "the whole minute, not more"
    assert need(Ceiling(Scope.OWN, Period.DAY, 1), Bound(cost_microdollars=None, tokens=9)) == 0


def test_who_fits_is_let_through_to_the_last_microdollar() -> None:
    assert judge([], NOW) is None
    assert judge([counter(spent=60, reserved=30)], NOW) is None
    refused = judge([counter(spent=60, reserved=31)], NOW)
    assert refused is not None
    assert (refused.reason, refused.in_flight) == ("budget_spent", True)
    assert refused.until == NOW + timedelta(seconds=1), "what is promised is known in a moment"
    assert judge([counter(spent=91, stop=False)], NOW) is None


def test_the_longest_wait_says_why() -> None:
    day, month = counter(spent=95), counter(Scope.TOTAL, Period.MONTH, spent=100)
    for given_order in ([day, month], [month, day]):
        refused = judge(given_order, NOW)
        assert refused is not None
        assert (refused.until, refused.in_flight, set(refused.counters)) == (DECEMBER, False, {day, month})
    minute = counter(Scope.REQUESTS, Period.MINUTE, spent=100, needed=1)
    refused = judge([minute], NOW)
    assert refused is not None
    assert (refused.reason, refused.until) == ("rate_limited", NOW.replace(minute=31, second=0))
    refused = judge([minute, day], NOW)
    assert refused is not None
    assert (refused.reason, refused.until) == ("budget_spent", MIDNIGHT)
    refused = judge([counter(Scope.OWN, spent=100)], NOW)
    assert refused is not None
    assert refused.reason == "own_cap_reached"
    # Calls under way do not matter where the rest would not do either.
    refused = judge([counter(spent=50, reserved=50), counter(period=Period.MONTH, spent=100)], NOW)
    assert refused is not None
    assert (refused.until, refused.in_flight) == (DECEMBER, False)


def test_no_waiting_helps_a_call_that_is_larger_than_the_whole_limit() -> None:
    day, month = counter(limit=50, needed=60), counter(period=Period.MONTH, limit=1000, needed=60, spent=990)
    refused = judge([day, month], NOW)
    assert refused is not None
    assert (refused.reason, refused.until, refused.in_flight) == ("request_over_budget", None, False)
    assert refused.counters == (day, month)
    refused = judge([counter(Scope.OWN, limit=5)], NOW)
    assert refused is not None
    assert (refused.reason, refused.until) == ("request_over_cap", None)
    refused = judge([counter(limit=0)], NOW)
    assert refused is not None
    assert (refused.reason, refused.until) == ("budget_spent", None), "of nothing every request is too much"


def test_in_the_last_second_of_a_period_nobody_waits_beyond_it() -> None:
    last = MIDNIGHT - timedelta(milliseconds=200)
    refused = judge([counter(spent=50, reserved=50)], last)
    assert refused is not None
    assert refused.until == MIDNIGHT


@pytest.mark.parametrize(
    ("spent", "expected"), [(0, None), (79, None), (80, "own_cap_near"), (99, "own_cap_near"), (100, "own_cap_reached")]
)
def test_a_user_is_told_before_their_cap_and_at_it(spent: int, expected: str | None) -> None:
    told = warn([counter(Scope.OWN, spent=spent, reserved=100), counter(Scope.USER, spent=100)])
    assert told == (() if expected is None else (CapWarning(expected, Period.DAY),))


def test_a_groups_name_has_one_form() -> None:
    assert check_group(" Research_2 ") == "research_2"
    for wrong in ("", "2nd", "a b", "é", "x" * 41, "a/b"):
        with pytest.raises(RequestError):
            check_group(wrong)
