"""Keeps the table of usage events in shape: partitions for the months ahead, and none that retention has let go."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ownkey.background import end_task
from ownkey.errors import StorageError
from ownkey.storage import usage
from ownkey.storage.database import Database

_INTERVAL_SECONDS: Final = 3600.0

logger = logging.getLogger(__name__)


class UsageUpkeep:
    """Looks once an hour. Every process does; the database lets one of them work.

    `retention_months` is how many whole months of events stay behind this one; 0 keeps all. Daily sums always stay.
    """

    def __init__(
        self, database: Database, *, retention_months: int, interval_seconds: float = _INTERVAL_SECONDS
    ) -> None:
        self._database, self._retention_months = database, retention_months
        self._interval_seconds = interval_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin in the background, at once."""
        self._task = asyncio.create_task(self._run(), name="ownkey-usage-upkeep")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            await end_task(self._task)

    async def run_once(self) -> int:
        """Make what is missing and drop what is too old; says how many months of events went. Raises StorageError."""
        await usage.ensure_partitions(self._database)
        if not self._retention_months:
            return 0
        dropped = await usage.drop_old_usage(self._database, self._retention_months)
        if dropped:
            logger.info("dropped %d months of usage events: OWNKEY_USAGE_RETENTION_MONTHS", dropped)
        return dropped

    async def _run(self) -> None:
        while True:
            try:
                await self.run_once()
            except StorageError as error:
                logger.warning("the table of usage events could not be looked after: %s", error.message)
            except Exception:  # it is tried again in an hour
                logger.exception("the table of usage events could not be looked after")
            await asyncio.sleep(self._interval_seconds)
