"""From the end of an upstream call to a row in PostgreSQL.

The hot path appends to a list, and to the spool, in which a call stands from before it is made until its row is there.
A background task prices what has gathered and writes it in one transaction; events have their ids before dispatch and
the write ignores ids that it has seen, so a batch whose fate is unknown is simply sent again, and so is what a process
that died has left in the spool.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, Protocol

from ownkey.background import end_task
from ownkey.domain.provider import Provider
from ownkey.domain.usage import CostSource, UsageEvent
from ownkey.errors import StorageError
from ownkey.services.pricing import Pricing
from ownkey.spool.leftovers import Leftovers, take_leftovers
from ownkey.spool.spool import Spool

BATCH_LIMIT: Final = 250
# Pricing an event takes some 12 µs, during which nobody is served.
_PRICED_AT_ONCE: Final = 20
_BACKOFF_LIMIT_SECONDS: Final = 10.0
_CLOSE_TIMEOUT_SECONDS: Final = 10.0
# How often somebody looks for what a process that died has left.
_ADOPT_SECONDS: Final = 10.0

Durability = Literal["process", "disk", "database"]

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

    What a call's record has survived before the last byte of its answer goes out: "process" this process's end, "disk"
    the machine's, "database" all that the database survives. `spool` None: only the last of them is kept.
    """

    def __init__(
        self,
        sink: EventSink,
        catalog: Mapping[str, Provider],
        pricing: Pricing,
        *,
        flush_seconds: float,
        queue_size: int,
        spool: Spool | None = None,
        durability: Durability = "process",
    ) -> None:
        self._sink, self._catalog, self._pricing = sink, catalog, pricing
        self._spool, self._durability = spool, durability
        # Whether the end of an answer has to wait for its record.
        self.waits = durability != "process"
        self.adopted = self.damaged = 0
        self._adopter: asyncio.Task[None] | None = None
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
        if self._spool is not None:
            self._adopter = asyncio.create_task(self._adopt_again_and_again(self._spool), name="ownkey-spool-adopt")

    async def close(self) -> None:
        """Write what is left. What cannot be written in time stays in the spool; without one, it is counted."""
        if self._adopter is not None:
            await end_task(self._adopter)
        self._closing.set()
        self._woken.set()
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._task, _CLOSE_TIMEOUT_SECONDS)
        if self._waiting:
            what = "could not be written before the process ended" if self._spool is None else "stay in the spool"
            logger.error("%d usage events %s", len(self._waiting), what)
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()

    @property
    def waiting(self) -> int:
        """Events that are not in the database yet."""
        return len(self._waiting)

    @property
    def spool_bytes(self) -> int:
        """What the spool takes of the disk."""
        return 0 if self._spool is None else self._spool.size_bytes

    def check_room(self) -> None:
        """Raises StorageError(usage_queue_full, usage_unwritable) when no further event could be kept."""
        if self._spool is not None and not self._spool.has_room():
            raise StorageError(
                "Usage cannot be written down, because the disk is full, so requests are refused. Try again shortly.",
                code="usage_unwritable",
                retry_after_seconds=5,
            )
        if len(self._waiting) >= self._queue_size:
            raise StorageError(
                "Usage cannot be recorded at the moment, so requests are refused. Try again shortly.",
                code="usage_queue_full",
                retry_after_seconds=5,
            )

    def begin(self, event: UsageEvent, body_bytes: int) -> None:
        """A call is about to be made. Never blocks and never fails."""
        if self._spool is not None:
            try:
                self._spool.begin(event, body_bytes)
            except OSError:
                logger.exception("the beginning of call %s could not be written down", event.id)

    def record(self, event: UsageEvent) -> None:
        """Take over a finished event. Never blocks and never fails."""
        self._waiting.append(event)
        if self._spool is not None:
            try:
                self._spool.finish(event)
            except OSError:
                logger.exception("the end of call %s could not be written down", event.id)
        self.counts[event.provider, event.outcome.value] += 1

    async def keep(self) -> None:
        """Wait until what was recorded has survived what it is to survive; in vain if that cannot be had."""
        try:
            if self._durability == "database":
                await self.flush()
            elif self._durability == "disk" and self._spool is not None:
                await self._spool.sync()
        except (StorageError, OSError) as error:
            logger.error("an answer ends before its usage is kept: %s", error)  # noqa: TRY400  # often, and no news

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
                batch = self._waiting[: min(left, BATCH_LIMIT)]
                left -= len(batch)
                for begin in range(0, len(batch), _PRICED_AT_ONCE):
                    self._price(batch[begin : begin + _PRICED_AT_ONCE])
                    await asyncio.sleep(0)
                await self._write(batch)
                del self._waiting[: len(batch)]
                if self._spool is not None:
                    self._spool.release(batch)

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

    async def _adopt_again_and_again(self, spool: Spool) -> None:
        while True:
            try:
                await self.adopt(spool.directory)
            except StorageError as error:
                logger.warning("what a process left in the spool waits for the database: %s", error.message)
            except Exception:  # what one process left must not end the care for that of others
                logger.exception("what a process left in the spool could not be recorded")
            await asyncio.sleep(_ADOPT_SECONDS)

    async def adopt(self, directory: Path) -> None:
        """Record what processes that are gone have left. Raises StorageError; it stays for the next time then."""
        found = take_leftovers(directory)
        while (left := await asyncio.to_thread(next, found, None)) is not None:
            try:
                await self._record_leftovers(left)
            except OSError as error:
                # Held on to, nobody could ever record it.
                left.leave()
                logger.error("%s waits, because it cannot be read or copied: %s", left.lock_path, error.strerror)  # noqa: TRY400
            except BaseException:
                left.leave()
                raise
            else:
                left.discard()

    async def _record_leftovers(self, left: Leftovers) -> None:
        batches, count = left.batches(BATCH_LIMIT), 0
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            self._price(batch)
            await self._write(batch)
            count += len(batch)
        self.adopted += count
        self.damaged += left.damaged
        if count:
            logger.warning("%d calls of a process that ended without a word are on the books now", count)

    async def _run(self) -> None:
        delay = self._flush_seconds
        while True:
            closing = False
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), delay)
                self._woken.clear()
                # What comes while this is written waits for the next time, and there has to be one.
                closing = self._closing.is_set()
                await self.flush()
                delay, self._away = self._flush_seconds, False
            except StorageError as error:
                self._away = True
                delay = min(max(delay, 0.1) * 2, _BACKOFF_LIMIT_SECONDS)
                logger.warning("%d usage events wait for the database: %s", len(self._waiting), error.message)
            except Exception:  # a bad event must not end metering for everybody
                delay = min(max(delay, 0.1) * 2, _BACKOFF_LIMIT_SECONDS)
                logger.exception("usage events could not be written")
            if closing:
                return
