"""Users, data keys, credentials, choices and tokens, through the functions that the services call."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ownkey.domain.credential import CredentialStatus
from ownkey.domain.settings import PayerRule, Preference, Settings, TaskOverride
from ownkey.domain.usage import new_id
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import Conflict
from ownkey.storage import credentials, data_keys, settings, tokens, users
from ownkey.storage.database import Database
from tests.postgres.people import Store, add_credential, digest, set_status

NOT_IDS = ["", "x", "1' or '1'='1", "0000000g-0000-0000-0000-000000000000", "0" * 32, "{" + "0" * 34 + "}", "é" * 36]


async def test_a_user_is_made_once(store: Store) -> None:
    async def make() -> bool:
        async with store.db.transaction("ann") as tx:
            return await users.ensure_user(tx, "ann", "admin")

    assert sorted(await asyncio.gather(*(make() for _ in range(6)))) == [False] * 5 + [True]
    async with store.db.transaction("ann") as tx:
        assert not await users.ensure_user(tx, "ann", "user")
        user = await users.find_user(tx, "ann")
        assert user is not None
        assert (user.role, user.status) == (Role.ADMIN, UserStatus.ACTIVE)
        assert await users.find_user(tx, "bob") is None


async def test_status_and_role_change_when_they_differ(store: Store) -> None:
    await store.add_person("ann")
    async with store.db.transaction("ann") as tx:
        assert await users.set_user_role(tx, "ann", Role.ADMIN)
        assert not await users.set_user_role(tx, "ann", "admin")
        assert await users.set_user_status(tx, "ann", UserStatus.SUSPENDED)
        assert not await users.set_user_status(tx, "bob", "suspended")
        with pytest.raises(asyncpg.CheckViolationError):
            await users.set_user_status(tx, "ann", "root")


async def test_the_administrator_pages_through_all_users(store: Store) -> None:
    ids = sorted(f"user-{number}" for number in range(7))
    for user_id in ids:
        await store.add_person(user_id)
    async with store.db.transaction("root", role="ownkey_admin") as tx:
        first = await users.list_users(tx, limit=4)
        rest = await users.list_users(tx, after=first[-1].id, limit=4)
    assert [user.id for user in first + rest] == ids
    async with store.db.transaction("user-1") as tx:
        assert [user.id for user in await users.list_users(tx)] == ["user-1"]


async def test_deleting_a_user_leaves_the_audit_trail_and_nothing_else(
    store: Store, superuser: asyncpg.Connection
) -> None:
    """Their data key goes: sealed bytes that somebody kept do not open any more."""
    await store.add_person("ann")
    await store.add_person("bob")
    async with store.db.transaction("ann") as tx:
        assert await data_keys.get_data_key(tx, "ann") is not None
        assert await users.delete_user(tx)
        assert not await users.delete_user(tx)
        assert await data_keys.get_data_key(tx, "ann") is None
    tables = await superuser.fetch(
        "select c.oid::regclass::text as name, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid "
        "where c.relnamespace in ('ownkey'::regnamespace, 'ownkey_private'::regnamespace) and c.relkind in ('r', 'p') "
        "and (a.attname = 'user_id' or (c.relname = 'users' and a.attname = 'id'))"
    )
    assert len(tables) > 10
    for table in tables:
        left = await superuser.fetchval(f"select count(*) from {table['name']} where {table['attname']} = 'ann'")
        assert left == (1 if table["name"] == "ownkey_private.audit_log" else 0), table["name"]
    async with store.db.transaction("bob") as tx:
        assert len(await credentials.list_credentials(tx)) == 1


async def test_of_two_data_keys_made_at_once_one_counts(store: Store) -> None:
    async with store.db.transaction("ann") as tx:
        await users.ensure_user(tx, "ann")

    async def put(number: int) -> tuple[bytes, str, int]:
        async with store.db.transaction("ann") as tx:
            return await data_keys.put_data_key(tx, "ann", digest(str(number)), "kek-1", 1)

    kept = await asyncio.gather(*(put(number) for number in range(6)))
    assert len(set(kept)) == 1
    async with store.db.transaction("ann") as tx:
        assert await data_keys.get_data_key(tx, "ann") == kept[0]
    async with store.db.transaction("bob") as tx:
        assert await data_keys.get_data_key(tx, "ann") is None


async def test_rotation_takes_each_key_once_and_never_overwrites_a_newer_one(store: Store) -> None:
    for number in range(9):
        await store.add_person(f"user-{number}")

    async def rotate() -> int:
        async with store.db.transaction(None, role="ownkey_rotator") as tx:
            batch = await data_keys.lock_data_keys(tx, "kek-1", 4)
            await asyncio.sleep(0.01)
            for key in batch:
                assert await data_keys.swap_data_key(tx, key, b"new " + key.wrapped, "kek-2")
                assert not await data_keys.swap_data_key(tx, key, b"again", "kek-3")
            return len(batch)

    assert sum(await asyncio.gather(*(rotate() for _ in range(4)))) == 9
    async with store.db.transaction(None, role="ownkey_rotator") as tx:
        assert await data_keys.count_by_wrapping_key(tx) == {"kek-2": 9}
    async with store.db.transaction("user-3") as tx:
        assert await data_keys.get_data_key(tx, "user-3") == (b"new " + digest("data key", "user-3"), "kek-2", 1)


async def test_only_named_columns_of_a_credential_change(store: Store) -> None:
    person = await store.add_person("ann")
    expires_at = datetime(2030, 1, 1, tzinfo=UTC)
    async with store.db.transaction("ann") as tx:
        before = await credentials.find_credential(tx, person.credential_id)
        assert before is not None
        changes = {
            "label": "home",
            "expires_at": expires_at,
        }
        assert await credentials.update_credential(tx, person.credential_id, changes)
        after = await credentials.find_credential(tx, person.credential_id)
        assert after is not None
        for name in before.__struct_fields__:
            expected = changes.get(name, getattr(before, name))
            if name != "updated_at":
                assert getattr(after, name) == expected, name
        assert await credentials.update_credential(tx, person.credential_id, {"expires_at": None})
        found = await credentials.find_credential(tx, person.credential_id)
        assert found is not None
        assert found.expires_at is None
        for refused in ("id", "user_id", "provider", "base_url", "request_count", "status", "sealed"):
            with pytest.raises(ValueError, match=refused):
                await credentials.update_credential(tx, person.credential_id, {refused: "x"})


@pytest.mark.parametrize("text", NOT_IDS)
async def test_an_id_that_is_none_belongs_to_no_row(store: Store, text: str) -> None:
    await store.add_person("ann")
    async with store.db.transaction("ann") as tx:
        assert await credentials.find_credential(tx, text) is None
        assert await credentials.find_sealed(tx, text) is None
        assert not await credentials.update_credential(tx, text, {"label": "x"})
        assert not await credentials.delete_credential(tx, text)
        assert not await credentials.clear_secret(tx, text, None)
        assert not await credentials.replace_secret(
            tx, text, sealed=b"x", hint="", generation=2, fingerprint=digest("x"), base_url=None
        )
        assert not await tokens.revoke_token(tx, text)
        await credentials.reorder(tx, "groq", [text])
        with pytest.raises(LookupError):
            await credentials.get_generation(tx, text)
    async with store.db.transaction("ann") as tx:
        assert await credentials.find_standing(tx, text) is None


async def test_a_secret_is_stored_once_per_user(store: Store) -> None:
    person = await store.add_person("ann")
    other = new_id()
    async with store.db.transaction("ann") as tx:
        assert await credentials.find_by_fingerprint(tx, "groq", digest("fingerprint", "ann")) == person.credential_id
        assert await credentials.find_by_fingerprint(tx, "openai", digest("fingerprint", "ann")) is None
    with pytest.raises(Conflict) as refused:
        async with store.db.transaction("ann") as tx:
            await credentials.insert_credential(
                tx, id=other, user_id="ann", provider="groq", label="x", hint="…", base_url=None, position=1,
                expires_at=None, sealed=b"x", generation=1, fingerprint=digest("fingerprint", "ann"),
            )  # fmt: skip
    assert refused.value.code == "duplicate_secret"
    bob = await store.add_person("bob")
    async with store.db.transaction("bob") as tx:  # no constraint tells bob what ann has
        assert await credentials.find_by_fingerprint(tx, "groq", digest("fingerprint", "ann")) is None
        assert await credentials.replace_secret(
            tx, bob.credential_id, sealed=b"x", hint="…", generation=2, fingerprint=digest("fingerprint", "ann"),
            base_url=None,
        )  # fmt: skip


async def test_the_same_secret_added_twice_at_once_is_refused_once(store: Store) -> None:
    async with store.db.transaction("ann") as tx:
        await users.ensure_user(tx, "ann")

    async def add() -> bool:
        try:
            async with store.db.transaction("ann") as tx:
                await credentials.insert_credential(
                    tx, id=new_id(), user_id="ann", provider="groq", label="x", hint="…", base_url=None, position=1,
                    expires_at=None, sealed=b"x", generation=1, fingerprint=digest("one"),
                )  # fmt: skip
        except Conflict:
            return False
        return True

    assert sum(await asyncio.gather(*(add() for _ in range(5)))) == 1


async def test_an_older_secret_never_comes_back(store: Store) -> None:
    person = await store.add_person("ann")
    async with store.db.transaction("ann") as tx:

        async def replace(generation: int) -> bool:
            return await credentials.replace_secret(
                tx, person.credential_id, sealed=b"g%d" % generation, hint="…new", generation=generation,
                fingerprint=digest(str(generation)), base_url="https://own.example/v1",
            )  # fmt: skip

        assert await credentials.get_generation(tx, person.credential_id) == 1
        assert await replace(3)
        assert not await replace(3)
        assert not await replace(2)
        sealed = await credentials.find_sealed(tx, person.credential_id)
        assert sealed is not None
        assert (sealed.sealed, sealed.generation, sealed.base_url) == (b"g3", 3, "https://own.example/v1")
        assert (sealed.hint, sealed.status) == ("…new", CredentialStatus.UNVERIFIED)


async def test_another_destination_erases_the_secret_and_keeps_the_generation(
    store: Store, superuser: asyncpg.Connection
) -> None:
    person = await store.add_person("ann")
    async with store.db.transaction("ann") as tx:
        assert await credentials.clear_secret(tx, person.credential_id, "https://own.example/v1")
        assert await credentials.get_generation(tx, person.credential_id) == 1
        found = await credentials.find_credential(tx, person.credential_id)
        assert found is not None
        assert (found.base_url, found.hint) == ("https://own.example/v1", "")
        assert (found.status, found.status_reason) == (CredentialStatus.INVALID, "base_url_changed")
        assert await credentials.find_by_fingerprint(tx, "groq", digest("fingerprint", "ann")) is None
    row = await superuser.fetchrow("select sealed, fingerprint, base_url from ownkey_private.credential_secrets")
    assert tuple(row) == (None, None, None)


async def test_a_removed_credential_takes_its_secret_along_and_leaves_overrides_free(
    store: Store, superuser: asyncpg.Connection
) -> None:
    person = await store.add_person("ann")
    async with store.db.transaction("ann") as tx:
        assert await credentials.delete_credential(tx, person.credential_id)
        assert await settings.list_task_overrides(tx) == [TaskOverride(task="coding", provider="groq")]
    assert await superuser.fetchval("select count(*) from ownkey_private.credential_secrets") == 0


async def test_a_user_cannot_pin_the_credential_of_another(store: Store) -> None:
    ann, _ = await store.add_person("ann"), await store.add_person("bob")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with store.db.transaction("bob") as tx:
            await settings.put_task_override(
                tx, TaskOverride(task="coding", provider="groq", credential_id=ann.credential_id)
            )


async def test_two_users_may_hold_the_same_id(store: Store) -> None:
    """An id says nothing about whether another user has it: keys are unique per user."""
    ann = await store.add_person("ann")
    async with store.db.transaction("bob") as tx:
        await users.ensure_user(tx, "bob")
        bob = type(ann)(id="bob", credential_id=ann.credential_id, token_id=new_id(), token_hash=digest("b"))
        await add_credential(tx, bob)
        sealed = await credentials.find_sealed(tx, ann.credential_id)
        assert sealed is not None
        assert sealed.sealed == digest("sealed", "bob")


async def test_settings_have_defaults_until_they_are_changed(store: Store) -> None:
    async with store.db.transaction("ann") as tx:
        assert await settings.get_settings(tx) == Settings()
        await users.ensure_user(tx, "ann")
        changed = await settings.update_settings(tx, {"payer": PayerRule.OWN_ONLY, "default_task": "writing"})
        assert changed == await settings.get_settings(tx) == Settings(payer=PayerRule.OWN_ONLY, default_task="writing")
        await settings.update_settings(tx, {"default_task": None})
        assert (await settings.get_settings(tx)).default_task is None
        with pytest.raises(TypeError):
            await settings.update_settings(tx, {"role": "admin"})


async def test_preferences_and_overrides_are_put_and_removed(store: Store) -> None:
    async with store.db.transaction("ann") as tx:
        await users.ensure_user(tx, "ann")
        first = Preference(provider="openai", priority=2, default_model="gpt", may_fall_back=False, backup_only=True)
        second = Preference(provider="groq", priority=1, enabled=False)
        for preference in (first, second):
            await settings.put_preference(tx, preference)
        assert await settings.list_preferences(tx) == [second, first]
        await settings.put_preference(tx, Preference(provider="openai"))
        assert await settings.list_preferences(tx) == [second, Preference(provider="openai")]
        assert await settings.delete_preference(tx, "openai")
        assert not await settings.delete_preference(tx, "openai")
        override = TaskOverride(
            task="coding", provider="groq", model="llama", payer=PayerRule.SHARED_ONLY, allow_fallback=False
        )
        await settings.put_task_override(tx, override)
        assert await settings.list_task_overrides(tx) == [override]
        assert await settings.delete_task_override(tx, "coding")
        assert not await settings.delete_task_override(tx, "coding")


async def test_tokens_are_listed_without_their_hash(store: Store) -> None:
    person = await store.add_person("ann")
    expires_at = datetime.now(UTC) + timedelta(days=1)
    newer = new_id()
    async with store.db.transaction("ann") as tx:
        await tokens.insert_token(
            tx, id=newer, user_id="ann", name="phone", hash=digest("phone"), hint="ok-…", scopes=("gateway",),
            expires_at=expires_at,
        )  # fmt: skip
    async with store.db.transaction("ann") as tx:
        listed = await tokens.list_tokens(tx)
        assert [token.id for token in listed] == [newer, person.token_id]
        assert (listed[0].scopes, listed[0].expires_at, listed[0].revoked_at) == (("gateway",), expires_at, None)
        assert await tokens.revoke_token(tx, newer)
        assert (await tokens.list_tokens(tx))[0].revoked_at is not None


async def test_changes_of_one_user_from_all_sides_never_deadlock(store: Store) -> None:
    """Sign-ins, health write-backs, edits and removals of the same rows at once."""
    person = await store.add_person("ann")

    async def edit(number: int) -> None:
        async with store.db.transaction("ann") as tx:
            await users.ensure_user(tx, "ann")
            await credentials.reorder(tx, "groq", [person.credential_id])
            await settings.put_preference(tx, Preference(provider="groq", priority=number))
            await credentials.update_credential(tx, person.credential_id, {"label": f"label {number}"})

    async def sign_out() -> None:
        async with store.db.transaction("ann") as tx:
            await users.bump_generation(tx, "ann")

    async def note(number: int) -> None:
        status = CredentialStatus.OK if number % 2 else CredentialStatus.RATE_LIMITED
        await set_status(store.db, person, status, str(number))

    await asyncio.gather(*(work for number in range(25) for work in (edit(number), note(number), sign_out())))


async def test_row_modules_work_through_pgbouncer(pooled_db: Database) -> None:
    store = Store(pooled_db)
    person = await store.add_person("ann")
    async with pooled_db.transaction("ann") as tx:
        assert (await credentials.list_credentials(tx))[0].id == person.credential_id
    await pooled_db.ping()
    assert await pooled_db.check() == []
