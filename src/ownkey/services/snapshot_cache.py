"""Snapshots and token owners in memory, so that a warm user costs no query.

The database is the truth: every change raises the user's generation, and `storage.changes_feed` tells of it, at once or
by asking every now and then. What is kept may be used only while it is known how old it can be: for some time after the
last question that was answered, and no longer, whether the database is away or only this process is cut off from it. A
snapshot is never replaced by an older one: a slow read that started before a change would otherwise bring the old state
back.

Of the users who are warm, those who were asked for lately are at hand: in the form that serves requests. The others are
at rest (`resting_user`), which takes a sixth of the memory with all that goes with it, until their next request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Final, TypeVar, cast

from msgspec import Struct

from ownkey.domain.clock import elapsed_seconds
from ownkey.domain.settings import Snapshot
from ownkey.domain.user import UserStatus
from ownkey.services.resting_user import WarmUser, pack, read_generation, read_token_hashes, unpack
from ownkey.storage import snapshots
from ownkey.storage.database import Database
from ownkey.storage.snapshots import Standing, TokenOwner

# A token that nobody has is remembered for a moment, so that a client that repeats it does not repeat the query.
_UNKNOWN_TOKEN_SECONDS: Final = 1.0
_UNKNOWN_TOKENS_LIMIT: Final = 10_000
_CHECK_CHUNK: Final = 5_000
# Ten questions may go unanswered before the database counts as away.
_LEASE_SECONDS: Final = 5.0
_ANY_GENERATION: Final = 2**63
# With all that is kept about them elsewhere (routes, keys that were derived) these take some eight megabytes. To bring
# one back costs that request some 90 µs, 50 of them for a new route and 25 for the keys: it is to be rare.
_AT_HAND: Final = 1024

T = TypeVar("T")
K = TypeVar("K", str, bytes)


class _Entry(Struct):
    """A user at hand. `rested`: their snapshot was made again, and what it was before may still serve somebody."""

    snapshot: Snapshot
    token_hashes: tuple[bytes, ...] = ()
    standing: Standing | None = None
    rested: bool = False


class SnapshotCache:
    """Bounded by `size` users. When full, the user who has been at rest for the longest time goes.

    `at_hand` bounds those who are not at rest: whoever has been at hand for the longest time makes room, and is back at
    once when asked for. To know who was asked for last would cost every request something.

    What is kept counts for `stale_seconds` after the last `note_sync`, and for a few seconds at least. `on_drop` hears
    of every user who goes, so that whatever else is in memory about them goes too; `on_rest` of every user who is laid
    to rest, for what is dear to keep and easy to make again; `on_change` of every user who has changed, in memory or
    not.
    """

    def __init__(
        self,
        database: Database,
        *,
        size: int,
        stale_seconds: float,
        at_hand: int = _AT_HAND,
        on_drop: Callable[[str], None] = lambda _: None,
        on_rest: Callable[[str], None] = lambda _: None,
        on_change: Callable[[str], None] = lambda _: None,
        others: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._database, self._size, self._at_hand = database, size, at_hand
        self._usable_seconds = max(stale_seconds, _LEASE_SECONDS)
        self._usable_until = 0.0
        self._on_drop, self._on_rest, self._on_change, self._others = on_drop, on_rest, on_change, others
        # A user is either at hand or at rest, and their tokens with them.
        self._entries: dict[str, _Entry] = {}
        self._owners: dict[bytes, TokenOwner] = {}
        self._resting: dict[str, bytes] = {}
        self._resting_tokens: dict[bytes, str] = {}
        self._unknown: dict[bytes, float] = {}
        # The newest generation heard of while a read was under way; kept only until that read ends.
        self._heard: dict[str, int] = {}
        # Raised when everything is dropped: what was being read then is not kept either.
        self._epoch = 0
        self._loading: dict[str | bytes, tuple[int, asyncio.Task[object]]] = {}
        # How many reads are under way, and how many changes were heard of: nobody joins a read older than a change.
        self._reading = self._changes = 0

    def close(self) -> None:
        """Forget everything."""
        self._usable_until = 0.0
        self._entries.clear()
        self._owners.clear()
        self._resting.clear()
        self._resting_tokens.clear()

    def note_sync(self, moment: float) -> None:
        """Everything that was committed before this moment (`elapsed_seconds`) has been dropped here."""
        self._usable_until = moment + self._usable_seconds

    def __len__(self) -> int:
        return len(self._entries) + len(self._resting)

    def find(self, user_id: str) -> Snapshot | None:
        """The snapshot of a warm user. No I/O."""
        entry = self._entries.get(user_id)
        if entry is None:
            entry = self._bring_back(user_id)
            if entry is None:
                return None
        return entry.snapshot if elapsed_seconds() < self._usable_until else None

    def is_current(self, snapshot: Snapshot) -> bool:
        """Whether this snapshot is the one that counts now. No I/O."""
        entry = self._entries.get(snapshot.user_id)
        if entry is None or entry.snapshot is not snapshot:
            return self._is_copy(snapshot, entry)
        return elapsed_seconds() < self._usable_until

    def find_owner(self, token_hash: bytes) -> TokenOwner | None:
        """The owner of a warm token. No I/O; the caller checks the expiry."""
        return (
            self._owners.get(token_hash) or self._bring_owner_back(token_hash)
            if elapsed_seconds() < self._usable_until
            else None
        )

    async def load(self, user_id: str) -> Snapshot | None:
        """The snapshot of a user: warm, or by one query that concurrent callers share."""
        found = self.find(user_id)
        if found is not None:
            return found
        return await self._single_flight(user_id, self._read_snapshot)

    async def load_owner(self, token_hash: bytes) -> TokenOwner | None:
        """The owner of a token with their snapshot: warm, or by one query that concurrent callers share."""
        owner = self.find_owner(token_hash)
        if owner is not None:
            return owner
        if self._unknown.get(token_hash, 0) > time.monotonic():
            return None
        return await self._single_flight(token_hash, self._read_owner)

    def find_standing(self, user_id: str) -> Standing | None:
        """The standing of a warm user. No I/O."""
        entry = self._entries.get(user_id) or self._bring_back(user_id)
        return entry.standing if entry is not None and elapsed_seconds() < self._usable_until else None

    async def load_standing(self, user_id: str) -> Standing | None:
        """The standing of a user: warm, or by one query that concurrent callers share."""
        found = self.find_standing(user_id)
        if found is not None:
            return found
        return await self._single_flight(b"standing " + user_id.encode(), lambda _: self._read_standing(user_id))

    def drop(self, user_id: str, generation: int | None = None) -> None:
        """A user has changed: forget them, and with `generation` only what is older than that."""
        kept = self._find_generation(user_id)
        self._changes += 1
        if self._reading:
            # Without a generation nobody knows which reads are too old: none that is under way is kept.
            self._heard[user_id] = max(generation or _ANY_GENERATION, self._heard.get(user_id, 0))
        if kept is not None and (generation is None or kept < generation):
            self._forget(user_id)
        self._on_change(user_id)

    def drop_all(self) -> None:
        """Forget everybody: anything may have changed."""
        self._epoch += 1
        self._changes += 1
        for user_id in self._everybody():
            self.drop(user_id)
        self._unknown.clear()

    async def check_generations(self) -> None:
        """Drop every snapshot whose generation is not the one of the database. Raises StorageError.

        Also those that seem to be ahead: it may be another database, restored from a backup.
        """
        self._epoch += 1
        self._changes += 1
        self._unknown.clear()
        user_ids = list(self._everybody())
        for start in range(0, len(user_ids), _CHECK_CHUNK):
            chunk = user_ids[start : start + _CHECK_CHUNK]
            current = await snapshots.load_generations(self._database, chunk)
            for user_id in chunk:
                kept = self._find_generation(user_id)
                if kept is None or kept != current.get(user_id):
                    self.drop(user_id)

    def _everybody(self) -> set[str]:
        return {*self._entries, *self._resting, *self._others()}

    def _find_generation(self, user_id: str) -> int | None:
        """The generation that is kept of a user, whether at hand or at rest."""
        entry = self._entries.get(user_id)
        if entry is not None:
            return entry.snapshot.generation
        packed = self._resting.get(user_id)
        return None if packed is None else read_generation(packed)

    def _forget(self, user_id: str) -> None:
        entry = self._entries.pop(user_id, None)
        if entry is not None:
            for token_hash in entry.token_hashes:
                self._owners.pop(token_hash, None)
        else:
            for token_hash in read_token_hashes(self._resting.pop(user_id)):
                self._resting_tokens.pop(token_hash, None)
        self._on_drop(user_id)

    def _lay_to_rest(self, user_id: str) -> None:
        entry = self._entries.pop(user_id)
        owners = {token_hash: self._owners.pop(token_hash) for token_hash in entry.token_hashes}
        self._resting[user_id] = pack(WarmUser(entry.snapshot, owners, entry.standing))
        for token_hash in owners:
            self._resting_tokens[token_hash] = user_id
        self._on_rest(user_id)

    def _bring_back(self, user_id: str) -> _Entry | None:
        """A user who was at rest is at hand again. None: nothing is kept of them."""
        packed = self._resting.pop(user_id, None)
        if packed is None:
            return None
        user = unpack(packed)
        for token_hash in user.owners:
            del self._resting_tokens[token_hash]
        self._owners.update(user.owners)
        return self._put(_Entry(user.snapshot, tuple(user.owners), user.standing, rested=True))

    def _bring_owner_back(self, token_hash: bytes) -> TokenOwner | None:
        user_id = self._resting_tokens.get(token_hash)
        if user_id is None:
            return None
        self._bring_back(user_id)
        return self._owners[token_hash]

    def _put(self, entry: _Entry) -> _Entry:
        while len(self._entries) >= self._at_hand:
            self._lay_to_rest(next(iter(self._entries)))
        self._entries[entry.snapshot.user_id] = entry
        return entry

    def _is_copy(self, snapshot: Snapshot, entry: _Entry | None) -> bool:
        """Whether this snapshot is what the one that counts was made from again, because the user was at rest."""
        if entry is not None and not entry.rested:
            return False
        kept = self._find_generation(snapshot.user_id)
        return kept == snapshot.generation and elapsed_seconds() < self._usable_until

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
            if token_hash not in self._owners:
                entry.token_hashes += (token_hash,)
            self._owners[token_hash] = owner
        return owner

    def _keep(self, snapshot: Snapshot) -> _Entry | None:
        """Store a snapshot unless something newer is known. None: it is already outdated."""
        user_id = snapshot.user_id
        if snapshot.generation < self._heard.get(user_id, 0):
            return None
        kept = self._find_generation(user_id)
        if kept is not None:
            if kept > snapshot.generation:
                return None
            if kept == snapshot.generation:
                return self._entries.get(user_id) or self._bring_back(user_id)
            self._forget(user_id)
            self._on_change(user_id)
        while len(self) >= self._size:
            self._forget(next(iter(self._resting or self._entries)))
        return self._put(_Entry(snapshot))

    async def _single_flight(self, key: K, read: Callable[[K], Coroutine[None, None, T]]) -> T:
        """Run `read` once for all who ask for `key`; one who gives up does not stop it for the others.

        Who comes after a change was heard of is not given what was asked for before it.
        """
        changes, found = self._loading.get(key, (0, None))
        if found is None or changes != self._changes:
            task = asyncio.create_task(read(key))
            self._loading[key] = self._changes, cast("asyncio.Task[object]", task)
            self._reading += 1
            task.add_done_callback(lambda task: self._loaded(key, task))
        else:
            task = cast("asyncio.Task[T]", found)
        return await asyncio.shield(task)

    def _loaded(self, key: str | bytes, task: asyncio.Task[T]) -> None:
        _, latest = self._loading.get(key, (0, None))
        if latest is task:
            del self._loading[key]
        if not task.cancelled():
            task.exception()  # somebody may have stopped waiting: it is not "never retrieved"
        self._reading -= 1
        if not self._reading:
            self._heard.clear()
