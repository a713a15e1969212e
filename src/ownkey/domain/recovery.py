"""When a credential that was refused is tried again by itself, and which changes of its status a host is told.

Pure. A spell begins when a credential gets one of the statuses below, and ends when it is well again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct, structs

from ownkey.domain.credential import CredentialStatus

# (the first wait, the longest one); each wait is twice the one before.
_WAITS: Final[dict[CredentialStatus, tuple[timedelta, timedelta]]] = {
    CredentialStatus.RATE_LIMITED: (timedelta(minutes=1), timedelta(hours=1)),
    CredentialStatus.OUT_OF_CREDIT: (timedelta(minutes=15), timedelta(hours=6)),
    CredentialStatus.LIMITED: (timedelta(hours=1), timedelta(days=1)),
    # A provider may count refused keys against an address: these are tried a score of times in all.
    CredentialStatus.INVALID: (timedelta(hours=1), timedelta(days=1)),
}
_LONGEST_SPELL: Final = timedelta(weeks=4)
# A credential that is soon in trouble again goes on where it left off.
_WELL_AGAIN: Final = timedelta(days=1)
# After what lasts an hour a person wants to know; a limit per minute is everyday life.
_WORTH_TELLING: Final = timedelta(hours=1)
_JITTER: Final = 0.25
_WELL: Final = (CredentialStatus.OK, CredentialStatus.UNVERIFIED)


class Standing(Struct, frozen=True, kw_only=True):
    """What is known of a credential now, and since when. `probes` counts tries in this spell and the last one."""

    status: CredentialStatus
    reason: str | None
    until: datetime | None
    since: datetime
    probe_at: datetime | None
    probes: int


class Finding(Struct, frozen=True, kw_only=True):
    """What a request or a try has taught: the new status, a stable code for why, and until when, if anybody said so."""

    status: CredentialStatus
    reason: str | None = None
    until: datetime | None = None


def learn(before: Standing, finding: Finding, now: datetime, jitter: float) -> Standing:
    """What is known after a finding. `jitter` is from 0 to 1, so that credentials are not all tried at once.

    The same status again keeps the spell and its next try, but for a try before the time that the provider named.
    """
    if finding.status is before.status:
        probe_at = before.probe_at
        named = finding.until if before.status is CredentialStatus.RATE_LIMITED else None
        if probe_at is not None and named is not None and named > probe_at:
            probe_at = plan_probe(before.status, before.since, finding.until, before.probes, now, jitter)
        since, probes = before.since, before.probes
    else:
        rested = before.status in _WELL and now - before.since >= _WELL_AGAIN
        since, probes = now, 0 if rested else before.probes
        probe_at = plan_probe(finding.status, since, finding.until, probes, now, jitter)
    return Standing(
        status=finding.status,
        reason=finding.reason,
        until=finding.until,
        since=since,
        probe_at=probe_at,
        probes=probes,
    )


def conclude(before: Standing, finding: Finding | None, now: datetime, jitter: float) -> Standing:
    """What is known after a try; None: it found nothing out. The next one is planned if nothing has changed."""
    if finding is not None and finding.status is not before.status:
        return learn(before, finding, now, jitter)
    until = before.until if finding is None else finding.until
    return structs.replace(
        before,
        reason=before.reason if finding is None else finding.reason,
        until=until,
        probe_at=plan_probe(before.status, before.since, until, before.probes, now, jitter),
    )


def plan_probe(
    status: CredentialStatus,
    since: datetime,
    until: datetime | None,
    probes: int,
    now: datetime,
    jitter: float,
) -> datetime | None:
    """When to try next; None where there is nothing to find out, and after some weeks of the same.

    Never before `until`, when a provider that limits rates has said that it would refuse.
    """
    if status not in _WAITS:
        return None
    first, longest = _WAITS[status]
    wait = min(first * 2 ** min(probes, 20), longest) * (1 + _JITTER * jitter)
    at = now + wait
    if status is CredentialStatus.RATE_LIMITED and until is not None and until > now:
        at = max(at, until + first * _JITTER * jitter)
    return None if at - since > _LONGEST_SPELL else at


def is_told(before: Standing, after: Standing) -> bool:
    """Whether a host is told of this change: not of a first success, nor of short waits and their end."""
    if before.status is after.status:
        return False
    return not (_is_quiet(before) and _is_quiet(after))


def _is_quiet(standing: Standing) -> bool:
    if standing.status is CredentialStatus.RATE_LIMITED:
        return standing.until is None or standing.until - standing.since < _WORTH_TELLING
    return standing.status in _WELL
