"""Amounts of money that somebody gave."""

from __future__ import annotations

from typing import Final

from ownkey.domain.budget import MICRODOLLARS_LIMIT
from ownkey.errors import RequestError

_LIES_BETWEEN: Final = (
    f"An amount lies between 0 and {MICRODOLLARS_LIMIT:,} micro-dollars, which are ${MICRODOLLARS_LIMIT // 10**6:,}."
)


def check_microdollars(amount: int | None, param: str) -> None:
    """Refuse an amount that no counter could hold; None is no limit. Raises RequestError."""
    if amount is not None and not 0 <= amount <= MICRODOLLARS_LIMIT:
        raise RequestError(_LIES_BETWEEN, param=param)
