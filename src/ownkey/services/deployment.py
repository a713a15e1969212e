"""Keeps this process to what administrators decided for the whole deployment, whichever process they told it to."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import msgspec

from ownkey.errors import ConfigError, StorageError
from ownkey.services.policy_board import PolicyBoard
from ownkey.storage import policy as policy_rows
from ownkey.storage.database import Database

logger = logging.getLogger(__name__)


class Deployment:
    """Reads again when it is woken by a notification, and every `poll_seconds` in case one was lost.

    While the database is away, what was decided last stays in force.
    """

    def __init__(self, database: Database, board: PolicyBoard, *, poll_seconds: float) -> None:
        self._database, self._board, self._poll_seconds = database, board, poll_seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read once, then keep up. Raises StorageError, and ConfigError for what this version cannot read."""
        try:
            await self.refresh()
        except msgspec.ValidationError as error:
            # To serve without it could allow what administrators have forbidden.
            raise ConfigError(f"The stored policy is of a form that this version does not know: {error}") from None
        self._task = asyncio.create_task(self._keep_up(), name="ownkey-deployment")

    async def close(self) -> None:
        """Stop keeping up."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        """Something may have changed."""
        self._woken.set()

    async def refresh(self) -> None:
        """Read what is in force now. Raises StorageError."""
        async with self._database.transaction(None) as tx:
            stored = await policy_rows.load_policy(tx)
        self._board.adopt(stored)

    async def _keep_up(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._poll_seconds)
            self._woken.clear()
            try:
                await self.refresh()
            except StorageError as error:
                logger.warning("could not check for a changed policy: %s", error.message)
            except msgspec.ValidationError:
                logger.exception("the stored policy is of an unknown form; the one before stays in force")
