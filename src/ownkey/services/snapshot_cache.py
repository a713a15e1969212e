"""Snapshots and token owners in memory, so that a warm user costs no query.

The database is the truth: every change raises the user's generation and notifies. A notification drops what is
older here; a poll of the generations finds what a lost notification left behind. A snapshot is never replaced
by an older one: a slow read that started before a change would otherwise bring the old state back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final, TypeVar, cast

from msgspec import Struct

from ownkey.domain.settings import Snapshot
from ownkey.domain.user import UserStatus
from ownkey.errors import StorageError
from ownkey.storage import snapshots
from ownkey.storage.database import Database
from ownkey.storage.snapshots import Standing, TokenOwner

# A token that nobody has is remembered for a moment, so that a client that repeats it does not repeat the query.
_UNKNOWN_TOKEN_SECONDS: Final = 1.0
_UNKNOWN_TOKENS_LIMIT: Final = 10_000
_POLL_CHUNK: Final = 5_000
_ANY_GENERATION: Final = 2**63

T = TypeVar("T")
K = TypeVar("K", str, bytes)
logger = logging.getLogger(__name__)


class _Entry(Struct):
    snapshot: Snapshot
    token_hashes: set[bytes]
    standing: Standing | None = None


class SnapshotCache:
    """Bounded by `size` users. When full, the user who was loaded first goes.

    `on_drop` hears of every user who goes, so that whatever else is in memory about them goes too.
    """

    def __init__(
        self,
        database: Database,
        *,
        size: int,
        poll_seconds: float,
        on_drop: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database, self._size, self._poll_seconds = database, size, poll_seconds
        self._on_drop = on_drop
        self._entries: dict[str, _Entry] = {}
        self._owners: dict[bytes, TokenOwner] = {}
        self._unknown: dict[bytes, float] = {}
        # The newest generation heard of while a read was under way; kept only until that read ends.
        self._heard: dict[str, int] = {}
        # Raised when everything is dropped: what was being read then is not kept either.
        self._epoch = 0
        self._loading: dict[str | bytes, asyncio.Task[object]] = {}
        self._poller: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to poll for changes whose notification was lost."""
        self._poller = asyncio.create_task(self._poll(), name="ownkey-snapshot-poll")

    async def close(self) -> None:
        """Stop polling and forget everything."""
        if self._poller is not None:
            self._poller.cancel()
            with suppress(asyncio.CancelledError):
                await self._poller
        self._entries.clear()
        self._owners.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, user_id: str) -> Snapshot | None:
        """The snapshot of a warm user. No I/O."""
        entry = self._entries.get(user_id)
        return entry.snapshot if entry is not None else None

    def find_owner(self, token_hash: bytes) -> TokenOwner | None:
        """The owner of a warm token. No I/O; the caller checks the expiry."""
        return self._owners.get(token_hash)

    async def load(self, user_id: str) -> Snapshot | None:
        """The snapshot of a user: warm, or by one query that concurrent callers share."""
        found = self.find(user_id)
        if found is not None:
            return found
        return await self._single_flight(user_id, self._read_snapshot)

    async def load_owner(self, token_hash: bytes) -> TokenOwner | None:
        """The owner of a token with their snapshot: warm, or by one query that concurrent callers share."""
        owner = self._owners.get(token_hash)
        if owner is not None:
            return owner
        if self._unknown.get(token_hash, 0) > time.monotonic():
            return None
        return await self._single_flight(token_hash, self._read_owner)

    def find_standing(self, user_id: str) -> Standing | None:
        """The standing of a warm user. No I/O."""
        entry = self._entries.get(user_id)
        return entry.standing if entry is not None else None

    async def load_standing(self, user_id: str) -> Standing | None:
        """The standing of a user: warm, or by one query that concurrent callers share."""
        found = self.find_standing(user_id)
        if found is not None:
            return found
        return await self._single_flight(b"standing " + user_id.encode(), lambda _: self._read_standing(user_id))

    def drop(self, user_id: str, generation: int | None = None) -> None:
        """Forget a user, and with `generation` only what is older than that."""
        entry = self._entries.get(user_id)
        if self._loading:
            # Without a generation nobody knows which reads are too old: none that is under way is kept.
            self._heard[user_id] = max(generation or _ANY_GENERATION, self._heard.get(user_id, 0))
        if entry is None or (generation is not None and entry.snapshot.generation >= generation):
            return
        del self._entries[user_id]
        for token_hash in entry.token_hashes:
            self._owners.pop(token_hash, None)
        self._on_drop(user_id)

    def drop_all(self) -> None:
        """Forget everybody: the notifications were interrupted and anything may have changed."""
        self._epoch += 1
        for user_id in list(self._entries):
            self.drop(user_id)
        self._unknown.clear()

    async def check_generations(self) -> None:
        """Drop every snapshot that the database has moved past. Raises StorageError."""
        user_ids = list(self._entries)
        for start in range(0, len(user_ids), _POLL_CHUNK):
            chunk = user_ids[start : start + _POLL_CHUNK]
            current = await snapshots.load_generations(self._database, chunk)
            for user_id in chunk:
                generation = current.get(user_id)
                self.drop(user_id, generation) if generation is not None else self.drop(user_id)

    async def _read_snapshot(self, user_id: str) -> Snapshot | None:
        epoch = self._epoch
        snapshot = await snapshots.load_snapshot(self._database, user_id)
        if snapshot is not None and epoch == self._epoch:
            self._keep(snapshot)
        return snapshot

    async def _read_standing(self, user_id: str) -> Standing | None:
        epoch = self._epoch
        standing = await snapshots.load_standing(self._database, user_id)
        # As with tokens, who is suspended is not kept: what is kept lets in.
        if standing is not None and standing.status is UserStatus.ACTIVE and epoch == self._epoch:
            entry = self._keep(standing.snapshot)
            if entry is not None:
                entry.standing = standing
        return standing

    async def _read_owner(self, token_hash: bytes) -> TokenOwner | None:
        epoch = self._epoch
        owner = await snapshots.load_by_token(self._database, token_hash)
        if owner is None or owner.state != "active":
            if len(self._unknown) >= _UNKNOWN_TOKENS_LIMIT:
                self._unknown.clear()
            if owner is None:
                self._unknown[token_hash] = time.monotonic() + _UNKNOWN_TOKEN_SECONDS
            return owner
        entry = self._keep(owner.snapshot) if epoch == self._epoch else None
        if entry is not None:
            entry.token_hashes.add(token_hash)
            self._owners[token_hash] = owner
        return owner

    def _keep(self, snapshot: Snapshot) -> _Entry | None:
        """Store a snapshot unless something newer is known. None: it is already outdated."""
        user_id, entry = snapshot.user_id, self._entries.get(snapshot.user_id)
        if snapshot.generation < self._heard.get(user_id, 0):
            return None
        if entry is not None:
            if entry.snapshot.generation > snapshot.generation:
                return None
            if entry.snapshot.generation == snapshot.generation:
                return entry
            self.drop(user_id)
        while len(self._entries) >= self._size:
            self.drop(next(iter(self._entries)))
        entry = self._entries[user_id] = _Entry(snapshot, set())
        return entry

    async def _single_flight(self, key: K, read: Callable[[K], Coroutine[None, None, T]]) -> T:
        """Run `read` once for all who ask for `key`; one who gives up does not stop it for the others."""
        task = cast("asyncio.Task[T] | None", self._loading.get(key))
        if task is None:
            task = asyncio.create_task(read(key))
            self._loading[key] = cast("asyncio.Task[object]", task)
            task.add_done_callback(lambda _: self._loaded(key))
        return await asyncio.shield(task)

    def _loaded(self, key: str | bytes) -> None:
        task = self._loading.pop(key)
        if not task.cancelled():
            task.exception()  # somebody may have stopped waiting: it is not "never retrieved"
        if not self._loading:
            self._heard.clear()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.check_generations()
            except StorageError as error:
                logger.warning("could not check for changed settings: %s", error.message)
