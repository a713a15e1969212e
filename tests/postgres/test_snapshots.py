"""The cold read: everything of one user in one call, and nothing for whoever must not be let in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ownkey.domain.credential import CredentialStatus
from ownkey.domain.settings import PayerRule, Settings
from ownkey.domain.usage import new_id
from ownkey.domain.user import Role
from ownkey.errors import PermissionDenied
from ownkey.storage import credentials, settings, snapshots, tokens, users
from ownkey.storage.database import Database
from tests.postgres.people import Store, digest, keep_status


async def test_a_snapshot_holds_what_the_user_chose_and_sealed_secrets(store: Store) -> None:
    person = await store.add_person("ann")
    await store.add_person("bob")
    snapshot = await snapshots.load_snapshot(store.db, "ann")
    assert snapshot is not None
    assert snapshot.user_id == "ann"
    assert snapshot.settings == Settings(default_task="coding")
    assert {name: one.priority for name, one in snapshot.preferences.items()} == {"groq": 5}
    assert snapshot.overrides["coding"].credential_id == person.credential_id
    assert (snapshot.wrapped_data_key, snapshot.wrapping_key_id, snapshot.data_key_version) == (
        digest("data key", "ann"), "kek-1", 1,
    )  # fmt: skip
    (credential,) = snapshot.credentials
    assert (credential.id, credential.sealed, credential.generation) == (
        person.credential_id,
        digest("sealed", "ann"),
        1,
    )
    assert credential.status is CredentialStatus.UNVERIFIED


async def test_a_snapshot_equals_what_the_single_reads_give(store: Store) -> None:
    person = await store.add_person("ann")
    until = datetime.now(UTC).replace(microsecond=123456) + timedelta(hours=1)
    async with store.db.transaction("ann") as tx:
        await credentials.update_credential(tx, person.credential_id, {"expires_at": until})
        await keep_status(tx, person, CredentialStatus.RATE_LIMITED, until=until)
        await settings.update_settings(tx, {"payer": PayerRule.OWN_ONLY})
    snapshot = await snapshots.load_snapshot(store.db, "ann")
    assert snapshot is not None
    async with store.db.transaction("ann") as tx:
        assert snapshot.settings == await settings.get_settings(tx)
        assert list(snapshot.preferences.values()) == await settings.list_preferences(tx)
        assert list(snapshot.overrides.values()) == await settings.list_task_overrides(tx)
        assert snapshot.credentials == (await credentials.find_sealed(tx, person.credential_id),)


async def test_bytes_of_any_length_and_content_survive(store: Store) -> None:
    """encode() breaks lines, and 0, 1 and 2 bytes of padding are three forms."""
    person = await store.add_person("ann")
    for generation, length in enumerate((1, 2, 3, 56, 57, 58, 76, 77, 1000, 8192), start=2):
        sealed = bytes(number % 256 for number in range(length))
        async with store.db.transaction("ann") as tx:
            assert await credentials.replace_secret(
                tx, person.credential_id, sealed=sealed, hint="…", generation=generation,
                fingerprint=digest("new"), base_url=None,
            )  # fmt: skip
        snapshot = await snapshots.load_snapshot(store.db, "ann")
        assert snapshot is not None
        assert snapshot.credentials[0].sealed == sealed


@pytest.mark.parametrize(
    "user_id", ["a", "Ünï 💡", 'quote " and \\ and {}', "x" * 255, "auth0|5f7c8ec7c33c6c004bbafe82"]
)
async def test_any_user_id_is_taken_literally(store: Store, user_id: str) -> None:
    await store.add_person(user_id)
    snapshot = await snapshots.load_snapshot(store.db, user_id)
    assert snapshot is not None
    assert snapshot.user_id == user_id
    assert len(snapshot.credentials) == 1


async def test_a_user_without_choices_has_the_defaults(db: Database) -> None:
    async with db.transaction("new") as tx:
        assert await users.ensure_user(tx, "new")
    snapshot = await snapshots.load_snapshot(db, "new")
    assert snapshot is not None
    assert snapshot.settings == Settings()
    assert (snapshot.preferences, snapshot.overrides, snapshot.credentials) == ({}, {}, ())
    assert snapshot.wrapped_data_key is None


async def test_who_does_not_exist_has_no_snapshot(db: Database) -> None:
    assert await snapshots.load_snapshot(db, "nobody") is None
    assert await snapshots.load_by_token(db, digest("no token")) is None


async def test_credentials_come_in_the_order_in_which_they_are_tried(store: Store) -> None:
    person = await store.add_person("ann")
    ids = [person.credential_id, new_id(), new_id()]
    async with store.db.transaction("ann") as tx:
        for number, credential_id in enumerate(ids[1:]):
            await credentials.insert_credential(
                tx, id=credential_id, user_id="ann", provider="groq", label=f"more {number}", hint="…", base_url=None,
                position=number + 1, expires_at=None, sealed=b"x", generation=1, fingerprint=digest(str(number)),
            )  # fmt: skip
        await credentials.reorder(tx, "groq", [ids[2], ids[0], ids[1]])
    snapshot = await snapshots.load_snapshot(store.db, "ann")
    assert snapshot is not None
    assert [one.id for one in snapshot.credentials] == [ids[2], ids[0], ids[1]]


async def test_a_token_leads_to_its_owner(store: Store) -> None:
    ann, bob = await store.add_person("ann"), await store.add_person("bob")
    for person in (ann, bob):
        owner = await snapshots.load_by_token(store.db, person.token_hash)
        assert owner is not None
        assert (owner.user_id, owner.token_id, owner.state, owner.role) == (
            person.id,
            person.token_id,
            "active",
            Role.USER,
        )
        assert owner.scopes == ("gateway", "settings")
        assert owner.snapshot == await snapshots.load_snapshot(store.db, person.id)


@pytest.mark.parametrize("state", ["revoked", "expired", "suspended"])
async def test_a_token_that_lets_nobody_in_gives_nothing_away(
    store: Store, superuser: asyncpg.Connection, state: str
) -> None:
    person = await store.add_person("ann")
    async with store.db.transaction("ann") as tx:
        if state == "revoked":
            assert await tokens.revoke_token(tx, person.token_id)
            assert not await tokens.revoke_token(tx, person.token_id)
        if state == "suspended":
            assert await users.set_user_status(tx, "ann", "suspended")
    if state == "expired":
        await superuser.execute("update ownkey.gateway_tokens set expires_at = now() - interval '1 second'")
    owner = await snapshots.load_by_token(store.db, person.token_hash)
    assert owner is not None
    assert owner.state == state
    assert owner.snapshot.credentials == ()
    assert owner.snapshot.wrapped_data_key is None


async def test_a_suspended_user_has_no_snapshot_until_let_in_again(store: Store) -> None:
    await store.add_person("ann")
    async with store.db.transaction("ann", actor="root") as tx:
        await users.set_user_status(tx, "ann", "suspended")
    with pytest.raises(PermissionDenied) as refused:
        await snapshots.load_snapshot(store.db, "ann")
    assert refused.value.code == "user_suspended"
    async with store.db.transaction("ann", actor="root") as tx:
        await users.set_user_status(tx, "ann", "active")
    assert await snapshots.load_snapshot(store.db, "ann") is not None


async def test_a_revocation_that_is_seen_with_its_generation_is_seen_as_revoked(store: Store) -> None:
    """Whatever a read overtakes: an active owner never carries the generation that the revocation brought."""
    for number in range(15):
        person = await store.add_person(f"user-{number}")

        async def revoke(user_id: str = person.id, token_id: str = person.token_id) -> int:
            async with store.db.transaction(user_id) as tx:
                await users.ensure_user(tx, user_id)
                await tokens.revoke_token(tx, token_id)
                found = await users.find_user(tx, user_id)
                assert found is not None
                return found.generation

        revoked_at, *owners = await asyncio.gather(
            revoke(), *(snapshots.load_by_token(store.db, person.token_hash) for _ in range(6))
        )
        for owner in owners:
            assert owner is not None
            assert (owner.state == "active") == (owner.snapshot.generation < revoked_at)


async def test_an_erased_secret_leaves_a_credential_that_cannot_be_used(store: Store) -> None:
    person = await store.add_person("ann")
    async with store.db.transaction("ann") as tx:
        assert await credentials.clear_secret(tx, person.credential_id, "https://elsewhere.example/v1")
    snapshot = await snapshots.load_snapshot(store.db, "ann")
    assert snapshot is not None
    (credential,) = snapshot.credentials
    assert (credential.sealed, credential.base_url) == (b"", None)
    assert credential.status is CredentialStatus.INVALID


async def test_a_destination_written_beside_the_secret_does_not_move_it(
    store: Store, superuser: asyncpg.Connection
) -> None:
    await store.add_person("ann")
    await superuser.execute("update ownkey.credentials set base_url = 'https://attacker.example'")
    snapshot = await snapshots.load_snapshot(store.db, "ann")
    assert snapshot is not None
    assert snapshot.credentials[0].base_url is None


async def test_generations_of_many_are_one_read(store: Store) -> None:
    ids = [f"user-{number}" for number in range(5)]
    for user_id in ids:
        await store.add_person(user_id)
    found = await snapshots.load_generations(store.db, [*ids, "nobody"])
    assert set(found) == set(ids)
    for user_id in ids:
        snapshot = await snapshots.load_snapshot(store.db, user_id)
        assert snapshot is not None
        assert found[user_id] == snapshot.generation
    assert await snapshots.load_generations(store.db, []) == {}
