"""Users and their gateway tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ownkey.crypto.tokens import hash_token
from ownkey.domain.audit import AuditAction
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import CredentialUnreadable, NotFound, PermissionDenied, RequestError
from ownkey.services.gateway_tokens import TOKENS_LIMIT
from ownkey.storage import credentials, snapshots
from tests.services.stand import Stand, unique

SECRET = "gsk_abcdefghijklmnopqrstuvwx0001"


async def state_of(stand: Stand, text: str) -> str | None:
    """What the gateway would find for a token; None: nobody has it."""
    digest = hash_token(text)
    assert digest is not None
    owner = await snapshots.load_by_token(stand.database, digest)
    return None if owner is None else owner.state


async def test_a_user_is_created_once_and_keeps_their_role(stand: Stand) -> None:
    user = unique("ann")
    created = await stand.users.create(user, role=Role.ADMIN, actor="operator")
    assert (created.id, created.role, created.status) == (user, Role.ADMIN, UserStatus.ACTIVE)
    assert (await stand.users.create(user)).role is Role.ADMIN
    entries = await stand.audit.list_entries(user)
    assert [(one.action, one.actor, one.details) for one in entries] == [
        (AuditAction.USER_CREATED, "operator", {"role": "admin"})
    ]
    assert user in [one.id for one in await stand.users.list_users(user, after=user[:-1], limit=5)]


async def test_role_and_status_change_once_and_are_audited(stand: Stand) -> None:
    user = unique("ann")
    await stand.users.create(user)
    token = (await stand.tokens.create(user, "laptop")).text
    for _ in range(2):
        assert (await stand.users.set_role(user, Role.ADMIN, actor="operator")).role is Role.ADMIN
        assert (await stand.users.set_status(user, UserStatus.SUSPENDED, actor="operator")).status == "suspended"
    assert await state_of(stand, token) == "suspended"
    await stand.users.set_status(user, UserStatus.ACTIVE, actor="operator")
    assert await state_of(stand, token) == "active"
    details = [one.details for one in await stand.audit_of(user) if one.action is AuditAction.USER_UPDATED]
    assert details == [{"role": "admin"}, {"status": "suspended"}, {"status": "active"}]


async def test_nobody_who_does_not_exist_is_changed(stand: Stand) -> None:
    nobody = unique("nobody")
    for call in (
        stand.users.get(nobody),
        stand.users.set_role(nobody, Role.ADMIN),
        stand.users.set_status(nobody, UserStatus.SUSPENDED),
        stand.users.delete(nobody),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.code == "user_not_found"
    assert await stand.generation_of(nobody) == 0


async def test_a_deleted_user_is_gone_with_everything_but_the_trail(stand: Stand) -> None:
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", SECRET)
    token = (await stand.tokens.create(user, "laptop")).text
    await stand.settings.put_task_override(user, "coding", "groq", credential_id=stored.id)
    await stand.users.delete(user, actor="operator")
    assert await state_of(stand, token) is None
    assert await stand.generation_of(user) == 0
    assert await stand.settings.list_credentials(user) == []
    assert await stand.settings.list_task_overrides(user) == []
    last = (await stand.audit_of(user))[-1]
    assert (last.action, last.actor) == (AuditAction.USER_DELETED, "operator")
    # The same name is somebody new, with a data key of their own.
    again = await stand.settings.add_credential(user, "groq", SECRET)
    assert await stand.open_stored(user, again.id) == SECRET


async def test_a_token_says_what_it_is_and_not_its_text(stand: Stand) -> None:
    user = unique("ann")
    end = datetime.now(UTC) + timedelta(days=1)
    made = await stand.tokens.create(user, "  my laptop ", scopes=["settings", "gateway", "settings"], expires_at=end)
    assert (made.token.name, made.token.scopes, made.token.expires_at) == ("my laptop", ("gateway", "settings"), end)
    assert made.token.hint == "ok-…" + made.text[-4:]
    assert made.text not in repr(made)
    assert await stand.tokens.list_tokens(user) == [made.token]
    assert await state_of(stand, made.text) == "active"
    await stand.tokens.revoke(user, made.token.id)
    assert await state_of(stand, made.text) == "revoked"
    (revoked,) = await stand.tokens.list_tokens(user)
    assert revoked.revoked_at is not None
    trail = await stand.audit_of(user)
    await stand.tokens.revoke(user, made.token.id)
    assert await stand.audit_of(user) == trail


async def test_only_an_administrator_gets_the_admin_scope(stand: Stand) -> None:
    user = unique("ann")
    with pytest.raises(PermissionDenied):
        await stand.tokens.create(user, "laptop", scopes=["admin"])
    assert await stand.tokens.list_tokens(user) == []
    await stand.users.create(user)
    await stand.users.set_role(user, Role.ADMIN)
    made = await stand.tokens.create(user, "laptop", scopes=["admin", "settings"])
    assert made.token.scopes == ("settings", "admin")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("", {}),
        ("  ", {}),
        ("a\0b", {}),
        ("a\ud800", {}),
        ("x" * 81, {}),
        ("x", {"scopes": []}),
        ("x", {"scopes": ["root"]}),
        ("x", {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}),
    ],
)
async def test_a_wrong_token_is_not_made(stand: Stand, name: str, options: dict[str, object]) -> None:
    user = unique("ann")
    with pytest.raises(RequestError):
        await stand.tokens.create(user, name, **options)  # type: ignore[arg-type]
    assert await stand.generation_of(user) == 0


async def test_only_valid_tokens_count_against_the_limit(stand: Stand) -> None:
    user = unique("ann")
    made = [await stand.tokens.create(user, f"token {number}") for number in range(TOKENS_LIMIT - 1)]
    await stand.tokens.create(user, "short", expires_at=stand.now() + timedelta(hours=1))
    with pytest.raises(RequestError) as caught:
        await stand.tokens.create(user, "one more")
    assert caught.value.code == "token_limit"
    stand.travel(timedelta(hours=2))
    await stand.tokens.create(user, "in place of the expired one")
    with pytest.raises(RequestError):
        await stand.tokens.create(user, "one more")
    await stand.tokens.revoke(user, made[0].token.id)
    await stand.tokens.create(user, "in place of the revoked one")


async def test_nobody_revokes_the_token_of_somebody_else(stand: Stand) -> None:
    ann, bob = unique("ann"), unique("bob")
    theirs = await stand.tokens.create(ann, "laptop")
    for token_id in (theirs.token.id, "not-an-id", "", "\0"):
        with pytest.raises(NotFound):
            await stand.tokens.revoke(bob, token_id)
    assert await state_of(stand, theirs.text) == "active"


async def test_what_comes_back_from_a_backup_of_a_deleted_user_does_not_open(stand: Stand) -> None:
    """Their data key went with them, and the one that they get when they come back is another."""
    user = unique("ann")
    stored = await stand.settings.add_credential(user, "groq", "gsk_of_somebody_who_leaves_1")
    async with stand.database.transaction(user) as tx:
        before = await credentials.find_sealed(tx, stored.id)
    assert before is not None
    await stand.users.delete(user)
    await stand.users.create(user)
    for new_key in (False, True):
        if new_key:
            await stand.settings.add_credential(user, "groq", "gsk_of_somebody_who_is_back_1")
        async with stand.database.transaction(user) as tx:
            if not new_key:
                await credentials.insert_credential(
                    tx,
                    id=stored.id,
                    user_id=user,
                    provider="groq",
                    label="from a backup",
                    hint=stored.hint,
                    base_url=None,
                    position=0,
                    expires_at=None,
                    sealed=before.sealed,
                    generation=before.generation,
                    fingerprint=bytes(32),
                )
            restored = await credentials.find_sealed(tx, stored.id)
            assert restored is not None and restored.sealed == before.sealed
            with pytest.raises(CredentialUnreadable):
                await stand.vault.open(tx, user, restored)
