"""Keeps this process to what administrators decided for the whole deployment, whichever process they told it to."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from ownkey.background import end_task
from ownkey.domain.provider import Provider
from ownkey.errors import ConfigError, StorageError
from ownkey.providers.catalog import CatalogFault, read_stored_provider
from ownkey.providers.live_catalog import LiveCatalog
from ownkey.services.policy_board import PolicyBoard
from ownkey.storage import catalog as catalog_rows
from ownkey.storage import policy as policy_rows
from ownkey.storage.catalog import StoredProvider
from ownkey.storage.database import Database

_RETRY_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


class Deployment:
    """Reads again when it is woken, by a notification or because the changes feed was told so when it asked.

    While the database is away, what was decided last stays in force.
    """

    def __init__(self, database: Database, board: PolicyBoard, catalog: LiveCatalog) -> None:
        self._database, self._board, self._catalog = database, board, catalog
        self._woken = asyncio.Event()
        # One after another: what is read later is newer.
        self._reading = asyncio.Lock()
        self._known: list[StoredProvider] = []
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
            await end_task(self._task)

    def wake(self) -> None:
        """Something may have changed."""
        self._woken.set()

    async def refresh(self) -> None:
        """Read what is in force now. Raises StorageError."""
        async with self._reading:
            async with self._database.transaction(None) as tx:
                stored = await policy_rows.load_policy(tx)
                providers = await catalog_rows.list_providers(tx)
            self._board.adopt(stored)
            if providers != self._known:
                self._known = providers
                self._catalog.adopt(self._check(providers))

    def _check(self, rows: list[StoredProvider]) -> dict[str, Provider]:
        """The rows that this process can use; what another version stored may be beyond it."""
        found: dict[str, Provider] = {}
        for row in rows:
            if row.id in self._catalog.base:
                logger.warning("the catalogue's file has a provider %s, so the stored one does not count", row.id)
                continue
            try:
                found[row.id] = read_stored_provider(row.id, row.definition)
            except CatalogFault as error:
                logger.warning("a stored provider cannot be used: %s", error.message)
        return found

    async def _keep_up(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self.refresh()
            except StorageError as error:
                logger.warning("could not check for a changed policy: %s", error.message)
                self._woken.set()
                await asyncio.sleep(_RETRY_SECONDS)
            except msgspec.ValidationError:
                logger.exception("the stored policy is of an unknown form; the one before stays in force")
