"""`/api/budget` and `/api/admin/budgets`: what is left, for the user and of what is lent."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from ownkey.http.access import Admin, CoreDep, Reader
from ownkey.http.api_inputs import SpendersFilter
from ownkey.http.api_outputs import BudgetOverviewOut, BudgetStandingOut

router = APIRouter(prefix="/api")


@router.get("/budget", tags=["Budgets"])
async def get_budget(core: CoreDep, caller: Reader) -> BudgetStandingOut:
    """What you have left, and when it begins anew: budgets of the operator's money, your own caps, calls per minute."""
    return BudgetStandingOut.model_validate(await core.budgets.describe(caller.user_id))


@router.get("/admin/budgets", tags=["Administration"])
async def get_budgets(core: CoreDep, admin: Admin, asked: Annotated[SpendersFilter, Query()]) -> BudgetOverviewOut:
    """What is spent and promised of every budget in this day and month (UTC), and who spends the most."""
    return BudgetOverviewOut.model_validate(await core.budgets.overview(admin.user_id, limit=asked.limit))
