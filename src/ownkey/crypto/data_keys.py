"""The users' data keys: made here, kept wrapped in the database, unwrapped into a small bounded cache."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from ownkey.crypto.box import KEY_BYTES
from ownkey.crypto.key_calls import KeyCalls
from ownkey.crypto.wrapping import WrappingKeys
from ownkey.errors import CredentialUnreadable, DataKeyClosed, KeyServiceAway

# 4,096 plaintext keys are 128 KiB: enough that a key service is not asked per request, few enough to be lost.
DEFAULT_CACHE_SIZE: Final = 4096

# The form in which a user's data key is stored now: (wrapped, wrapping key id, version).
Reread = Callable[[str], Awaitable[tuple[bytes, str, int] | None]]

logger = logging.getLogger(__name__)


class WrappedDataKey(Struct, frozen=True):
    """A data key as the database keeps it."""

    wrapped: bytes
    wrapping_key_id: str
    version: int


class DataKeyCold(Exception):
    """This data key is not in memory, and no key here opens it at once: await `DataKeys.load`, then open again."""


class DataKeys:
    """Makes and opens data keys. One per process; not for use from several threads at once.

    `reread` looks up the stored form anew: what somebody has in memory may have been rewrapped since, and the key that
    opens the old form may be gone from here.
    """

    def __init__(
        self,
        wrapping: WrappingKeys,
        deployment_id: str,
        *,
        cache_size: int = DEFAULT_CACHE_SIZE,
        calls: KeyCalls | None = None,
        reread: Reread | None = None,
    ) -> None:
        self._wrapping = wrapping
        self._deployment_id = deployment_id
        self._cache_size = cache_size
        self._calls, self._reread = calls or KeyCalls(), reread
        # By user, in order of use, the oldest first: what was unwrapped, and the key. Something else under the same
        # user (rotated, tampered with) is no hit and takes its place.
        self._opened: dict[str, tuple[tuple[str, int, bytes], bytes]] = {}
        self._loads: dict[tuple[str, tuple[str, int, bytes]], asyncio.Task[bytes]] = {}

    @property
    def primary_id(self) -> str:
        """The id of the wrapping key under which new data keys are wrapped where the database says nothing else."""
        return self._wrapping.primary_id

    @property
    def known_ids(self) -> tuple[str, ...]:
        """Every wrapping key that is loaded."""
        return self._wrapping.ids

    def new(self, user_id: str, *, version: int = 1) -> WrappedDataKey:
        """A new random data key for this user under the first key, which must be local. `open` gives the key itself.

        Two processes may make one at once: only the one that the database kept counts, so it is opened from there.
        """
        return self._wrap(os.urandom(KEY_BYTES), user_id, version, None)

    async def make(self, user_id: str, wrapping_key_id: str | None, *, version: int = 1) -> WrappedDataKey:
        """The same under any key. Raises DataKeyClosed for one that is not held, KeyServiceAway."""
        return await self.wrap(os.urandom(KEY_BYTES), user_id, version, wrapping_key_id)

    def open(self, user_id: str, wrapped: bytes, wrapping_key_id: str, version: int) -> bytes:
        """The data key, if that takes no waiting.

        Raises DataKeyCold if it does, and CredentialUnreadable if it was not wrapped for this user, deployment and
        version.
        """
        sealed = (wrapping_key_id, version, wrapped)
        opened = self._opened.pop(user_id, None)
        if opened is None or opened[0] != sealed:
            if not self._wrapping.is_local(wrapping_key_id):
                raise DataKeyCold
            return self._keep(user_id, sealed, self._unwrap(user_id, sealed))
        self._opened[user_id] = opened
        return opened[1]

    async def load(self, user_id: str, wrapped: bytes, wrapping_key_id: str, version: int) -> bytes:
        """The data key, whatever it takes: one call for all who ask meanwhile.

        Raises CredentialUnreadable as `open` does, DataKeyClosed, KeyServiceAway and StorageError.
        """
        try:
            return self.open(user_id, wrapped, wrapping_key_id, version)
        except DataKeyCold:
            pass
        sealed = (wrapping_key_id, version, wrapped)
        load = self._loads.get((user_id, sealed))
        if load is None:
            load = asyncio.create_task(self._load(user_id, sealed), name="ownkey-data-key")
            self._loads[user_id, sealed] = load
            load.add_done_callback(lambda task: self._end_load(user_id, sealed, task))
        # Who leaves does not take the others' answer along.
        return await asyncio.shield(load)

    async def rewrap(
        self, user_id: str, wrapped: bytes, wrapping_key_id: str, version: int, new_wrapping_key_id: str | None = None
    ) -> WrappedDataKey:
        """The same data key under another wrapping key; nothing is cached. Raises as `load` does.

        What a key service gives is tried before anybody lets go of the old form: without that, an answer that is wrong
        would cost all that lies under this data key.
        """
        data_key = await self._unwrap_anywhere(user_id, (wrapping_key_id, version, wrapped))
        made = await self.wrap(data_key, user_id, version, new_wrapping_key_id)
        if not self._wrapping.is_local(made.wrapping_key_id):
            try:
                opened = await self._unwrap_anywhere(user_id, (made.wrapping_key_id, version, made.wrapped))
            except CredentialUnreadable:
                opened = None
            if opened != data_key:
                logger.error("the key service of wrapping key %s does not give back what it took", made.wrapping_key_id)
                raise KeyServiceAway
        return made

    async def wrap(self, data_key: bytes, user_id: str, version: int, wrapping_key_id: str | None) -> WrappedDataKey:
        """A data key under this wrapping key. Raises DataKeyClosed and KeyServiceAway."""
        key_id = wrapping_key_id or self._wrapping.primary_id
        if self._wrapping.is_local(key_id) or key_id not in self._wrapping.ids:
            return self._wrap(data_key, user_id, version, key_id)
        return await self._calls.run(key_id, lambda: self._wrap(data_key, user_id, version, key_id))

    def forget(self, user_id: str) -> None:
        """Drop what is cached of this user: at sign-out, deletion and rotation."""
        self._opened.pop(user_id, None)

    def let_rest(self, user_id: str) -> None:
        """Drop what is cached of a user who is not asked for, unless a key service would have to open it again."""
        opened = self._opened.get(user_id)
        if opened is not None and self._wrapping.is_local(opened[0][0]):
            del self._opened[user_id]

    async def _load(self, user_id: str, sealed: tuple[str, int, bytes]) -> bytes:
        try:
            data_key = await self._unwrap_anywhere(user_id, sealed)
        except DataKeyClosed:
            stored = await self._reread(user_id) if self._reread is not None else None
            if stored is None:
                raise
            renewed = (stored[1], stored[2], stored[0])
            # Another version would be another data key, which opens nothing that goes with this form.
            if renewed == sealed or renewed[1] != sealed[1]:
                raise
            data_key = await self._unwrap_anywhere(user_id, renewed)
        return self._keep(user_id, sealed, data_key)

    def _end_load(self, user_id: str, sealed: tuple[str, int, bytes], task: asyncio.Task[bytes]) -> None:
        self._loads.pop((user_id, sealed), None)
        if not task.cancelled():
            task.exception()  # everybody who waited may have left

    async def _unwrap_anywhere(self, user_id: str, sealed: tuple[str, int, bytes]) -> bytes:
        key_id = sealed[0]
        if self._wrapping.is_local(key_id) or key_id not in self._wrapping.ids:
            return self._unwrap(user_id, sealed)
        return await self._calls.run(key_id, lambda: self._unwrap(user_id, sealed))

    def _unwrap(self, user_id: str, sealed: tuple[str, int, bytes]) -> bytes:
        return self._wrapping.unwrap(
            sealed[0], sealed[2], user_id=user_id, deployment_id=self._deployment_id, version=sealed[1]
        )

    def _keep(self, user_id: str, sealed: tuple[str, int, bytes], data_key: bytes) -> bytes:
        self._opened.pop(user_id, None)
        if len(self._opened) >= self._cache_size:
            del self._opened[next(iter(self._opened))]
        self._opened[user_id] = (sealed, data_key)
        return data_key

    def _wrap(self, data_key: bytes, user_id: str, version: int, wrapping_key_id: str | None) -> WrappedDataKey:
        key_id, wrapped = self._wrapping.wrap(
            data_key, user_id=user_id, deployment_id=self._deployment_id, version=version, key_id=wrapping_key_id
        )
        return WrappedDataKey(wrapped, key_id, version)
