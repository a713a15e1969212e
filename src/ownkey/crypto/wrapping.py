"""Wrapping keys: what seals the users' data keys, and the form that every keeper of such keys has."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from ownkey.crypto.box import KEY_BYTES, open_box, pack_fields, seal_box, unreadable
from ownkey.crypto.key_file import create_key_file, read_key_file
from ownkey.crypto.key_text import generate_key_line, parse_keys

_MAGIC: Final = b"OW"
_PURPOSE: Final = "dek"


class WrappingKeys(Protocol):
    """A keeper of wrapping keys. The first key wraps; every key it holds unwraps."""

    @property
    def primary_id(self) -> str:
        """The id of the key that wraps new data keys."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id that `unwrap` can serve, the primary first."""
        ...

    def wrap(self, data_key: bytes, *, user_id: str, deployment_id: str, version: int) -> tuple[str, bytes]:
        """The primary key's id and the wrapped data key, bound to the user, the deployment and the version."""
        ...

    def unwrap(self, key_id: str, wrapped: bytes, *, user_id: str, deployment_id: str, version: int) -> bytes:
        """The data key. Raises CredentialUnreadable for an unknown id and for anything that was not sealed so."""
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

    def wrap(self, data_key: bytes, *, user_id: str, deployment_id: str, version: int) -> tuple[str, bytes]:
        """The primary key's id and the wrapped data key. Raises ValueError for a data key that is not 32 bytes."""
        if len(data_key) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        key_id = self.primary_id
        fields = _bound_fields(deployment_id, user_id, key_id, version)
        wrapped = seal_box(
            self._keys[key_id], data_key, magic=_MAGIC, purpose=_PURPOSE, key_version=version, fields=fields
        )
        return key_id, wrapped

    def unwrap(self, key_id: str, wrapped: bytes, *, user_id: str, deployment_id: str, version: int) -> bytes:
        """The data key. Raises CredentialUnreadable for an unknown id and for anything that was not sealed so."""
        key = self._keys.get(key_id)
        fields = _try_bound_fields(deployment_id, user_id, key_id, version)
        if key is None or fields is None:
            raise unreadable()
        data_key = open_box(key, wrapped, magic=_MAGIC, purpose=_PURPOSE, fields=fields)
        if len(data_key) != KEY_BYTES:
            raise unreadable()
        return data_key


def _bound_fields(deployment_id: str, user_id: str, key_id: str, version: int) -> bytes:
    return pack_fields("ownkey/dek", deployment_id, user_id, key_id, version)


def _try_bound_fields(deployment_id: str, user_id: str, key_id: str, version: int) -> bytes | None:
    with suppress(ValueError):
        return _bound_fields(deployment_id, user_id, key_id, version)
    return None
