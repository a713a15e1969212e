"""Breakers of hosts and cool-downs of credentials."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ownkey.domain.exchange import CONSEQUENCES, Failure
from ownkey.domain.usage import Outcome
from ownkey.upstream.health import HealthBoard, HealthView

URL = "https://api.example.com/v1"
PROVIDER_FAULTS = [outcome for outcome, consequence in CONSEQUENCES.items() if consequence.provider_fault]
OTHERS = [outcome for outcome, consequence in CONSEQUENCES.items() if not consequence.provider_fault]


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, tzinfo=UTC)
        self.passed = 1000.0

    def __call__(self) -> datetime:
        return self.now

    def elapsed(self) -> float:
        return self.passed

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.passed += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> HealthBoard:
    return HealthBoard(now=clock, elapsed=clock.elapsed, jitter=lambda: 0.0)


def failure(outcome: Outcome, retry_after_seconds: float | None = None) -> Failure:
    return Failure(outcome=outcome, message="", retry_after_seconds=retry_after_seconds)


def fail(board: HealthBoard, times: int, outcome: Outcome = Outcome.OVERLOADED, *, url: str = URL) -> None:
    for number in range(times):
        board.note_failure(url, f"credential-{number}", failure(outcome))


@pytest.mark.parametrize("outcome", PROVIDER_FAULTS)
def test_opens_after_five_faults_of_the_provider(board, clock, outcome):
    fail(board, 4, outcome)
    assert board.provider_down_until(URL) is None
    fail(board, 1, outcome)
    assert board.provider_down_until(URL) == clock.now + timedelta(seconds=1)


@pytest.mark.parametrize("outcome", OTHERS)
def test_nothing_that_is_about_a_user_opens_it(board, outcome):
    fail(board, 100, outcome)
    assert board.provider_down_until(URL) is None


def test_a_success_in_between_starts_the_count_anew(board):
    for _ in range(5):
        fail(board, 4)
        board.note_success(URL, "c")
    assert board.provider_down_until(URL) is None


def test_a_breaker_is_one_base_urls_own(board):
    fail(board, 5)
    for other in ("http://api.example.com/v1", "https://api.example.com/v2", "https://example.com/v1"):
        assert board.provider_down_until(other) is None


def test_after_the_pause_exactly_one_request_tries(board, clock):
    fail(board, 5)
    clock.pass_seconds(1)
    assert [board.provider_down_until(URL) is None for _ in range(5)] == [True, False, False, False, False]


def test_a_try_that_works_closes_the_breaker(board, clock):
    fail(board, 5)
    clock.pass_seconds(1)
    assert board.provider_down_until(URL) is None
    board.note_success(URL, "c")
    assert [board.provider_down_until(URL) for _ in range(3)] == [None] * 3


def test_tries_that_fail_double_the_pause_up_to_thirty_seconds(board, clock):
    fail(board, 5)
    pauses = []
    for _ in range(8):
        until = board.provider_down_until(URL)
        pauses.append((until - clock.now).total_seconds())
        clock.pass_seconds(pauses[-1])
        assert board.provider_down_until(URL) is None
        fail(board, 1)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_late_failures_of_requests_that_had_left_before_change_nothing(board, clock):
    fail(board, 5)
    until = board.provider_down_until(URL)
    clock.pass_seconds(0.5)
    fail(board, 20)
    assert board.provider_down_until(URL) == until


def test_a_try_that_was_never_made_passes_on(board, clock):
    fail(board, 5)
    clock.pass_seconds(1)
    assert board.provider_down_until(URL) is None
    assert board.provider_down_until(URL) is not None
    clock.pass_seconds(10)
    assert board.provider_down_until(URL) is None
    assert board.provider_down_until(URL) is not None


def test_jitter_shortens_the_pause_by_up_to_a_quarter(clock):
    board = HealthBoard(now=clock, elapsed=clock.elapsed, jitter=lambda: 1.0)
    fail(board, 5)
    assert board.provider_down_until(URL) == clock.now + timedelta(seconds=0.75)


@pytest.mark.parametrize(
    ("outcome", "said", "seconds"),
    [
        (Outcome.RATE_LIMITED, None, 10),
        (Outcome.RATE_LIMITED, 2.5, 2.5),
        (Outcome.QUOTA_DAILY, None, 3600),
        (Outcome.QUOTA_DAILY, 90, 90),
        (Outcome.CREDIT_EXHAUSTED, None, 3600),
        (Outcome.CREDIT_EXHAUSTED, 5, 3600),
        (Outcome.CREDIT_EXHAUSTED, 7200, 7200),
    ],
)
def test_a_credential_cools_down(board, clock, outcome, said, seconds):
    until = board.note_failure(URL, "c", failure(outcome, said))
    assert until == clock.now + timedelta(seconds=seconds) == board.credential_blocked_until("c")
    assert board.credential_blocked_until("of somebody else") is None
    clock.pass_seconds(seconds)
    assert board.credential_blocked_until("c") is None


@pytest.mark.parametrize(
    "outcome", [Outcome.AUTH_INVALID, Outcome.OVERLOADED, Outcome.BAD_REQUEST, Outcome.UNREACHABLE]
)
def test_other_failures_do_not_block_a_credential(board, outcome):
    assert board.note_failure(URL, "c", failure(outcome, 30)) is None
    assert board.credential_blocked_until("c") is None


def test_a_shorter_pause_does_not_replace_a_longer_one(board, clock):
    board.note_failure(URL, "c", failure(Outcome.QUOTA_DAILY))
    until = board.note_failure(URL, "c", failure(Outcome.RATE_LIMITED))
    assert until == clock.now + timedelta(hours=1) == board.credential_blocked_until("c")


def test_a_success_frees_the_credential(board):
    board.note_failure(URL, "c", failure(Outcome.RATE_LIMITED))
    board.note_success(URL, "c")
    assert board.credential_blocked_until("c") is None


def test_memory_is_bounded_and_the_newest_stay(clock):
    board = HealthBoard(now=clock, elapsed=clock.elapsed, jitter=lambda: 0.0, max_endpoints=10, max_credentials=100)
    for number in range(1000):
        board.note_failure(f"https://h{number}.example.com", f"c{number}", failure(Outcome.RATE_LIMITED))
        fail(board, 5, url=f"https://h{number}.example.com")
    assert board.provider_down_until("https://h999.example.com") is not None
    assert board.provider_down_until("https://h0.example.com") is None
    assert board.credential_blocked_until("c999") is not None
    assert board.credential_blocked_until("c0") is None
    held = sum(len(value) for value in vars(board).values() if isinstance(value, dict))
    assert held == 10 + 100


def test_what_is_in_use_is_forgotten_last(clock):
    board = HealthBoard(now=clock, elapsed=clock.elapsed, jitter=lambda: 0.0, max_endpoints=2)
    fail(board, 4, url="https://busy.example.com")
    for number in range(5):
        fail(board, 1, url=f"https://h{number}.example.com")
        fail(board, 1, url="https://busy.example.com")
    assert board.provider_down_until("https://busy.example.com") is not None


def test_who_only_looks_takes_nobodys_try() -> None:
    clock = Clock()
    board = HealthBoard(now=clock, elapsed=clock.elapsed)
    failure = Failure(outcome=Outcome.UNREACHABLE, message="")
    for _ in range(5):
        board.note_failure("https://api.x.test/v1", "c", failure)
    view = HealthView(board)
    assert view.provider_down_until("https://api.x.test/v1") is not None
    clock.pass_seconds(60)
    assert view.provider_down_until("https://api.x.test/v1") is None
    assert board.provider_down_until("https://api.x.test/v1") is None, "the try is still to be had"
    assert board.provider_down_until("https://api.x.test/v1") is not None, "and is given once"


def test_a_clock_that_is_set_right_again_ends_nothing_and_begins_nothing(board: HealthBoard, clock: Clock) -> None:
    """For an hour it was 40 days ahead: what is left alone then must not be left alone for 40 days."""
    clock.now += timedelta(days=40)
    for _ in range(5):
        board.note_failure(URL, "c", failure(Outcome.UNREACHABLE))
    until = board.note_failure(URL, "c", failure(Outcome.RATE_LIMITED, 20.0))
    assert until == clock.now + timedelta(seconds=20)
    clock.now -= timedelta(days=40)
    assert board.credential_blocked_until("c") == clock.now + timedelta(seconds=20)
    clock.pass_seconds(21)
    assert board.credential_blocked_until("c") is None
    assert board.provider_down_until(URL) is None
    board.note_failure(URL, "c", failure(Outcome.RATE_LIMITED, 20.0))
    clock.now += timedelta(days=40)
    assert board.credential_blocked_until("c") == clock.now + timedelta(seconds=20)
