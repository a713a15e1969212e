"""Takes events out of the outbox and hands them over until they arrive: at least once, under the same id every time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from ownkey.background import end_task
from ownkey.domain.credential_advice import EXPIRY_WARNINGS_DAYS
from ownkey.domain.event import Event, Sink
from ownkey.errors import StorageError
from ownkey.storage import events
from ownkey.storage.database import Database
from ownkey.storage.events import ClaimedEvent

# One delivery may take this long; a batch of them, so many at once, ends well before its claim does.
DELIVERY_SECONDS: Final = 15.0
_BATCH: Final = 20
_AT_ONCE: Final = 4
_LEASE_SECONDS: Final = 180.0
_FIRST_WAIT_SECONDS: Final = 5.0
_LONGEST_WAIT_SECONDS: Final = 3600.0
_GIVE_UP_SECONDS: Final = 7 * 86_400.0
# While a receiver is in trouble one event at a time is tried, and this seldom at last.
_LONGEST_PAUSE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 20.0
_START_SECONDS: Final = 2.0
_TEND_SECONDS: Final = 600.0

logger = logging.getLogger(__name__)


class DeliveryFailed(Exception):
    """An event did not arrive. The message is safe to show; `wait_seconds` is what the receiver asked for."""

    def __init__(self, message: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message, self.wait_seconds = message, wait_seconds


class EventDelivery:
    """One way out. `deliver` raises DeliveryFailed."""

    def __init__(self, database: Database, sink: Sink, deliver: Callable[[Event], Awaitable[None]]) -> None:
        self._database, self._sink, self._deliver = database, sink, deliver
        self._woken = asyncio.Event()
        self._tended = 0.0
        self._task: asyncio.Task[None] | None = None
        self._stopped: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin in the background; short commands end before anything is taken up."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"ownkey-events-{self._sink}")

    def wake(self) -> None:
        """There is something new."""
        self._woken.set()

    def stop(self) -> None:
        """End at the next chance. What is under way is dropped: its claim ends, and somebody hands it over again."""
        if self._task is not None:
            self._task.cancel()
            self._stopped.add(self._task)
            self._task = None

    async def close(self) -> None:
        """Stop, and wait for the end."""
        self.stop()
        for task in self._stopped:
            await end_task(task)
        self._stopped.clear()

    async def tend(self) -> None:
        """Say that this way out is served, look for dates that are near, forget what is old. Raises StorageError."""
        await events.serve(self._database, self._sink)
        await events.warn_of_expiry(self._database, EXPIRY_WARNINGS_DAYS)
        await events.forget_old(self._database)
        self._tended = time.monotonic()

    async def run_due(self, limit: int = _BATCH) -> tuple[int, int]:
        """Hand over what is due, `limit` at most; says how many were taken up and how many failed.

        Raises StorageError.
        """
        claimed = await events.claim(self._database, self._sink, limit=limit, lease_seconds=_LEASE_SECONDS)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def hand_over(one: ClaimedEvent) -> bool:
            async with turns:
                return await self._hand_over(one)

        arrived = await asyncio.gather(*(hand_over(one) for one in claimed))
        return len(claimed), arrived.count(False)

    async def _hand_over(self, claimed: ClaimedEvent) -> bool:
        """Whether it has arrived."""
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                await self._deliver(claimed.event)
        except DeliveryFailed as error:
            reason, asked = error.message, error.wait_seconds
        except TimeoutError:
            reason, asked = f"no answer within {DELIVERY_SECONDS:g} seconds", None
        else:
            await events.mark_delivered(self._database, self._sink, claimed)
            return True
        wait = min(_FIRST_WAIT_SECONDS * 2 ** min(claimed.tries - 1, 20), _LONGEST_WAIT_SECONDS)
        wait = max(wait * (1 + 0.25 * random.random()), min(asked or 0.0, _LONGEST_WAIT_SECONDS))  # noqa: S311
        given_up = await events.mark_failed(
            self._database, self._sink, claimed, reason, wait_seconds=wait, give_up_seconds=_GIVE_UP_SECONDS
        )
        level = logging.ERROR if given_up else logging.WARNING
        end = "is given up" if given_up else f"is tried again in {wait:.0f} seconds"
        logger.log(level, "event %s did not reach the %s (%s) and %s", claimed.event.id, self._sink, reason, end)
        return False

    async def _run(self) -> None:
        await self._look(0)
        await asyncio.sleep(_START_SECONDS * _spread())
        pause = 0.0
        while True:
            claimed, failed = await self._look(1 if pause else _BATCH)
            if failed:
                pause = min(max(pause * 2, 1.0), _LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause * _spread())
            elif claimed:
                # While there is more, go on: a receiver that is well again is told all that has gathered.
                pause = 0.0
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _POLL_SECONDS * _spread())

    async def _look(self, limit: int) -> tuple[int, int]:
        """What `run_due` says; what stands in its way counts as a failure."""
        self._woken.clear()
        try:
            if not self._tended or time.monotonic() - self._tended > _TEND_SECONDS:
                await self.tend()
            return await self.run_due(limit) if limit else (0, 0)
        except StorageError as error:
            logger.warning("events could not be read: %s", error.message)
        except Exception:  # one odd event must not end this for all others
            logger.exception("events could not be handed over")
        return 0, 1


def _spread() -> float:
    """Processes that were started together should not march in step."""
    return 1 + random.random() / 2  # noqa: S311  # no secret depends on it
