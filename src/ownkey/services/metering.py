"""From the end of an upstream call to a row in PostgreSQL.

The hot path appends to a list. A background task prices what has gathered and writes it in one transaction;
events have their ids before dispatch and the write ignores ids that it has seen, so a batch whose fate is
unknown is simply sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from ownkey.domain.provider import Provider
from ownkey.domain.usage import CostSource, UsageEvent
from ownkey.errors import StorageError
from ownkey.services.pricing import Pricing

# Preparing an event takes some 25 µs, during which nobody is served: a batch is over in six milliseconds.
_BATCH_LIMIT: Final = 250
_BACKOFF_LIMIT_SECONDS: Final = 10.0
_CLOSE_TIMEOUT_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


class EventSink(Protocol):
    """Where events go. Writing the same event twice must count once."""

    async def __call__(self, events: Sequence[UsageEvent]) -> int:
        """Store the events; returns how many were new."""
        ...


class Metering:
    """Collects usage events and hands them to the sink in batches.

    `queue_size` bounds what may wait while the database is away: beyond it requests are refused, because an
    unmetered request is somebody's money without a record.
    """

    def __init__(
        self,
        sink: EventSink,
        catalog: Mapping[str, Provider],
        pricing: Pricing,
        *,
        flush_seconds: float,
        queue_size: int,
    ) -> None:
        self._sink, self._catalog, self._pricing = sink, catalog, pricing
        self._flush_seconds, self._queue_size = flush_seconds, queue_size
        self._waiting: list[UsageEvent] = []
        # Finished calls by (provider, outcome), for /metrics.
        self.counts: Counter[tuple[str, str]] = Counter()
        self._closing = asyncio.Event()
        self._woken = asyncio.Event()
        self._away = False
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin writing in the background."""
        self._task = asyncio.create_task(self._run(), name="ownkey-metering")

    async def close(self) -> None:
        """Write what is left. Events that cannot be written in time are logged as a count."""
        self._closing.set()
        self._woken.set()
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._task, _CLOSE_TIMEOUT_SECONDS)
        if self._waiting:
            logger.error("%d usage events could not be written before the process ended", len(self._waiting))

    @property
    def waiting(self) -> int:
        """Events that are not in the database yet."""
        return len(self._waiting)

    def check_room(self) -> None:
        """Raises StorageError(usage_queue_full) when no further event could be kept."""
        if len(self._waiting) >= self._queue_size:
            raise StorageError(
                "Usage cannot be recorded at the moment, so requests are refused. Try again shortly.",
                code="usage_queue_full",
                retry_after_seconds=5,
            )

    def record(self, event: UsageEvent) -> None:
        """Take over a finished event. Never blocks and never fails."""
        self._waiting.append(event)
        self.counts[event.provider, event.outcome.value] += 1

    def flush_soon(self) -> None:
        """Write without waiting for the next time: somebody's promise of money ends with it."""
        if not self._away:
            self._woken.set()

    async def flush(self) -> None:
        """Write everything that waits now. Raises StorageError when the database is away; nothing is lost then.

        What comes meanwhile waits for the next time: to chase it would be to write a few events at a time for ever.
        """
        async with self._flushing:
            left = len(self._waiting)
            while left > 0:
                batch = self._waiting[: min(left, _BATCH_LIMIT)]
                left -= len(batch)
                self._price(batch)
                await self._write(batch)
                del self._waiting[: len(batch)]

    async def _write(self, batch: Sequence[UsageEvent]) -> None:
        try:
            await self._sink(batch)
        except StorageError:
            raise
        except Exception:  # one event that PostgreSQL refuses must not hold up all the others
            logger.exception("a batch of %d usage events was refused; writing them one by one", len(batch))
            for event in batch:
                try:
                    await self._sink([event])
                except StorageError:
                    raise
                except Exception:
                    logger.exception("usage event %s was refused and is given up", event.id)

    def _price(self, batch: Sequence[UsageEvent]) -> None:
        for event in batch:
            if event.cost_source is not None or event.price_version is not None:
                continue
            try:
                self._pricing.price(event, self._catalog.get(event.provider))
            except Exception:  # a price that cannot be worked out must not hold up the record itself
                logger.exception("usage event %s could not be priced", event.id)
                event.cost_source = CostSource.UNPRICED

    async def _run(self) -> None:
        delay = self._flush_seconds
        while True:
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), delay)
                self._woken.clear()
                await self.flush()
                delay, self._away = self._flush_seconds, False
            except StorageError as error:
                self._away = True
                delay = min(max(delay, 0.1) * 2, _BACKOFF_LIMIT_SECONDS)
                logger.warning("%d usage events wait for the database: %s", len(self._waiting), error.message)
            except Exception:  # a bad event must not end metering for everybody
                delay = min(max(delay, 0.1) * 2, _BACKOFF_LIMIT_SECONDS)
                logger.exception("usage events could not be written")
            if self._closing.is_set():
                return
