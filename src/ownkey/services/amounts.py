"""Amounts of money that somebody gave."""

from __future__ import annotations

from ownkey.domain.budget import MICRODOLLARS_LIMIT
from ownkey.errors import RequestError


def check_microdollars(amount: int | None, param: str) -> None:
    """Refuse an amount that no counter could hold; None is no limit. Raises RequestError."""
    if amount is not None and not 0 <= amount <= MICRODOLLARS_LIMIT:
        raise RequestError(f"An amount lies between 0 and {MICRODOLLARS_LIMIT} micro-dollars.", param=param)
