"""Histograms of how long calls took, in the form in which the database adds them up.

Twelve decimal digits for each bucket, the lowest bucket in the last ones. Bucket 0 is no time at all; bucket b counts
calls of 2^((b - 1) / 8) up to 2^(b / 8) milliseconds: what its middle says of any of them is good to 4.5 per cent
and the half millisecond of rounding.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, zip_longest
from typing import Final

_DIGITS: Final = 12
_BUCKETS_PER_OCTAVE: Final = 8


class Histogram:
    """How many calls each bucket has."""

    def __init__(self, text: str = "") -> None:
        """Read the number as the database writes it."""
        whole = text.zfill(-(-len(text) // _DIGITS) * _DIGITS)
        self._counts = [int(whole[end - _DIGITS : end]) for end in range(len(whole), 0, -_DIGITS)]

    def add(self, other: Histogram) -> None:
        """Count the calls of another one, too."""
        self._counts = [mine + more for mine, more in zip_longest(self._counts, other._counts, fillvalue=0)]

    def quantiles(self, wanted: Sequence[float]) -> list[int | None]:
        """Milliseconds that so large a part of the calls did not exceed; None where there was no call."""
        upto = list(accumulate(self._counts))
        if not upto or not upto[-1]:
            return [None] * len(wanted)
        return [_middle(bisect_left(upto, part * upto[-1])) for part in wanted]


def _middle(bucket: int) -> int:
    return round(2 ** ((bucket - 0.5) / _BUCKETS_PER_OCTAVE)) if bucket else 0
