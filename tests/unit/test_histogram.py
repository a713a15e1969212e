"""Histograms that are added up as numbers, and what they say of the middle and of the slow ones."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ownkey.domain.histogram import Histogram

PARTS = (0.5, 0.95, 0.99)


def mark(milliseconds: int) -> int:
    """As the database makes it."""
    bucket = 0 if milliseconds <= 0 else min(255, 1 + math.floor(8 * math.log2(milliseconds)))
    return int(10 ** (12 * bucket))


def exact(times: list[int], part: float) -> int:
    """The smallest that so large a part does not exceed."""
    return sorted(times)[math.ceil(part * len(times)) - 1]


@given(st.lists(st.integers(0, 900_000), min_size=1, max_size=200))
@example([64])  # the lowest of its bucket, whose middle is rounded up
def test_quantiles_are_good_to_four_and_a_half_per_cent_and_rounding(times: list[int]) -> None:
    found = Histogram(str(sum(map(mark, times)))).quantiles(PARTS)
    truth = [exact(times, part) for part in PARTS]
    assert found == [pytest.approx(one, abs=0.045 * one + 0.5) for one in truth]


def test_what_is_added_up_says_the_same_as_all_at_once() -> None:
    seed = random.Random(4)
    parts = [[round(seed.lognormvariate(7, 1)) for _ in range(seed.randrange(1, 60))] for _ in range(30)]
    added = Histogram()
    for times in parts:
        added.add(Histogram(str(sum(map(mark, times)))))
    whole = Histogram(str(sum(mark(one) for times in parts for one in times)))
    assert added.quantiles(PARTS) == whole.quantiles(PARTS)


def test_a_billion_calls_do_not_run_over() -> None:
    text = str(10**9 * mark(1000) + 10**9 * mark(1100) + mark(5))
    assert Histogram(text).quantiles((0.0000000001, 0.4, 0.6)) == [
        pytest.approx(5, abs=1),
        pytest.approx(1000, rel=0.045),
        pytest.approx(1100, rel=0.045),
    ]


@pytest.mark.parametrize("text", ["", "0"])
def test_without_a_call_nothing_is_said(text: str) -> None:
    assert Histogram(text).quantiles(PARTS) == [None, None, None]


def test_no_time_at_all_is_a_time() -> None:
    assert Histogram(str(3 * mark(0))).quantiles(PARTS) == [0, 0, 0]
