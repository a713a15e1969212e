"""Warm users at rest: whoever is asked for is found as they were, and what is forgotten is gone from everywhere."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from types import FunctionType, ModuleType
from typing import Any, cast

import msgspec
import pytest

from ownkey.domain.budget import CapAction, Caps
from ownkey.domain.clock import elapsed_seconds
from ownkey.domain.credential import CredentialStatus, SealedCredential
from ownkey.domain.settings import PayerRule, Preference, Settings, Snapshot, TaskOverride
from ownkey.domain.user import Role, UserStatus
from ownkey.services.resting_user import WarmUser, pack, read_generation, read_token_hashes, unpack
from ownkey.services.snapshot_cache import SnapshotCache
from ownkey.storage.database import Database
from ownkey.storage.snapshots import Standing, TokenOwner

MOMENT = datetime(2026, 11, 27, 6, 30, 15, 123456, tzinfo=UTC)


class Rows:
    """Stands for the database: says what it is told to, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.generations: dict[str, int] = {}

    async def fetch_value(self, name: str, wanted: str | bytes) -> str | None:
        self.asked += 1
        user_id = wanted.decode().partition("/")[0] if isinstance(wanted, bytes) else wanted
        snapshot = self._snapshot(user_id)
        match name:
            case "load_by_token":
                return json.dumps(
                    {
                        "token_id": f"token of {user_id}", "user_id": user_id, "role": "user", "state": "active",
                        "scopes": ["gateway"], "expires_at": "2030-01-01T00:00:00+00:00", "snapshot": snapshot,
                    }
                )  # fmt: skip
            case "load_standing":
                return json.dumps(
                    {"role": "admin", "status": "active", "signed_out_at": "2026-01-01T00:00:00+02:00",
                     "snapshot": snapshot}
                )  # fmt: skip
            case _:
                return json.dumps({"status": "active", "snapshot": snapshot})

    async def fetch_rows(self, name: str, wanted: list[str]) -> list[dict[str, Any]]:
        assert name == "load_generations"
        return [{"user_id": one, "generation": self.generations.get(one, 1)} for one in wanted]

    def _snapshot(self, user_id: str) -> dict[str, Any]:
        return {
            "user_id": user_id, "generation": self.generations.get(user_id, 1), "settings": {}, "preferences": {},
            "overrides": {}, "credentials": [], "wrapped_data_key": "AAAA", "wrapping_key_id": "k",
        }  # fmt: skip


class Stage:
    """A cache with room for two at hand, and what it said."""

    def __init__(self, *, size: int = 100, at_hand: int = 2) -> None:
        self.rows = Rows()
        self.dropped: list[str] = []
        self.laid_to_rest: list[str] = []
        self.changed: list[str] = []
        self.cache = SnapshotCache(
            cast("Database", self.rows),
            size=size,
            stale_seconds=1_000,
            at_hand=at_hand,
            on_drop=self.dropped.append,
            on_rest=self.laid_to_rest.append,
            on_change=self.changed.append,
        )
        self.cache.note_sync(elapsed_seconds())

    async def load(self, *user_ids: str) -> None:
        for user_id in user_ids:
            assert await self.cache.load_owner(token(user_id)) is not None


def token(user_id: str, number: int = 1) -> bytes:
    return f"{user_id}/{number}".encode().ljust(32, b".")


async def test_who_was_at_rest_is_found_without_a_query() -> None:
    stage = Stage()
    await stage.load("ann", "bob", "cleo", "dan")
    assert stage.laid_to_rest == ["ann", "bob"]
    assert (len(stage.cache), stage.rows.asked, stage.dropped) == (4, 4, [])
    found = stage.cache.find("ann")
    assert found is not None
    assert found.user_id == "ann"
    assert found.wrapped_data_key == b"\0\0\0"
    assert stage.laid_to_rest == ["ann", "bob", "cleo"], "somebody made room"
    owner = stage.cache.find_owner(token("bob"))
    assert owner is not None
    assert owner.snapshot is stage.cache.find("bob"), "one snapshot for all who ask"
    assert (owner.token_id, owner.scopes, owner.expires_at) == (
        "token of bob", ("gateway",), datetime(2030, 1, 1, tzinfo=UTC)
    )  # fmt: skip
    assert stage.cache.find_owner(token("ann")) is not None, "at hand again with their token"
    assert await stage.cache.load("dan") is not None
    assert await stage.cache.load_owner(token("cleo")) is not None
    assert (len(stage.cache), stage.rows.asked) == (4, 4)


