"""Data keys: opened for their owner only, cached within a bound, rewrapped without changing."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from ownkey.crypto.data_keys import DataKeyCold, DataKeys
from ownkey.crypto.key_calls import KeyCalls
from ownkey.crypto.key_ring import KeyRing
from ownkey.crypto.key_text import generate_key_line
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.errors import CredentialUnreadable, DataKeyClosed, KeyServiceAway


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
        return self._keys.wrap(data_key, user_id=user_id, deployment_id=deployment_id, version=version, key_id=key_id)

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
        ("alice", made.wrapping_key_id, 2),
    ):
        with pytest.raises(CredentialUnreadable):
            data_keys.open(user_id, made.wrapped, key_id, version)
    with pytest.raises(DataKeyCold):
        data_keys.open("alice", made.wrapped, "other", 1)
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
    data_keys.let_rest("alice")
    data_keys.let_rest("nobody")
    data_keys.open("bob", made["bob"].wrapped, made["bob"].wrapping_key_id, 1)
    assert keys.unwraps == 3
    data_keys.open("alice", made["alice"].wrapped, made["alice"].wrapping_key_id, 1)
    assert keys.unwraps == 4, "a key of this process opens it again"


async def test_rewrapping_moves_to_the_primary_key_and_keeps_the_data_key() -> None:
    old_line, new_line = f"old{generate_key_line()}", f"new{generate_key_line()}"
    before = DataKeys(LocalWrappingKeys.parse(old_line), "prod")
    made = before.new("alice", version=3)
    data_key = before.open("alice", made.wrapped, made.wrapping_key_id, made.version)

    both = DataKeys(LocalWrappingKeys.parse(f"{new_line},{old_line}"), "prod")
    moved = await both.rewrap("alice", made.wrapped, made.wrapping_key_id, made.version)
    assert (moved.version, moved.wrapping_key_id) == (3, both.primary_id)

    after = DataKeys(LocalWrappingKeys.parse(new_line), "prod")
    assert after.open("alice", moved.wrapped, moved.wrapping_key_id, moved.version) == data_key
    with pytest.raises(DataKeyClosed):
        await after.load("alice", made.wrapped, made.wrapping_key_id, made.version)


async def test_what_was_rewrapped_meanwhile_is_looked_up_and_then_at_hand() -> None:
    """Somebody has the old form in memory, and the old wrapping key is gone from here."""
    old_line, new_line = f"old{generate_key_line()}", f"new{generate_key_line()}"
    before = DataKeys(LocalWrappingKeys.parse(old_line), "prod")
    made = before.new("alice")
    data_key = before.open("alice", made.wrapped, made.wrapping_key_id, made.version)
    moved = await DataKeys(LocalWrappingKeys.parse(f"{new_line},{old_line}"), "prod").rewrap(
        "alice", made.wrapped, made.wrapping_key_id, made.version
    )
    asked = []

    async def reread(user_id: str) -> tuple[bytes, str, int]:
        asked.append(user_id)
        await asyncio.sleep(0)
        return moved.wrapped, moved.wrapping_key_id, moved.version

    after = DataKeys(LocalWrappingKeys.parse(new_line), "prod", reread=reread)
    form = ("alice", made.wrapped, made.wrapping_key_id, made.version)
    with pytest.raises(DataKeyCold):
        after.open(*form)
    assert await asyncio.gather(*(after.load(*form) for _ in range(5))) == [data_key] * 5
    assert after.open(*form) == data_key
    assert asked == ["alice"], "one look for all who asked meanwhile, and none afterwards"


async def test_another_data_key_is_not_taken_for_the_one_that_was_asked_for() -> None:
    gone, here = LocalWrappingKeys.parse(f"old{generate_key_line()}"), LocalWrappingKeys.parse(generate_key_line())
    made = DataKeys(gone, "prod").new("alice")
    other = DataKeys(here, "prod").new("alice", version=2)

    async def reread(_: str) -> tuple[bytes, str, int]:
        return other.wrapped, other.wrapping_key_id, other.version

    with pytest.raises(DataKeyClosed):
        await DataKeys(here, "prod", reread=reread).load("alice", made.wrapped, made.wrapping_key_id, made.version)


class SlowService:
    """A key service of this process: real encryption, calls that block until they may go on, and outages."""

    def __init__(self) -> None:
        self.calls, self.away, self.gate = 0, False, threading.Event()
        self.gate.set()
        self._keys = LocalWrappingKeys.parse(f"inside:{generate_key_line().partition(':')[2]}")

    def encrypt(self, plaintext: bytes, fields: bytes) -> bytes:
        return self._keys.wrap(plaintext, user_id=fields.hex(), deployment_id="", version=1)[1]

    def decrypt(self, ciphertext: bytes, fields: bytes) -> bytes:
        self.calls += 1
        assert self.gate.wait(10)
        if self.away:
            raise KeyServiceAway
        return self._keys.unwrap("inside", ciphertext, user_id=fields.hex(), deployment_id="", version=1)


async def test_a_key_service_is_asked_once_for_all_who_wait_and_the_loop_goes_on() -> None:
    service = SlowService()
    ring = KeyRing.parse("far:openbao://nowhere/transit/keys/k", open_key=lambda _: service)
    calls = KeyCalls()
    data_keys = DataKeys(ring, "prod", calls=calls)
    made = await data_keys.make("alice", "far")
    form = ("alice", made.wrapped, "far", 1)
    service.gate.clear()
    waiting = [asyncio.create_task(data_keys.load(*form)) for _ in range(20)]
    while not service.calls:
        await asyncio.sleep(0)  # the loop runs while the call blocks
    waiting[0].cancel()
    service.gate.set()
    opened = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(opened[0], asyncio.CancelledError)
    assert {*opened[1:]} == {data_keys.open(*form)}, "who leaves does not take the others' answer along"
    assert service.calls == 1
    data_keys.let_rest("alice")
    assert data_keys.open(*form) == opened[1], "who rests is not paid for once more"
    with pytest.raises(CredentialUnreadable):
        await data_keys.load("bob", made.wrapped, "far", 1)
    calls.close()


async def test_while_a_key_service_is_away_cached_keys_open_and_others_are_told_to_come_again() -> None:
    service = SlowService()
    ring = KeyRing.parse("far:openbao://nowhere/transit/keys/k", open_key=lambda _: service)
    calls = KeyCalls(pause_seconds=0.05)
    data_keys = DataKeys(ring, "prod", calls=calls)
    made = {user: await data_keys.make(user, "far") for user in ("alice", "bob", "carol")}
    await data_keys.load("alice", made["alice"].wrapped, "far", 1)
    service.away = True
    asked = service.calls
    data_keys.open("alice", made["alice"].wrapped, "far", 1)
    for user in ("bob", "carol", "bob"):
        with pytest.raises(KeyServiceAway) as caught:
            await data_keys.load(user, made[user].wrapped, "far", 1)
        assert (caught.value.status, caught.value.code) == (503, "key_service_unavailable")
        assert caught.value.retry_after_seconds
    assert service.calls == asked + 1, "nobody else is made to wait for a service that has just failed"
    service.away = False
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            await data_keys.load("bob", made["bob"].wrapped, "far", 1)
            break
        except KeyServiceAway:
            await asyncio.sleep(0.01)
    data_keys.open("bob", made["bob"].wrapped, "far", 1)
    calls.close()


async def test_a_key_service_that_gives_nonsense_costs_no_data_key() -> None:
    """What it wraps does not open, or is another key: whoever rewraps must not let go of the old form."""
    line = f"here:{generate_key_line().partition(':')[2]}"
    service = SlowService()
    ring = KeyRing.parse(f"{line},far:openbao://nowhere/transit/keys/k", open_key=lambda _: service)
    for nonsense in (
        lambda *_: b"None",
        lambda _, fields: SlowService.encrypt(service, bytes(32), fields),
        lambda *_: {}["x"],
    ):
        calls = KeyCalls(pause_seconds=0)
        data_keys = DataKeys(ring, "prod", calls=calls)
        made = data_keys.new("alice")
        service.encrypt = nonsense  # type: ignore[method-assign, assignment]
        with pytest.raises(KeyServiceAway):
            await data_keys.rewrap("alice", made.wrapped, "here", 1, "far")
        del service.encrypt
        moved = await data_keys.rewrap("alice", made.wrapped, "here", 1, "far")
        assert await data_keys.load("alice", moved.wrapped, "far", 1) == data_keys.open(
            "alice", made.wrapped, "here", 1
        )
        calls.close()


def test_a_wrapped_key_does_not_print_its_bytes() -> None:
    data_keys = DataKeys(counting_keys(), "prod")
    made = data_keys.new("alice")
    data_key = data_keys.open("alice", made.wrapped, made.wrapping_key_id, 1)
    assert repr(data_key) not in repr(data_keys) + repr(made)
