"""When credentials are tried again, and what of it a host is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ownkey.domain.credential import CredentialStatus
from ownkey.domain.recovery import Finding, Standing, conclude, is_told, learn

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
PROBED = [
    CredentialStatus.RATE_LIMITED,
    CredentialStatus.OUT_OF_CREDIT,
    CredentialStatus.LIMITED,
    CredentialStatus.INVALID,
]
HOUR = timedelta(hours=1)


def standing(status: CredentialStatus = CredentialStatus.OK, **fields: object) -> Standing:
    values: dict[str, object] = {
        "status": status,
        "reason": None,
        "until": None,
        "since": NOW - timedelta(days=2),
        "probe_at": None,
        "probes": 0,
    }
    return Standing(**(values | fields))  # type: ignore[arg-type]


def follow(status: CredentialStatus, jitter: float = 0.0) -> list[datetime]:
    """The times of all tries of a credential that never works again."""
    known, now = learn(standing(), Finding(status=status), NOW, jitter), NOW
    times = []
    while known.probe_at is not None:
        now = known.probe_at
        times.append(now)
        claimed = Standing(**{name: getattr(known, name) for name in known.__struct_fields__} | {"probes": len(times)})
        known = conclude(claimed, Finding(status=status), now, jitter)
    return times


@pytest.mark.parametrize("status", PROBED)
def test_waits_double_up_to_a_limit_and_end_after_four_weeks(status: CredentialStatus) -> None:
    times = follow(status)
    waits = [after - before for before, after in pairwise([NOW, *times])]
    assert waits == sorted(waits)
    assert all(later <= 2 * earlier for earlier, later in pairwise(waits))
    assert waits[1] == 2 * waits[0]
    assert times[-1] <= NOW + timedelta(weeks=4) < times[-1] + 2 * waits[-1]


def test_a_refused_key_is_tried_a_few_dozen_times_in_all() -> None:
    times = follow(CredentialStatus.INVALID)
    assert times[0] == NOW + HOUR
    assert len(times) < 40


@pytest.mark.parametrize(
    "status", [status for status in CredentialStatus if status not in PROBED], ids=lambda status: status.value
)
def test_nothing_else_is_tried(status: CredentialStatus) -> None:
    before = standing(CredentialStatus.INVALID, probe_at=NOW, probes=3)
    assert learn(before, Finding(status=status), NOW, 0.5).probe_at is None


def test_jitter_spreads_tries_and_never_hastens_them() -> None:
    firsts = {follow(CredentialStatus.INVALID, jitter)[0] for jitter in (0.0, 0.3, 0.7, 1.0)}
    assert len(firsts) == 4
    assert min(firsts) == NOW + HOUR
    assert max(firsts) <= NOW + HOUR * 1.25


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_no_try_comes_before_the_time_that_the_provider_named(jitter: float) -> None:
    until = NOW + timedelta(hours=9)
    known = learn(standing(), Finding(status=CredentialStatus.RATE_LIMITED, until=until), NOW, jitter)
    assert known.probe_at is not None and until <= known.probe_at <= until + timedelta(minutes=1)
    later = until + timedelta(hours=3)
    again = learn(known, Finding(status=CredentialStatus.RATE_LIMITED, until=later), NOW, jitter)
    assert again.probe_at is not None and again.probe_at >= later
    assert (again.since, again.probes) == (known.since, known.probes)


def test_the_same_finding_again_does_not_put_the_try_off() -> None:
    known = learn(standing(), Finding(status=CredentialStatus.INVALID, reason="auth_invalid"), NOW, 0.2)
    again = learn(known, Finding(status=CredentialStatus.INVALID, reason="wrong_key"), NOW + HOUR / 2, 0.9)
    assert (again.probe_at, again.since, again.reason) == (known.probe_at, NOW, "wrong_key")


def test_a_relapse_goes_on_where_the_last_spell_ended_and_a_day_of_health_forgives() -> None:
    recovered = learn(standing(CredentialStatus.OUT_OF_CREDIT, probes=4), Finding(status=CredentialStatus.OK), NOW, 0.0)
    assert (recovered.probes, recovered.since, recovered.probe_at) == (4, NOW, None)
    soon = learn(recovered, Finding(status=CredentialStatus.OUT_OF_CREDIT), NOW + HOUR, 0.0)
    late = learn(recovered, Finding(status=CredentialStatus.OUT_OF_CREDIT), NOW + 25 * HOUR, 0.0)
    assert soon.probe_at == NOW + HOUR + timedelta(minutes=15 * 2**4)
    assert (late.probes, late.probe_at) == (0, NOW + 25 * HOUR + timedelta(minutes=15))


def test_a_try_that_finds_nothing_out_changes_nothing_but_the_next_one() -> None:
    before = standing(CredentialStatus.OUT_OF_CREDIT, reason="credit_exhausted", since=NOW - HOUR, probes=1)
    after = conclude(before, None, NOW, 0.0)
    assert after.probe_at == NOW + timedelta(minutes=30)
    assert (after.status, after.reason, after.since) == (before.status, before.reason, before.since)


RATE = CredentialStatus.RATE_LIMITED
LONG = {"since": NOW, "until": NOW + 2 * HOUR}
SHORT = {"since": NOW, "until": NOW + timedelta(seconds=20)}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (standing(CredentialStatus.UNVERIFIED), standing(CredentialStatus.OK), False),
        (standing(CredentialStatus.OK), standing(CredentialStatus.UNVERIFIED), False),
        (standing(CredentialStatus.OK), standing(CredentialStatus.INVALID), True),
        (standing(CredentialStatus.INVALID), standing(CredentialStatus.UNVERIFIED), True),
        (standing(CredentialStatus.OUT_OF_CREDIT), standing(CredentialStatus.OK), True),
        (standing(CredentialStatus.INVALID, reason="a"), standing(CredentialStatus.INVALID, reason="b"), False),
        (standing(CredentialStatus.OK), standing(RATE, **SHORT), False),
        (standing(RATE, **SHORT), standing(CredentialStatus.OK), False),
        (standing(CredentialStatus.OK), standing(RATE, **LONG), True),
        (standing(RATE, **LONG), standing(CredentialStatus.OK), True),
        (standing(RATE, **SHORT), standing(CredentialStatus.INVALID), True),
    ],
)
def test_a_host_hears_of_what_a_person_would_want_to_know(before: Standing, after: Standing, told: bool) -> None:
    assert is_told(before, after) is told
