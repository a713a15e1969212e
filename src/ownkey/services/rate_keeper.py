"""Calls and tokens per minute in Redis or Valkey, by the `limits` library: for deployments that have one.

Without it, and while it does not answer, PostgreSQL counts: slower, and just as exact. Some differences are left, since
Redis counts first and looks then. Of calls that ask at the very same moment, one that is refused may for an instant
stand in the way of another. What a call took when Redis goes away stays taken until its minute is over. And a call that
is not made after all gives its place in the minute back here, too; the database gives back its tokens only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from typing import Any, Final

from msgspec import Struct

from ownkey.domain.budget import Bound, Ceiling, Counter, Scope, judge, need
from ownkey.errors import ConfigError

_TIMEOUT_SECONDS: Final = 0.5
# How long it is left alone after it did not answer: a request should not wait for it every time.
_AWAY_SECONDS: Final = 2.0
# A counter outlives its minute by as much as clocks of processes may differ.
_EXPIRY_SECONDS: Final = 120
_SCHEMES: Final = ("redis", "rediss", "redis+unix", "redis+sentinel", "redis+cluster")

logger = logging.getLogger(__name__)


class RatesAway(Exception):  # a state, not a fault
    """Redis does not answer."""


class Taken(Struct, frozen=True):
    """What a call took of its minute: (key, amount) by scope."""

    amounts: dict[Scope, tuple[str, int]]


class RateKeeper:
    """Counts whole minutes, as the database does. Open it with `RateKeeper.open`."""

    def __init__(self, storage: Any, away: type[Exception]) -> None:
        self._storage, self._away = storage, away
        self._resting_until = 0.0

    @classmethod
    def open(cls, url: str, deployment_id: str) -> RateKeeper:
        """Prepare to connect to `redis://…` or `valkey://…`. Raises ConfigError; whether it answers is seen later."""
        try:
            storage, errors = import_module("limits.storage"), import_module("limits.errors")
            import_module("redis")
        except ModuleNotFoundError:
            raise ConfigError("OWNKEY_LIMITS_URL needs more packages: pip install 'ownkey[redis]'.") from None
        scheme, separator, rest = url.partition("://")
        scheme = scheme.replace("valkey", "redis")
        if not separator or scheme not in _SCHEMES:
            raise ConfigError("OWNKEY_LIMITS_URL is a URL of Redis or Valkey, such as redis://127.0.0.1:6379/0.")
        try:
            opened = storage.storage_from_string(
                f"async+{scheme}://{rest}",
                implementation="redispy",
                wrap_exceptions=True,
                key_prefix=f"ownkey:{deployment_id}",
                socket_timeout=_TIMEOUT_SECONDS,
                socket_connect_timeout=_TIMEOUT_SECONDS,
            )
        except (errors.ConfigurationError, ValueError, TypeError):  # what it says may hold the password
            raise ConfigError("OWNKEY_LIMITS_URL cannot be read as a URL of Redis or Valkey.") from None
        return cls(opened, errors.StorageError)

    async def close(self) -> None:
        """Close the connections."""
        await self._storage.bridge.get_connection().aclose()

    async def take(
        self, user_id: str, ceilings: Sequence[Ceiling], bound: Bound, now: datetime
    ) -> tuple[tuple[Counter, ...], Taken | None]:
        """Count a call against its minute: how the counters stood before, and what was taken of them.

        None is taken when one of them is too short. Raises RatesAway.
        """
        counters, taken = [], Taken({})
        try:
            for ceiling in ceilings:
                key, needed = _key(ceiling, user_id, now), need(ceiling, bound)
                total = await self._add(key, needed)
                taken.amounts[ceiling.scope] = (key, needed)
                counters.append(_counter(ceiling, total - needed, needed, now))
        except RatesAway:
            await self._give_back(taken)
            raise
        if judge(counters, now) is None:
            return tuple(counters), taken
        await self._give_back(taken)
        return tuple(counters), None

    async def look(self, user_id: str, ceilings: Sequence[Ceiling], now: datetime) -> tuple[Counter, ...]:
        """How the counters stand. Raises RatesAway."""
        try:
            found = [await self._ask(self._storage.get, _key(one, user_id, now)) for one in ceilings]
        except self._away as error:
            raise self._rest(error) from error
        return tuple(_counter(one, total, 0, now) for one, total in zip(ceilings, found, strict=True))

    async def correct(self, taken: Taken, tokens: int) -> None:
        """The call is over and has used this many tokens, not the most that it could have. Never fails."""
        counted = taken.amounts.get(Scope.TOKENS)
        if counted is None:
            return
        key, promised = counted
        try:
            await self._add(key, tokens - promised)
        except RatesAway:
            return

    async def release(self, taken: Taken) -> None:
        """The call was not made. Never fails."""
        await self._give_back(taken)

    async def _give_back(self, taken: Taken) -> None:
        try:
            for key, amount in taken.amounts.values():
                await self._add(key, -amount)
        except RatesAway:
            return

    async def _add(self, key: str, amount: int) -> int:
        try:
            return int(await self._ask(self._storage.incr, key, _EXPIRY_SECONDS, amount))
        except self._away as error:
            raise self._rest(error) from error

    async def _ask(self, question: Any, *arguments: object) -> Any:
        if time.monotonic() < self._resting_until:
            raise RatesAway
        return await question(*arguments)

    def _rest(self, error: Exception) -> RatesAway:
        logger.warning(
            "Redis does not answer (%s), so PostgreSQL counts calls per minute", type(error.__cause__).__name__
        )
        self._resting_until = time.monotonic() + _AWAY_SECONDS
        return RatesAway()


def _key(ceiling: Ceiling, user_id: str, now: datetime) -> str:
    return f"{ceiling.scope}/{ceiling.period.start(now):%Y%m%dT%H%M}/{user_id}"


def _counter(ceiling: Ceiling, spent: int, needed: int, now: datetime) -> Counter:
    return Counter(
        scope=ceiling.scope,
        period=ceiling.period,
        limit=ceiling.limit,
        stop=ceiling.stop,
        spent=max(0, spent),
        reserved=0,
        needed=needed,
        resets_at=ceiling.period.end(now),
    )
