"""One counter of a provider's usage: a provider may say anything, so every number is brought within bounds."""

from __future__ import annotations

from typing import Final

Count = int | float | None

# The largest whole number that every reader of JSON keeps exact.
COUNT_LIMIT: Final = 2**53
# A usage object has a few hundred bytes; one that is larger than this is not read.
USAGE_LIMIT_BYTES: Final = 16 * 1024


def read_count(value: Count) -> int:
    """A number of tokens, from 0 to COUNT_LIMIT."""
    if value is None:
        return 0
    if value.__class__ is int and 0 <= value <= COUNT_LIMIT:
        return value  # as nearly always
    return min(max(int(value), 0), COUNT_LIMIT)