async def test_all_tokens_and_the_standing_come_back() -> None:
    stage = Stage(at_hand=1)
    standing = await stage.cache.load_standing("ann")
    await stage.load("ann")
    assert await stage.cache.load_owner(token("ann", 2)) is not None
    await stage.load("bob")
    assert stage.laid_to_rest == ["ann"]
    assert stage.cache.find_standing("ann") == standing
    assert stage.laid_to_rest == ["ann", "bob"]
    asked = stage.rows.asked
    for number in (1, 2):
        assert await stage.cache.load_owner(token("ann", number)) is not None
    assert stage.rows.asked == asked
    assert stage.cache.find_standing("bob") is None, "nobody has asked for it"
    assert stage.cache.find_standing("eve") is None


async def test_who_is_served_goes_on_with_the_snapshot_they_have() -> None:
    """A slow body comes in while its user is laid to rest and brought back: nothing has changed for them."""
    stage = Stage(at_hand=1)
    await stage.load("ann")
    held = stage.cache.find("ann")
    assert held is not None
    await stage.load("bob")
    assert stage.laid_to_rest == ["ann"]
    assert stage.cache.is_current(held), "while they are at rest"
    again = stage.cache.find("ann")
    assert again is not held
    assert again == held
    assert stage.cache.is_current(held), "when they are back"
    stage.rows.generations["ann"] = 2
    stage.cache.drop("ann", 2)
    assert not stage.cache.is_current(held)
    await stage.load("ann", "bob")
    assert not stage.cache.is_current(held), "at rest again, as another one"
    stage.cache.note_sync(elapsed_seconds() - 10_000)
    assert (stage.cache.find("bob"), stage.cache.find_owner(token("bob"))) == (None, None)


async def test_a_snapshot_that_was_read_anew_is_no_copy_of_the_one_before() -> None:
    stage = Stage()
    await stage.load("ann")
    held = stage.cache.find("ann")
    assert held is not None
    stage.cache.drop("ann")
    await stage.load("ann")
    assert not stage.cache.is_current(held)


@pytest.mark.parametrize("way", ["change", "unknown", "everybody", "check", "close", "newer"])
async def test_who_is_forgotten_at_rest_is_gone_from_everywhere(way: str) -> None:
    stage = Stage(at_hand=1)
    await stage.load("ann")
    assert await stage.cache.load_owner(token("ann", 2)) is not None
    await stage.load("bob")
    assert stage.laid_to_rest == ["ann"]
    stage.rows.generations["ann"] = 7
    match way:
        case "change":
            stage.cache.drop("ann", 1)
            assert stage.dropped == [], "that is what is kept"
            stage.cache.drop("ann", 7)
        case "unknown":
            stage.cache.drop("ann")
        case "everybody":
            stage.cache.drop_all()
        case "check":
            await stage.cache.check_generations()
        case "close":
            stage.cache.close()
        case _:
            # Read by another way while they are at rest, and newer.
            assert await stage.cache.load_owner(token("ann", 3)) is not None
    if way != "close":
        assert "ann" in stage.dropped
        assert "ann" in stage.changed
    held = {*find_all(stage.cache, bytes)} - {token("ann", 3)}
    assert not [one for one in held if b"ann" in one]
    stage.cache.note_sync(elapsed_seconds())
    asked = stage.rows.asked
    found = await stage.cache.load_owner(token("ann"))
    assert found is not None
    assert found.snapshot.generation == 7
    assert stage.rows.asked == asked + 1


