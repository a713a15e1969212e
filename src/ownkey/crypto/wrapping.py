"""Wrapping keys: what seals the users' data keys, and the form that every keeper of such keys has."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from hmac import compare_digest
from pathlib import Path
from typing import Final, Protocol

from ownkey.crypto.box import KEY_BYTES, open_box, pack_fields, seal_box, unreadable
from ownkey.crypto.key_file import create_key_file, read_key_file
from ownkey.crypto.key_text import generate_key_line, parse_keys
from ownkey.errors import DataKeyClosed

_MAGIC: Final = b"OW"
_PURPOSE: Final = "dek"

logger = logging.getLogger(__name__)


class WrappingKeys(Protocol):
    """A keeper of wrapping keys. The first key wraps unless another is named; every key it holds unwraps."""

    @property
    def primary_id(self) -> str:
        """The id of the key that wraps new data keys where nothing else is said."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id that `unwrap` can serve, in the order in which they were given."""
        ...

    def is_local(self, key_id: str) -> bool:
        """Whether this key works at once. Those of a key service take a call that blocks; False for an unknown id."""
        ...

    def wrap(
        self, data_key: bytes, *, user_id: str, deployment_id: str, version: int, key_id: str | None = None
    ) -> tuple[str, bytes]:
        """The key's id and the wrapped data key, bound to the user, the deployment and the version.

        Raises DataKeyClosed for an id that is not held, KeyServiceAway.
        """
        ...

    def unwrap(self, key_id: str, wrapped: bytes, *, user_id: str, deployment_id: str, version: int) -> bytes:
        """The data key.

        Raises DataKeyClosed for an id that is not held, KeyServiceAway, and CredentialUnreadable for anything that was
        not wrapped so.
        """
        ...


class LocalWrappingKeys:
    """Wrapping keys from the configuration or a file, held in this process."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        # Only through `parse` or `from_file`, which refuse weak keys.
        self._keys = dict(keys)

    def __repr__(self) -> str:
        return f"LocalWrappingKeys({', '.join(self._keys)})"

    @classmethod
    def parse(cls, text: str) -> LocalWrappingKeys:
        """Keys from `id:base64,id2:base64` or one per line; the first is the primary.

        Raises ConfigError for nothing, a malformed line, a key that is not 32 bytes or not random, and a double id.
        """
        return cls(parse_keys(text))

    @classmethod
    def from_file(cls, path: Path) -> LocalWrappingKeys:
        """Keys from a file that only its owner, this process's user, may read. Raises ConfigError."""
        return cls.parse(read_key_file(path))

    @classmethod
    def generate_file(cls, path: Path) -> LocalWrappingKeys:
        """Write one new random key to a new file, mode 0600, and return it.

        The file appears complete or not at all. Raises ConfigError if it exists or cannot be written.
        """
        line = generate_key_line()
        create_key_file(
            path, f"# Ownkey wrapping key. Back it up apart from the database: it opens every secret.\n{line}\n"
        )
        return cls.parse(line)

    @property
    def primary_id(self) -> str:
        """The id of the key that wraps new data keys."""
        return next(iter(self._keys))

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id that `unwrap` can serve, the primary first."""
        return tuple(self._keys)

    def is_local(self, key_id: str) -> bool:
        """Whether this key is held: all of these work at once."""
        return key_id in self._keys

    def agrees_with(self, other: LocalWrappingKeys, key_id: str) -> bool:
        """Whether both hold the same key under this id, or none."""
        return compare_digest(self._keys.get(key_id, b""), other._keys.get(key_id, b""))

    def wrap(
        self, data_key: bytes, *, user_id: str, deployment_id: str, version: int, key_id: str | None = None
    ) -> tuple[str, bytes]:
        """The key's id and the wrapped data key.

        Raises DataKeyClosed for an id that is not held, ValueError for a data key that is not 32 bytes.
        """
        if len(data_key) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        key_id = key_id or self.primary_id
        key = self._keys.get(key_id)
        if key is None:
            raise not_loaded(key_id)
        fields = bound_fields(deployment_id, user_id, key_id, version)
        wrapped = seal_box(key, data_key, magic=_MAGIC, purpose=_PURPOSE, key_version=version, fields=fields)
        return key_id, wrapped

    def unwrap(self, key_id: str, wrapped: bytes, *, user_id: str, deployment_id: str, version: int) -> bytes:
        """The data key. Raises DataKeyClosed for an unknown id, CredentialUnreadable for what was not sealed so."""
        key = self._keys.get(key_id)
        if key is None:
            raise not_loaded(key_id)
        fields = try_bound_fields(deployment_id, user_id, key_id, version)
        if fields is None:
            raise unreadable()
        data_key = open_box(key, wrapped, magic=_MAGIC, purpose=_PURPOSE, fields=fields)
        if len(data_key) != KEY_BYTES:
            raise unreadable()
        return data_key


def not_loaded(key_id: str) -> DataKeyClosed:
    """The error for a key that this process does not hold; which one is for the operator, who reads the log."""
    if _complaints.allow(key_id):
        logger.error(
            "wrapping key %s is not loaded here: users whose data keys it wraps hear 503 until it is. "
            "`ownkey credential wrapping-keys` shows who holds which.",
            key_id,
        )
    return DataKeyClosed()


def bound_fields(deployment_id: str, user_id: str, key_id: str, version: int) -> bytes:
    """What a wrapped data key is bound to. Raises ValueError for what has no such form."""
    return pack_fields("ownkey/dek", deployment_id, user_id, key_id, version)


def try_bound_fields(deployment_id: str, user_id: str, key_id: str, version: int) -> bytes | None:
    """The same, None for what has no such form."""
    with suppress(ValueError):
        return bound_fields(deployment_id, user_id, key_id, version)
    return None


class Complaints:
    """Says of each subject whether it is time to complain again: a log is not to grow with every request."""

    def __init__(self, *, every_seconds: float = 60.0, most: int = 100) -> None:
        self._every_seconds, self._most = every_seconds, most
        self._last: dict[str, float] = {}

    def allow(self, subject: str) -> bool:
        """Whether nothing was said about it for a while; if so, that counts as said now."""
        now = time.monotonic()
        if now - self._last.get(subject, -self._every_seconds) < self._every_seconds:
            return False
        if len(self._last) >= self._most:
            self._last.clear()
        self._last[subject] = now
        return True


_complaints = Complaints()
