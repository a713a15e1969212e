"""Writes what requests teach about credentials (refused, out of credit, working again) back to the database."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime
from typing import Final

from msgspec import Struct

from ownkey.background import end_task
from ownkey.domain.credential import CredentialStatus, SealedCredential
from ownkey.domain.recovery import Finding
from ownkey.errors import StorageError
from ownkey.services.credential_status import StatusKeeper
from ownkey.services.expiry import utc_now
from ownkey.storage import users
from ownkey.storage.database import Database

# A status change makes every process read the user's snapshot again: more often than this it would be churn.
_REPEAT_SECONDS: Final = 5.0
_WAITING_LIMIT: Final = 10_000

logger = logging.getLogger(__name__)


class _Change(Struct, frozen=True):
    user_id: str
    credential_id: str
    generation: int
    health_key: str
    finding: Finding
    found_at: datetime


class CredentialHealth:
    """Collects status changes and writes them in the background; losing one costs nothing but a later retry."""

    def __init__(self, database: Database, keeper: StatusKeeper) -> None:
        self._database, self._keeper = database, keeper
        self._waiting: dict[str, _Change] = {}
        # By the secret's name: what is found of another one that takes its place is news.
        self._written: dict[str, tuple[CredentialStatus, float]] = {}
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin writing in the background."""
        self._task = asyncio.create_task(self._run(), name="ownkey-credential-health")

    async def close(self) -> None:
        """Stop, after one last try to write what waits."""
        if self._task is not None:
            await end_task(self._task)
        await self._write()

    def note(
        self,
        user_id: str,
        credential: SealedCredential,
        status: CredentialStatus,
        reason: str | None = None,
        until: datetime | None = None,
    ) -> None:
        """Remember that a credential now has this status. No I/O."""
        last = self._written.get(credential.health_key)
        if last is not None and last[0] is status and time.monotonic() - last[1] < _REPEAT_SECONDS:
            return
        if len(self._waiting) < _WAITING_LIMIT:
            finding = Finding(status=status, reason=reason, until=until)
            self._waiting[credential.id] = _Change(
                user_id, credential.id, credential.generation, credential.health_key, finding, utc_now()
            )
            self._wake.set()

    def forget(self, health_key: str) -> None:
        """Somebody found that this secret works: should it be refused again at once, that is news. No I/O."""
        self._written.pop(health_key, None)

    def forget_all(self) -> None:
        """Nobody knows any more what others have found."""
        self._written.clear()

    async def flush(self) -> None:
        """Write what waits now."""
        await self._write()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._write()

    async def _write(self) -> None:
        # Who asks for it waits for what is being written already, too.
        async with self._writing:
            await self._write_all()

    async def _write_all(self) -> None:
        while self._waiting:
            credential_id, change = next(iter(self._waiting.items()))
            del self._waiting[credential_id]
            self._note_written(change.health_key, change.finding.status)
            try:
                async with self._database.transaction(change.user_id) as tx:
                    await users.lock_user(tx, change.user_id)
                    kept = await self._keeper.keep(
                        tx,
                        change.user_id,
                        credential_id,
                        change.finding,
                        generation=change.generation,
                        found_at=change.found_at,
                    )
                if kept is None:  # a test knew better, so that what it found is stored and not this
                    self.forget(change.health_key)
            except StorageError as error:
                logger.warning("the status of credential %s was not stored: %s", credential_id, error.message)
            except Exception:  # one row that PostgreSQL refuses must not end this for everybody
                logger.exception("the status of credential %s was refused", credential_id)

    def _note_written(self, credential_id: str, status: CredentialStatus) -> None:
        """Those that were written longest ago stand first, and go when they no longer hold anything back."""
        now = time.monotonic()
        self._written.pop(credential_id, None)
        while self._written:
            oldest = next(iter(self._written))
            if now - self._written[oldest][1] < _REPEAT_SECONDS:
                break
            del self._written[oldest]
        self._written[credential_id] = (status, now)
