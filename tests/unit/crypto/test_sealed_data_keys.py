"""Data keys: opened for their owner only, cached within a bound, rewrapped without changing."""

from __future__ import annotations

import pytest

from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.key_text import generate_key_line
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.errors import CredentialUnreadable


class CountingKeys:
    """Real wrapping keys that count how often they are asked, as a key service would bill it."""

    def __init__(self, keys: LocalWrappingKeys) -> None:
        self._keys = keys
        self.unwraps = 0

    @property
    def primary_id(self) -> str:
        return self._keys.primary_id

    @property
    def ids(self) -> tuple[str, ...]:
        return self._keys.ids

    def is_local(self, key_id: str) -> bool:
        return self._keys.is_local(key_id)

    def wrap(
        self, data_key: bytes, *, user_id: str, deployment_id: str, version: int, key_id: str | None = None
    ) -> tuple[str, bytes]:
        return self._keys.wrap(
            data_key, user_id=user_id, deployment_id=deployment_id, version=version, key_id=key_id
        )

    def unwrap(self, key_id: str, wrapped: bytes, *, user_id: str, deployment_id: str, version: int) -> bytes:
        self.unwraps += 1
        return self._keys.unwrap(key_id, wrapped, user_id=user_id, deployment_id=deployment_id, version=version)


def counting_keys() -> CountingKeys:
    return CountingKeys(LocalWrappingKeys.parse(generate_key_line()))


def test_a_new_data_key_opens_to_the_same_bytes_every_time() -> None:
    data_keys = DataKeys(counting_keys(), "prod")
    made = data_keys.new("alice")
    opened = data_keys.open("alice", made.wrapped, made.wrapping_key_id, made.version)
    assert len(opened) == 32
    assert opened == data_keys.open("alice", made.wrapped, made.wrapping_key_id, made.version)
    assert data_keys.new("alice").wrapped != made.wrapped


def test_a_cached_key_does_not_open_for_anybody_else() -> None:
    data_keys = DataKeys(counting_keys(), "prod")
    made = data_keys.new("alice")
    data_keys.open("alice", made.wrapped, made.wrapping_key_id, 1)
    for user_id, key_id, version in (
        ("bob", made.wrapping_key_id, 1),
        ("alice", "other", 1),
        ("alice", made.wrapping_key_id, 2),
    ):
        with pytest.raises(CredentialUnreadable):
            data_keys.open(user_id, made.wrapped, key_id, version)
    with pytest.raises(CredentialUnreadable):
        data_keys.open("alice", made.wrapped[:-1] + bytes([made.wrapped[-1] ^ 1]), made.wrapping_key_id, 1)


def test_another_deployment_does_not_open_a_copy() -> None:
    keys = counting_keys()
    made = DataKeys(keys, "prod").new("alice")
    with pytest.raises(CredentialUnreadable):
        DataKeys(keys, "staging").open("alice", made.wrapped, made.wrapping_key_id, made.version)


def test_the_cache_is_used_bounded_and_keeps_what_was_used_last() -> None:
    keys = counting_keys()
    data_keys = DataKeys(keys, "prod", cache_size=2)
    made = {user: data_keys.new(user) for user in ("alice", "bob", "carol")}

    def open_for(user: str) -> int:
        before = keys.unwraps
        data_keys.open(user, made[user].wrapped, made[user].wrapping_key_id, 1)
        return keys.unwraps - before

    assert [open_for(user) for user in ("alice", "bob", "alice", "carol")] == [1, 1, 0, 1]
    # Bob was used longest ago, so he made room.
    assert [open_for("alice"), open_for("carol"), open_for("bob")] == [0, 0, 1]


def test_forgetting_a_user_asks_the_wrapping_key_again() -> None:
    keys = counting_keys()
    data_keys = DataKeys(keys, "prod")
    made = {user: data_keys.new(user) for user in ("alice", "bob")}
    for user in ("alice", "bob"):
        data_keys.open(user, made[user].wrapped, made[user].wrapping_key_id, 1)
    data_keys.forget("alice")
    data_keys.open("bob", made["bob"].wrapped, made["bob"].wrapping_key_id, 1)
    assert keys.unwraps == 2
    data_keys.open("alice", made["alice"].wrapped, made["alice"].wrapping_key_id, 1)
    assert keys.unwraps == 3


def test_rewrapping_moves_to_the_primary_key_and_keeps_the_data_key() -> None:
    old_line, new_line = f"old{generate_key_line()}", f"new{generate_key_line()}"
    before = DataKeys(LocalWrappingKeys.parse(old_line), "prod")
    made = before.new("alice", version=3)
    data_key = before.open("alice", made.wrapped, made.wrapping_key_id, made.version)

    both = DataKeys(LocalWrappingKeys.parse(f"{new_line},{old_line}"), "prod")
    moved = both.rewrap("alice", made.wrapped, made.wrapping_key_id, made.version)
    assert (moved.version, moved.wrapping_key_id) == (3, both.primary_id)

    after = DataKeys(LocalWrappingKeys.parse(new_line), "prod")
    assert after.open("alice", moved.wrapped, moved.wrapping_key_id, moved.version) == data_key
    with pytest.raises(CredentialUnreadable):
        after.open("alice", made.wrapped, made.wrapping_key_id, made.version)


def test_a_wrapped_key_does_not_print_its_bytes() -> None:
    data_keys = DataKeys(counting_keys(), "prod")
    made = data_keys.new("alice")
    data_key = data_keys.open("alice", made.wrapped, made.wrapping_key_id, 1)
    assert repr(data_key) not in repr(data_keys) + repr(made)
