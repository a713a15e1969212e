"""What is broken right now: endpoints that do not answer, and credentials that would be refused.

Kept in memory and per process. An endpoint is a base URL: many stand behind one host name where a gateway leads to
several providers, or where users set addresses of their own, and the trouble of one says nothing about the others.
Its breaker counts only failures that are its own (`provider_fault`), so that no user's bad key, empty account or
rate limit closes a provider to others.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import Struct

from ownkey.domain.clock import elapsed_seconds
from ownkey.domain.credential import CredentialStatus
from ownkey.domain.exchange import CONSEQUENCES, Failure
from ownkey.domain.usage import Outcome

_FAILURES_TO_OPEN: Final = 5
_FIRST_BACK_OFF_SECONDS: Final = 1.0
_MAX_BACK_OFF_SECONDS: Final = 30.0
_JITTER: Final = 0.25
# A probe that was granted may never be sent: a preview asks too, and an earlier attempt of the chain may succeed.
_PROBE_SECONDS: Final = 10.0
_MAX_ENDPOINTS: Final = 4096
_MAX_CREDENTIALS: Final = 100_000


class _Breaker(Struct):
    """One endpoint with at least one failure since its last success. Open from the moment that `until` is set.

    Times are those of the clock that nobody sets, here and below: one wrong hour of the other would rest for an hour.
    """

    failures: int = 0
    openings: int = 0
    until: float | None = None
    probing: bool = False


class _Block(Struct, frozen=True):
    """A credential that is left alone until then, and what it was found to be."""

    until: float
    status: CredentialStatus | None


class HealthBoard:
    """Implements `domain.routing.Health`. Not thread-safe; times are UTC."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed: Callable[[], float] = elapsed_seconds,
        jitter: Callable[[], float] = random.random,
        max_endpoints: int = _MAX_ENDPOINTS,
        max_credentials: int = _MAX_CREDENTIALS,
    ) -> None:
        """`jitter` gives numbers from 0 to 1. Beyond the two limits, what was touched longest ago is forgotten."""
        self._now, self._elapsed, self._jitter = now, elapsed, jitter
        self._max_endpoints, self._max_credentials = max_endpoints, max_credentials
        # Both are empty while nothing is broken: then a look-up is one test of a dict.
        self._breakers: dict[str, _Breaker] = {}
        self._blocked: dict[str, _Block] = {}

    @property
    def calm(self) -> bool:
        """Whether nothing is known to be wrong with anybody: then every answer below is None."""
        return not self._breakers and not self._blocked

    def provider_down_until(self, base_url: str) -> datetime | None:
        """Until when this base URL is not worth trying; None: try it.

        After that time one caller gets None, and the others wait for what comes of its try.
        """
        if not self._breakers:
            return None
        breaker = self._breakers.get(base_url)
        if breaker is None or breaker.until is None:
            return None
        now = self._elapsed()
        if breaker.until > now:
            return self._moment(breaker.until - now)
        breaker.probing, breaker.until = True, now + _PROBE_SECONDS
        return None

    def find_down_until(self, base_url: str) -> datetime | None:
        """The same for a report: asking changes nothing, and nobody's try is taken."""
        breaker = self._breakers.get(base_url)
        left = breaker.until - self._elapsed() if breaker is not None and breaker.until is not None else 0.0
        return self._moment(left) if left > 0 else None

    def credential_blocked_until(self, credential_id: str) -> datetime | None:
        """Until when this credential would be refused; None: use it."""
        if not self._blocked:
            return None
        block = self._blocked.get(credential_id)
        if block is None:
            return None
        left = block.until - self._elapsed()
        if left > 0:
            return self._moment(left)
        del self._blocked[credential_id]
        return None

    def credential_blocked_as(self, credential_id: str) -> CredentialStatus | None:
        """What a blocked credential was found to be: what is stored of it may be older."""
        block = self._blocked.get(credential_id)
        return block.status if block is not None else None

    def note_success(self, base_url: str, credential_id: str) -> None:
        """An attempt worked: its endpoint and its credential are fine."""
        if self._breakers:
            self._breakers.pop(base_url, None)
        if self._blocked:
            self._blocked.pop(credential_id, None)

    def forgive(self, credential_id: str) -> None:
        """A credential got a new secret, or works again: what it was blocked for is over."""
        self._blocked.pop(credential_id, None)

    def forgive_all(self) -> None:
        """Nobody knows any more which credentials are still to be left alone: try them."""
        self._blocked.clear()

    def note_failure(self, base_url: str, credential_id: str, failure: Failure) -> datetime | None:
        """An attempt failed. Returns until when its credential is left alone, or None."""
        consequence = CONSEQUENCES[failure.outcome]
        if consequence.provider_fault:
            self._count_failure(base_url)
        elif failure.http_status is not None:
            # Whatever it said, the endpoint is there and answers.
            self._breakers.pop(base_url, None)
        if not consequence.cool_down_seconds:
            return None
        seconds = failure.retry_after_seconds
        if seconds is None or failure.outcome is Outcome.CREDIT_EXHAUSTED:
            # An account without money is not refilled by the reset of a rate limit.
            seconds = max(seconds or 0, consequence.cool_down_seconds)
        return self._block(credential_id, seconds, consequence.status)

    def _count_failure(self, base_url: str) -> None:
        # Taken out and put back at the end: the order of the dict is the order of last use.
        breaker = self._breakers.pop(base_url, None) or _Breaker()
        self._breakers[base_url] = breaker
        _forget_oldest(self._breakers, self._max_endpoints)
        breaker.failures += 1
        if breaker.failures < _FAILURES_TO_OPEN or (breaker.until is not None and not breaker.probing):
            # Below the limit, or open already: then this is the end of a request that had left before.
            return
        back_off = min(_FIRST_BACK_OFF_SECONDS * 2**breaker.openings, _MAX_BACK_OFF_SECONDS)
        breaker.openings += 1
        breaker.probing = False
        breaker.until = self._elapsed() + back_off * (1 - _JITTER * self._jitter())

    def _block(self, credential_id: str, seconds: float, status: CredentialStatus | None) -> datetime:
        now = self._elapsed()
        block = _Block(now + seconds, status)
        earlier = self._blocked.pop(credential_id, block)
        self._blocked[credential_id] = longer = max(block, earlier, key=lambda one: one.until)
        _forget_oldest(self._blocked, self._max_credentials)
        return self._moment(longer.until - now)

    def _moment(self, seconds: float) -> datetime:
        """What the wall clock will show then."""
        return self._now() + timedelta(seconds=seconds)


class HealthView:
    """A health board for who only looks: a preview must not take the one try that a broken endpoint is given."""

    def __init__(self, board: HealthBoard) -> None:
        self._board = board

    def provider_down_until(self, base_url: str) -> datetime | None:
        """Until when this base URL is not worth trying."""
        return self._board.find_down_until(base_url)

    def credential_blocked_until(self, credential_id: str) -> datetime | None:
        """Until when this credential would be refused."""
        return self._board.credential_blocked_until(credential_id)

    def credential_blocked_as(self, credential_id: str) -> CredentialStatus | None:
        """What a blocked credential was found to be."""
        return self._board.credential_blocked_as(credential_id)


def _forget_oldest(entries: dict[str, Any], limit: int) -> None:
    while len(entries) > limit:
        del entries[next(iter(entries))]
