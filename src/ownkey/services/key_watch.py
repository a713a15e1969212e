"""Says every few seconds that this process lives and which wrapping keys it holds, and rereads a changed file of them.

A key becomes primary only when every live process holds it: so each of them has to say what it holds, and to stop
saying so soon after it has ended, however it ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from ownkey.background import end_task
from ownkey.crypto.box import KEY_BYTES
from ownkey.crypto.key_calls import KeyCalls
from ownkey.crypto.key_ring import KeyRing
from ownkey.crypto.wrapping import Complaints
from ownkey.errors import ConfigError, DataKeyClosed, OwnkeyError, StorageError
from ownkey.storage import data_keys, wrapping_keys
from ownkey.storage.database import Database
from ownkey.storage.wrapping_keys import Phase

INTERVAL_SECONDS: Final = 2.0
# Ten reports may be lost, or a process be stopped for so long, before the others go on without it.
LIFETIME: Final = timedelta(seconds=20)
# Whether a key is in use still is a count of all users.
_LOOK_AGAIN_SECONDS: Final = 30.0

logger = logging.getLogger(__name__)


class KeyWatch:
    """One per process. `load` reads the keys anew from `path`; both None where they come from a variable."""

    def __init__(
        self,
        database: Database,
        ring: KeyRing,
        calls: KeyCalls,
        *,
        load: Callable[[], KeyRing] | None = None,
        path: Path | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self.process_id = str(uuid4())
        self.phases: Mapping[str, Phase] = {}
        self._database, self._ring, self._calls = database, ring, calls
        self._load, self._path, self._interval_seconds = load, path, interval_seconds
        self._seen = self._look()
        self._passed_over, self._look_again_at = False, 0.0
        self._complaints = Complaints(every_seconds=300)
        self._task: asyncio.Task[None] | None = None

    @property
    def from_file(self) -> bool:
        """Whether a key is added by writing it to a file, without a restart."""
        return self._path is not None

    @property
    def primary_id(self) -> str | None:
        """The key that wraps new data keys, as far as this process knows."""
        return next((name for name, phase in self.phases.items() if phase == "primary"), None)

    async def start(self) -> None:
        """Report once, check what is held, then go on in the background. Raises ConfigError and StorageError."""
        await self.report()
        try:
            await self.check()
        except BaseException:
            await self._withdraw()
            raise
        self._task = asyncio.create_task(self._run(), name="ownkey-key-watch")

    async def close(self) -> None:
        """Stop, and say that this process ends."""
        if self._task is not None:
            await end_task(self._task)
        await self._withdraw()

    async def report(self) -> None:
        """Say what is held now. Raises StorageError."""
        async with self._database.transaction(None) as tx:
            self.phases = await wrapping_keys.report_process(
                tx, self.process_id, platform.node()[:200] or "?", os.getpid(), self._ring.ids, LIFETIME
            )
        primary = self.primary_id
        self._ring.prefer(primary)
        if primary is not None and primary not in self._ring.ids and self._complaints.allow(primary):
            logger.error("the primary wrapping key %s is not loaded here: add it to this server's keys", primary)
        for name in self._ring.ids:
            if self.phases.get(name) == "destroyed" and self._complaints.allow(name):
                logger.warning("wrapping key %s was declared destroyed and is still loaded here", name)

    async def reload(self, *, once_more: bool = True) -> bool:
        """Read the file again if it is another one; says whether other keys are held now. Raises StorageError.

        What cannot be read, or lacks a key that is in use, changes nothing. `once_more`: look again at a file that
        lacked one, because it may not be in use any more.
        """
        seen = self._look()
        if self._load is None or (seen == self._seen and not (once_more and self._passed_over)):
            return False
        try:
            found = self._load()
        except ConfigError as error:
            self._seen, self._passed_over = seen, False
            logger.error("the wrapping keys are as before: %s", error.message)  # noqa: TRY400  # no traceback: it may show the file
            return False
        async with self._database.transaction(None, role="ownkey_rotator") as tx:
            needed = {*await data_keys.count_by_wrapping_key(tx), self.primary_id}
        # Not before: what was not looked at because the database was away is looked at the next time.
        self._seen = seen
        lost = [name for name in self._ring.lacks(found) if name in needed]
        self._passed_over = bool(lost)
        if lost:
            self._look_again_at = time.monotonic() + _LOOK_AGAIN_SECONDS
            names = ", ".join(sorted(lost))
            if self._complaints.allow(f"file without {names}"):
                logger.error("the wrapping keys are as before: the file lacks %s, in use still", names)
            return False
        before = self._ring.ids
        self._ring.adopt(found)
        logger.info("wrapping keys read again: %s (were %s)", ", ".join(found.ids), ", ".join(before))
        return True

    def _look(self) -> tuple[int, int, int, int] | None:
        if self._path is None:
            return None
        with suppress(OSError):
            status = self._path.stat()
            # The last is of its rights, too: a file that others could read is taken once they cannot.
            return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return None

    async def check(self) -> None:
        """Whether the primary key is here and works. Raises ConfigError."""
        primary = self.primary_id
        if primary not in self._ring.ids:
            raise ConfigError(
                f"The primary wrapping key {primary} is not configured here, so new API keys could not be sealed and "
                "many stored ones not be opened. Add it to this server's wrapping keys."
            )
        for key_id in self._ring.service_ids:
            try:
                await self._calls.run(key_id, lambda key_id=key_id: self._try(key_id))  # type: ignore[misc]
            except OwnkeyError as error:
                message = f"The key service of wrapping key {key_id} cannot wrap and unwrap: {error.message}"
                if key_id == primary:
                    raise ConfigError(message) from None
                logger.error(message)  # noqa: TRY400

    def _try(self, key_id: str) -> None:
        data_key = secrets.token_bytes(KEY_BYTES)
        bound = {"user_id": "", "deployment_id": "start-up check", "version": 1}
        _, wrapped = self._ring.wrap(data_key, key_id=key_id, **bound)  # type: ignore[arg-type]
        if self._ring.unwrap(key_id, wrapped, **bound) != data_key:  # type: ignore[arg-type]
            raise DataKeyClosed("What it unwraps is not what it wrapped.")

    async def _withdraw(self) -> None:
        with suppress(StorageError):
            async with self._database.transaction(None) as tx:
                await wrapping_keys.end_process(tx, self.process_id)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            try:
                await self.reload(once_more=time.monotonic() >= self._look_again_at)
                await self.report()
            except StorageError as error:
                if self._complaints.allow("database"):
                    logger.warning("could not report the wrapping keys that are held here: %s", error.message)
            except Exception:
                if self._complaints.allow("unforeseen"):
                    logger.exception("could not report the wrapping keys that are held here")
