"""The users' data keys: made here, kept wrapped in the database, unwrapped into a small bounded cache."""

from __future__ import annotations

import os
from typing import Final

from msgspec import Struct

from ownkey.crypto.box import KEY_BYTES
from ownkey.crypto.wrapping import WrappingKeys

# 4,096 plaintext keys are 128 KiB: enough that a key service is not asked per request, few enough to be lost.
DEFAULT_CACHE_SIZE: Final = 4096


class WrappedDataKey(Struct, frozen=True):
    """A data key as the database keeps it."""

    wrapped: bytes
    wrapping_key_id: str
    version: int


class DataKeys:
    """Makes and opens data keys. One per process; not for use from several threads at once."""

    def __init__(self, wrapping: WrappingKeys, deployment_id: str, *, cache_size: int = DEFAULT_CACHE_SIZE) -> None:
        self._wrapping = wrapping
        self._deployment_id = deployment_id
        self._cache_size = cache_size
        # By user, in order of use, the oldest first: what was unwrapped, and the key. Something else under the same
        # user (rotated, tampered with) is no hit and takes its place.
        self._opened: dict[str, tuple[tuple[str, int, bytes], bytes]] = {}

    @property
    def primary_id(self) -> str:
        """The id of the wrapping key under which new data keys are wrapped."""
        return self._wrapping.primary_id

    @property
    def known_ids(self) -> tuple[str, ...]:
        """Every wrapping key that is loaded, the primary first."""
        return self._wrapping.ids

    def new(self, user_id: str, *, version: int = 1) -> WrappedDataKey:
        """A new random data key for this user, wrapped. `open` gives the key itself.

        Two processes may make one at once: only the one that the database kept counts, so it is opened from there.
        """
        return self._wrap(os.urandom(KEY_BYTES), user_id, version)

    def open(self, user_id: str, wrapped: bytes, wrapping_key_id: str, version: int) -> bytes:
        """The data key. Raises CredentialUnreadable if it was not wrapped for this user, deployment and version."""
        sealed = (wrapping_key_id, version, wrapped)
        opened = self._opened.pop(user_id, None)
        if opened is None or opened[0] != sealed:
            data_key = self._wrapping.unwrap(
                wrapping_key_id, wrapped, user_id=user_id, deployment_id=self._deployment_id, version=version
            )
            if len(self._opened) >= self._cache_size:
                del self._opened[next(iter(self._opened))]
            opened = (sealed, data_key)
        self._opened[user_id] = opened
        return opened[1]

    def rewrap(self, user_id: str, wrapped: bytes, wrapping_key_id: str, version: int) -> WrappedDataKey:
        """The same data key under the primary wrapping key. Raises CredentialUnreadable as `open` does."""
        return self._wrap(self.open(user_id, wrapped, wrapping_key_id, version), user_id, version)

    def forget(self, user_id: str) -> None:
        """Drop what is cached of this user: at sign-out, deletion and rotation."""
        self._opened.pop(user_id, None)

    def _wrap(self, data_key: bytes, user_id: str, version: int) -> WrappedDataKey:
        key_id, wrapped = self._wrapping.wrap(
            data_key, user_id=user_id, deployment_id=self._deployment_id, version=version
        )
        return WrappedDataKey(wrapped, key_id, version)