async def test_whoever_has_been_at_rest_for_longest_goes() -> None:
    stage = Stage(size=3)
    await stage.load("ann", "bob", "cleo")
    assert stage.cache.find("ann") is not None
    await stage.load("dan")
    assert (stage.dropped, len(stage.cache)) == (["bob"], 3)
    small = Stage(size=1)
    await small.load("ann", "bob")
    assert (small.dropped, len(small.cache)) == (["ann"], 1)


def test_everything_of_a_user_comes_back() -> None:
    user = full_user()
    packed = pack(user)
    assert unpack(packed) == user
    assert read_generation(packed) == user.snapshot.generation
    assert list(read_token_hashes(packed)) == [b"\1" * 32, b"\2" * 32]
    again = unpack(packed)
    kinds = (Snapshot, SealedCredential, Settings, Caps, Preference, TaskOverride, TokenOwner, Standing)
    assert {type(one) for one in find_all(again, msgspec.Struct)} - {WarmUser} == set(kinds)
    assert again.standing is not None
    assert again.standing.snapshot is again.snapshot
    assert all(one.snapshot is again.snapshot for one in again.owners.values())


def test_nothing_is_left_out_that_is_added_later() -> None:
    """Every field has a value here that is not its default, so that one that is added is seen to come back."""
    for one in find_all(full_user(), msgspec.Struct):
        for field in msgspec.structs.fields(type(one)):
            assert getattr(one, field.name) != field.default, f"{type(one).__name__}.{field.name} is as by default"


def test_the_names_of_fields_are_not_written() -> None:
    names = {name for one in find_all(full_user(), msgspec.Struct) for name in one.__struct_fields__}
    packed = pack(full_user())
    assert not [name for name in names if len(name) > 5 and name.encode() in packed]


def full_user() -> WarmUser:
    snapshot = Snapshot(
        user_id="änn", generation=2**40, group="staff",
        settings=Settings(
            payer=PayerRule.OWN_ONLY, allow_fallback=False, default_task="coding", shared_consent_at=MOMENT,
            caps=Caps(day_microdollars=1, month_microdollars=2, action=CapAction.WARN),
        ),
        preferences={"groq": Preference(
            provider="groq", enabled=False, priority=7, default_model="m", may_fall_back=False, backup_only=True)},
        overrides={"coding": TaskOverride(
            task="coding", provider="groq", model="m", credential_id="c", payer=PayerRule.SHARED_ONLY,
            allow_fallback=False)},
        credentials=tuple(
            SealedCredential(
                id=f"01a21bbf-aebf-7c3c-b3bd-45{number:010}", provider="groq", label="work", hint="gsk_…0001",
                base_url="https://x.test/v1", position=number + 1, enabled=False, status=CredentialStatus.RATE_LIMITED,
                status_until=MOMENT, expires_at=MOMENT, generation=3, sealed=bytes(range(160)),
            )
            for number in range(2)
        ),
        wrapped_data_key=bytes(range(148)), wrapping_key_id="k1", data_key_version=2,
    )  # fmt: skip
    owners = {
        token_hash: TokenOwner(
            token_id="t", user_id="änn", role=Role.ADMIN, state="active", scopes=("gateway", "usage"),
            expires_at=MOMENT, snapshot=snapshot,
        )
        for token_hash in (b"\1" * 32, b"\2" * 32)
    }  # fmt: skip
    standing = Standing(role=Role.ADMIN, status=UserStatus.ACTIVE, signed_out_at=MOMENT, snapshot=snapshot)
    return WarmUser(snapshot, owners, standing)


def find_all(root: object, kind: type) -> Iterable[Any]:
    """Every object of this kind that can be reached."""
    seen: dict[int, object] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type | ModuleType | FunctionType):
            seen[id(one)] = one
            waiting += gc.get_referents(one)
    return [one for one in seen.values() if isinstance(one, kind)]
