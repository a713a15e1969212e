"""What is left: for a user of what concerns them, for administrators of everything that is lent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from ownkey.domain.budget import (
    RATES,
    Allowance,
    CapAction,
    Counter,
    Period,
    Scope,
    count,
    own_ceilings,
)
from ownkey.services.changes import Changes
from ownkey.services.expiry import utc_now
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.spending import SpendingService
from ownkey.storage import settings as setting_rows
from ownkey.storage import spending as rows
from ownkey.storage import users as user_rows
from ownkey.storage.spending import PotSpending, UserSpending

_MONEY_PERIODS: Final = (Period.DAY, Period.MONTH)


class BudgetLine(Struct, frozen=True, kw_only=True):
    """One limit on money, in micro-dollars. Amounts are None where they are not the user's to know."""

    scope: Scope
    period: Period
    action: CapAction
    limit_microdollars: int | None
    spent_microdollars: int | None
    reserved_microdollars: int | None
    left_microdollars: int | None
    reached: bool
    resets_at: datetime


class RateLine(Struct, frozen=True, kw_only=True):
    """One limit on speed."""

    unit: Literal["requests", "tokens"]
    limit_per_minute: int
    used: int
    left: int
    resets_at: datetime


class BudgetStanding(Struct, frozen=True, kw_only=True):
    """What one user has left."""

    group: str | None
    shared_consent_needed: bool
    shared: tuple[BudgetLine, ...]
    own: tuple[BudgetLine, ...]
    rates: tuple[RateLine, ...]


class Pot(Struct, frozen=True, kw_only=True):
    """What was spent from one budget in one period, in micro-dollars. `limit_microdollars` None: without a limit."""

    period: Period
    limit_microdollars: int | None
    spent_microdollars: int
    reserved_microdollars: int
    resets_at: datetime


class GroupBudget(Struct, frozen=True, kw_only=True):
    """One group's budget."""

    name: str
    members: int
    pots: tuple[Pot, ...]


class Spender(Struct, frozen=True, kw_only=True):
    """What one user took from the operator's keys, in micro-dollars."""

    user_id: str
    group: str | None
    day_spent_microdollars: int
    day_reserved_microdollars: int
    month_spent_microdollars: int
    month_reserved_microdollars: int
    reached: bool


class BudgetOverview(Struct, frozen=True, kw_only=True):
    """The operator's money."""

    per_user: Allowance
    total: tuple[Pot, ...]
    groups: tuple[GroupBudget, ...]
    users: tuple[Spender, ...]


class BudgetReport:
    """Read-only. Whether somebody may see the overview is the caller's to check."""

    def __init__(
        self,
        changes: Changes,
        policies: PolicyBoard,
        spending: SpendingService,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._changes, self._policies, self._spending, self._now = changes, policies, spending, now

    async def describe(self, user_id: str) -> BudgetStanding:
        """What a user has left, this moment."""
        now = self._now()
        async with self._changes.read(user_id) as tx:
            user = await user_rows.find_user(tx, user_id)
            settings = await setting_rows.get_settings(tx)
            states = await rows.look(tx, now)
        states = await self._spending.look_at_rates(user_id, states)
        policy, group = self._policies.current, user.group if user else None
        shared = count(policy.ceilings_for(group), states, now)
        return BudgetStanding(
            group=group,
            shared_consent_needed=policy.consent and settings.shared_consent_at is None,
            shared=tuple(_line(one) for one in shared if one.scope not in RATES),
            own=tuple(_line(one) for one in count(own_ceilings(settings.caps), states, now)),
            rates=tuple(_rate(one) for one in shared if one.scope in RATES),
        )

    async def overview(self, admin_id: str, *, limit: int = 100) -> BudgetOverview:
        """Every budget, and at most so many of the users who took something this month."""
        now, budgets = self._now(), self._policies.current.budgets
        async with self._changes.oversee(admin_id) as tx:
            pots = await rows.list_pots(tx, now)
            members = await rows.count_group_members(tx)
            spenders = await rows.list_users(tx, now, limit=limit)
        by_pot = {(one.scope, one.owner, one.period): one for one in pots}
        named = {one.owner for one in pots if one.scope is Scope.GROUP}
        return BudgetOverview(
            per_user=budgets.per_user,
            total=_pots(Scope.TOTAL, "", budgets.total, by_pot, now),
            groups=tuple(
                GroupBudget(
                    name=name,
                    members=members.get(name, 0),
                    pots=_pots(Scope.GROUP, name, budgets.groups.get(name, Allowance()), by_pot, now),
                )
                for name in sorted({*budgets.groups, *members, *named})
            ),
            users=tuple(_spender(one, budgets.per_user) for one in spenders),
        )


def _line(counter: Counter) -> BudgetLine:
    # What the whole deployment spends is the operator's business.
    told = counter.scope is not Scope.TOTAL
    return BudgetLine(
        scope=counter.scope,
        period=counter.period,
        action=CapAction.STOP if counter.stop else CapAction.WARN,
        limit_microdollars=counter.limit if told else None,
        spent_microdollars=counter.spent if told else None,
        reserved_microdollars=counter.reserved if told else None,
        left_microdollars=counter.left if told else None,
        reached=counter.spent >= counter.limit,
        resets_at=counter.resets_at,
    )


def _rate(counter: Counter) -> RateLine:
    return RateLine(
        unit="requests" if counter.scope is Scope.REQUESTS else "tokens",
        limit_per_minute=counter.limit,
        used=counter.spent + counter.reserved,
        left=counter.left,
        resets_at=counter.resets_at,
    )


def _pots(
    scope: Scope,
    owner: str,
    allowance: Allowance,
    by_pot: Mapping[tuple[Scope, str, Period], PotSpending],
    now: datetime,
) -> tuple[Pot, ...]:
    limits = {Period.DAY: allowance.day_microdollars, Period.MONTH: allowance.month_microdollars}
    found = []
    for period in _MONEY_PERIODS:
        state = by_pot.get((scope, owner, period))
        found.append(
            Pot(
                period=period,
                limit_microdollars=limits[period],
                spent_microdollars=state.spent if state else 0,
                reserved_microdollars=state.reserved if state else 0,
                resets_at=period.end(now),
            )
        )
    return tuple(found)


def _spender(one: UserSpending, allowance: Allowance) -> Spender:
    day, month = allowance.day_microdollars, allowance.month_microdollars
    return Spender(
        user_id=one.user_id,
        group=one.group,
        day_spent_microdollars=one.day_spent,
        day_reserved_microdollars=one.day_reserved,
        month_spent_microdollars=one.month_spent,
        month_reserved_microdollars=one.month_reserved,
        reached=(day is not None and one.day_spent >= day) or (month is not None and one.month_spent >= month),
    )
