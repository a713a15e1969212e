"""When each gateway token was last used: noted in memory, written now and then."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime
from time import time
from typing import Final

from ownkey.background import end_task
from ownkey.errors import StorageError
from ownkey.storage.database import Database
from ownkey.storage.tokens import touch_tokens

_WAITING_LIMIT: Final = 100_000

logger = logging.getLogger(__name__)


class TokenUses:
    """A person who revokes a token wants to know whether anything still uses it; half a minute is exact enough."""

    def __init__(self, database: Database, *, write_seconds: float = 30.0) -> None:
        self._database, self._write_seconds = database, write_seconds
        self._waiting: dict[str, tuple[str, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin writing in the background."""
        self._task = asyncio.create_task(self._run(), name="ownkey-token-uses")

    async def close(self) -> None:
        """Stop, after writing what waits."""
        if self._task is not None:
            await end_task(self._task)
        with suppress(StorageError):
            await self.flush()

    def note(self, user_id: str, token_id: str) -> None:
        """A token was used just now. No I/O."""
        if token_id in self._waiting or len(self._waiting) < _WAITING_LIMIT:
            self._waiting[token_id] = (user_id, time())

    async def flush(self) -> None:
        """Write what waits now. Raises StorageError; what could not be written is noted at the next use."""
        waiting, self._waiting = self._waiting, {}
        await touch_tokens(
            self._database,
            [(user_id, token_id, datetime.fromtimestamp(at, UTC)) for token_id, (user_id, at) in waiting.items()],
        )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._write_seconds)
            try:
                await self.flush()
            except StorageError as error:
                logger.warning("the last uses of tokens were not written: %s", error.message)
            except Exception:  # it is not worth ending for
                logger.exception("the last uses of tokens were refused")
