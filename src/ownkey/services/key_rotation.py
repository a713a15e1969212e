"""Rotation of wrapping keys: every user's data key comes under another wrapping key while requests go on.

The phases are rows of the database (`ownkey_private.wrapping_keys`), so that a rotation outlives the process that works
on it: any process, or several at once, goes on from whatever is left. At every moment every data key is under a key
that is held, so calling a rotation off loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from msgspec import Struct

from ownkey.background import end_task
from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.key_ring import KeyRing
from ownkey.errors import Conflict, CredentialUnreadable, NotFound, OwnkeyError
from ownkey.services.changes import Changes
from ownkey.services.key_watch import LIFETIME, KeyWatch
from ownkey.storage import data_keys as rows
from ownkey.storage import wrapping_keys
from ownkey.storage.data_keys import StoredDataKey
from ownkey.storage.wrapping_keys import LiveProcess, Step, WrappingKeyRow

BATCH: Final = 500
# A key service takes some milliseconds for each key, and the rows are locked meanwhile.
_SERVICE_BATCH: Final = 50
# A wrap and an unwrap take some 40 microseconds: after so many of them, requests of this process have their turn.
_KEYS_PER_TURN: Final = 25

logger = logging.getLogger(__name__)


class Encryption(Struct, frozen=True, kw_only=True):
    """Wrapping keys and who holds them. `loaded` are those of the process that answers; `missing` are in use, not so.

    `working`: the process that answers is rewrapping now. `from_file`: a key is added to a file, without a restart.
    """

    primary_key: str | None
    loaded: tuple[str, ...]
    keys: tuple[WrappingKeyRow, ...]
    processes: tuple[LiveProcess, ...]
    missing: tuple[str, ...]
    from_file: bool
    working: bool

    @property
    def left(self) -> int:
        """How many data keys are not under the primary key yet."""
        return sum(one.keys for one in self.keys if one.id != self.primary_key)

    @property
    def to_move(self) -> int:
        """How many there were under retiring keys when they began to retire."""
        return sum(max(one.keys_at_start or 0, one.keys) for one in self.keys if one.phase == "retiring")


class Progress(Struct, frozen=True):
    """What a worker has done, and what was left under other keys when it looked last."""

    moved: int
    left: int
    unreadable: int = 0


class KeyRotation:
    """Whether somebody may ask or decide is the caller's to check."""

    def __init__(self, changes: Changes, data_keys: DataKeys, ring: KeyRing, watch: KeyWatch) -> None:
        self._changes, self._data_keys, self._ring, self._watch = changes, data_keys, ring, watch
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop working; what is left is left for others."""
        if self._task is not None:
            await end_task(self._task)

    async def describe(self, admin_id: str) -> Encryption:
        """How things stand, in the database, this moment. Raises StorageError."""
        async with self._changes.rotate(admin_id) as tx:
            keys = await wrapping_keys.list_wrapping_keys(tx)
            processes = await wrapping_keys.list_live_processes(tx)
        held = self._ring.ids
        # A name that was loaded once and is nowhere any more says nothing to anybody.
        somewhere = {*held, *(name for one in processes for name in one.wrapping_keys)}
        keys = [one for one in keys if one.phase != "known" or one.keys or one.id in somewhere]
        return Encryption(
            primary_key=next((one.id for one in keys if one.phase == "primary"), None),
            loaded=held,
            keys=tuple(keys),
            processes=tuple(processes),
            missing=tuple(one.id for one in keys if one.keys and one.id not in held),
            from_file=self._watch.from_file,
            working=self._task is not None and not self._task.done(),
        )

    async def promote(self, admin_id: str, key_id: str, *, actor: str | None = None) -> None:
        """Let this key wrap all new data keys, and the others retire: the first step of a rotation, or its end.

        A key that retires becomes primary again by this, which calls the rotation off. Raises NotFound, Conflict
        (key_not_everywhere, key_used_up) and StorageError.
        """
        await self._watch.reload()
        await self._watch.report()
        said = await self._take(admin_id, "promote", key_id, actor)
        if said == "unknown":
            raise NotFound(f"No process holds a wrapping key {key_id!r}.")
        if said == "used_up":
            raise Conflict(f"Wrapping key {key_id} is retired. Make a new one: `ownkey keygen`.", code="key_used_up")
        if said == "not_everywhere":
            lacking = [one for one in (await self.describe(admin_id)).processes if key_id not in one.wrapping_keys]
            listed = ", ".join(f"{one.host} process {one.pid}" for one in lacking[:10]) or "one that has ended"
            raise Conflict(
                f"Wrapping key {key_id} is not loaded everywhere: {listed}. Add it there first. A process that was "
                f"killed counts for {LIFETIME.seconds} seconds more.",
                code="key_not_everywhere",
            )
        await self._watch.report()

    async def retire(self, admin_id: str, key_id: str, *, actor: str | None = None) -> None:
        """Close a key under which nothing is left. Raises Conflict (keys_left, key_not_retiring), StorageError."""
        said = await self._take(admin_id, "retire", key_id, actor)
        if said == "keys_left":
            raise Conflict(f"Data keys are left under wrapping key {key_id}. Rewrap them first.", code="keys_left")
        if said == "not_retiring":
            raise Conflict(f"Wrapping key {key_id} is not retiring.", code="key_not_retiring")

    async def destroy(self, admin_id: str, key_id: str, *, actor: str | None = None) -> None:
        """Note that a retired key is no more. Raises Conflict (keys_left, key_not_retired, key_held), StorageError."""
        await self._watch.reload()
        await self._watch.report()
        said = await self._take(admin_id, "destroy", key_id, actor)
        if said == "not_retired":
            raise Conflict(f"Wrapping key {key_id} is not retired.", code="key_not_retired")
        if said == "keys_left":
            raise Conflict(f"Data keys are left under wrapping key {key_id}. Rewrap them first.", code="keys_left")
        if said == "held":
            raise Conflict(
                f"Processes still hold wrapping key {key_id}. Remove it from their configuration first.",
                code="key_held",
            )

    def start(self) -> None:
        """Rewrap in the background of this process, unless it does so already."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="ownkey-key-rotation")

    async def rewrap_all(self, *, pause_seconds: float = 0.0) -> Progress:
        """Bring every data key under the primary key, as far as keys are held here. May run in many processes.

        `pause_seconds` after each batch leaves a process that serves requests time for them. Raises StorageError,
        DataKeyClosed and KeyServiceAway; what was done is done. Keys that do not open, because somebody tampered with
        them or the key of that name is another one, are counted and left.
        """
        moved, bad, exhausted = 0, set[str](), set[str]()
        while True:
            async with self._changes.database.transaction(None, role="ownkey_rotator") as tx:
                counts = await rows.count_by_wrapping_key(tx)
                primary = await wrapping_keys.lock_primary(tx)
            left = {name: number for name, number in counts.items() if name != primary}
            source = next((name for name in left if name in self._ring.ids and name not in exhausted), None)
            if source is None:
                return Progress(moved, sum(left.values()), len(bad))
            done = await self._move(source, bad, pause_seconds)
            moved += done
            if not done:
                # What is there is locked by others, or opens for nobody.
                exhausted.add(source)

    async def _move(self, source: str, bad: set[str], pause_seconds: float) -> int:
        """Batch after batch from this key to the primary one, until there is nothing to be had; how many."""
        moved = 0
        while True:
            done = await self._move_batch(source, bad)
            if done is None:
                return moved
            moved += done
            await asyncio.sleep(pause_seconds)

    async def _move_batch(self, source: str, bad: set[str]) -> int | None:
        """One transaction: lock some rows, wrap them anew, put them back. None: there was nothing to be had.

        Users whose data key does not open are added to `bad` and passed over from then on.
        """
        async with self._changes.database.transaction(None, role="ownkey_rotator") as tx:
            # With several at work there would be no moment without one of them, and no rotation could be called off.
            await wrapping_keys.wait_for_phases(tx)
            # Held until the end: what is written here is under the key that is primary then.
            target = await wrapping_keys.lock_primary(tx)
            if target is None or target == source:
                return None
            local = self._ring.is_local(source) and self._ring.is_local(target)
            locked = await rows.lock_data_keys(tx, source, (BATCH if local else _SERVICE_BATCH) + len(bad))
            batch = [one for one in locked if one.user_id not in bad]
            if not batch:
                return None
            renewed = await self._renew(batch, target, bad, at_once=local)
            return await rows.swap_data_keys(tx, source, renewed, target)

    async def _renew(
        self, batch: list[StoredDataKey], target: str, bad: set[str], *, at_once: bool
    ) -> list[tuple[StoredDataKey, bytes]]:
        async def renew(old: StoredDataKey) -> tuple[StoredDataKey, bytes] | None:
            try:
                made = await self._data_keys.rewrap(old.user_id, old.wrapped, old.wrapping_key_id, old.version, target)
            except CredentialUnreadable:
                bad.add(old.user_id)
                logger.error("the data key of user %r does not open under %s", old.user_id, old.wrapping_key_id)  # noqa: TRY400  # where it was raised says nothing
                return None
            return old, made.wrapped

        if at_once:
            renewed = []
            for position, old in enumerate(batch, start=1):
                renewed.append(await renew(old))
                if position % _KEYS_PER_TURN == 0:
                    await asyncio.sleep(0)
        else:
            renewed = await asyncio.gather(*map(renew, batch))
        return [one for one in renewed if one is not None]

    async def _take(self, admin_id: str, step: Step, key_id: str, actor: str | None) -> str:
        async with self._changes.administer(admin_id) as tx:
            return await wrapping_keys.take_step(tx, step, key_id, actor or admin_id)

    async def _work(self) -> None:
        started = time.monotonic()
        try:
            done = await self.rewrap_all(pause_seconds=0.02)
        except OwnkeyError as error:
            logger.warning("rewrapping data keys stopped, to be continued by an administrator: %s", error.message)
        except Exception:
            logger.exception("rewrapping data keys stopped, to be continued by an administrator")
        else:
            seconds = time.monotonic() - started
            logger.info("rewrapped %d data keys in %.1f s; %d are left", done.moved, seconds, done.left)
