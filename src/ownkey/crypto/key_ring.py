"""All wrapping keys that a process holds: its own, and those of key services. They can be exchanged while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ownkey.crypto.box import KEY_BYTES, unreadable
from ownkey.crypto.key_service import KeyService, open_service
from ownkey.crypto.key_text import parse_entries
from ownkey.crypto.wrapping import LocalWrappingKeys, bound_fields, not_loaded, try_bound_fields

# What a key service gave, after four bytes that say so: its ciphertext is not a box of ours and opens as none.
_SERVICE_HEAD: Final = b"OS\x01\x01"


class KeyRing:
    """Wrapping keys by id in their order."""

    __slots__ = ("_ids", "_local", "_places", "_preferred", "_services")

    def __init__(self, local: Mapping[str, bytes], services: Mapping[str, KeyService], ids: tuple[str, ...]) -> None:
        # Only through `parse`, which refuses weak keys.
        self._local, self._services, self._ids = LocalWrappingKeys(local), dict(services), ids
        self._places: dict[str, str] = {}
        self._preferred: str | None = None

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._ids)})"

    @classmethod
    def parse(cls, text: str, *, open_key: Callable[[str], KeyService] = open_service) -> KeyRing:
        """Keys from `id:base64` and `id:URL`, with commas or one per line; the first is the primary.

        Raises ConfigError as `LocalWrappingKeys.parse` does, and for a URL that is not understood.
        """
        entries = parse_entries(text)
        places = {key_id: entry for key_id, entry in entries.items() if isinstance(entry, str)}
        ring = cls(
            {key_id: entry for key_id, entry in entries.items() if isinstance(entry, bytes)},
            {key_id: open_key(url) for key_id, url in places.items()},
            tuple(entries),
        )
        ring._places = places
        return ring

    @property
    def primary_id(self) -> str:
        """The id of the key that the database calls primary, as far as that was heard; until then the first one's."""
        return self._preferred if self._preferred in self._ids else self._ids[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """Every key's id."""
        return self._ids

    @property
    def service_ids(self) -> tuple[str, ...]:
        """The ids of those at key services."""
        return tuple(self._services)

    def lacks(self, other: KeyRing) -> list[str]:
        """Which of its keys the other one has not, or has another one under their ids. Services may move."""
        return [
            key_id
            for key_id in self._ids
            if key_id not in other._ids or not self._local.agrees_with(other._local, key_id)
        ]

    def adopt(self, other: KeyRing) -> None:
        """Hold what the other one holds, from now on. A service that stays keeps its connections."""
        kept = {
            key_id: self._services[key_id] if self._places.get(key_id) == place else other._services[key_id]
            for key_id, place in other._places.items()
        }
        self._local, self._services = other._local, {**other._services, **kept}
        self._ids, self._places = other._ids, other._places

    def prefer(self, key_id: str | None) -> None:
        """The database calls this key primary."""
        self._preferred = key_id

    def is_local(self, key_id: str) -> bool:
        """Whether this key is in this process's own memory."""
        return self._local.is_local(key_id)

    def wrap(
        self, data_key: bytes, *, user_id: str, deployment_id: str, version: int, key_id: str | None = None
    ) -> tuple[str, bytes]:
        """As `WrappingKeys.wrap`."""
        key_id = key_id or self.primary_id
        service = self._services.get(key_id)
        if service is None:
            return self._local.wrap(
                data_key, user_id=user_id, deployment_id=deployment_id, version=version, key_id=key_id
            )
        if len(data_key) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        fields = bound_fields(deployment_id, user_id, key_id, version)
        return key_id, _SERVICE_HEAD + service.encrypt(data_key, fields)

    def unwrap(self, key_id: str, wrapped: bytes, *, user_id: str, deployment_id: str, version: int) -> bytes:
        """As `WrappingKeys.unwrap`."""
        service = self._services.get(key_id)
        if service is None:
            if key_id not in self._ids:
                raise not_loaded(key_id)
            return self._local.unwrap(key_id, wrapped, user_id=user_id, deployment_id=deployment_id, version=version)
        fields = try_bound_fields(deployment_id, user_id, key_id, version)
        if fields is None or not wrapped.startswith(_SERVICE_HEAD):
            raise unreadable()
        data_key = service.decrypt(wrapped[len(_SERVICE_HEAD) :], fields)
        if len(data_key) != KEY_BYTES:
            raise unreadable()
        return data_key
