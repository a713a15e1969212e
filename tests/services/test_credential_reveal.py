"""A stored secret is shown to its owner where administrators allow that: never unnoticed, never without end."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ownkey.crypto.key_text import generate_key_line
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.domain.audit import AuditAction
from ownkey.domain.policy import Policy
from ownkey.domain.provider import Provider
from ownkey.errors import Conflict, CredentialUnreadable, NotFound, OwnkeyError, PermissionDenied
from ownkey.services.credential_reveal import REVEALS_LIMIT, Revealed
from ownkey.storage.database import Database
from ownkey.upstream.pool import UpstreamPool
from tests.services.stand import Stand, unique


@pytest.fixture
def impostor_wrapping(wrapping: LocalWrappingKeys) -> LocalWrappingKeys:
    """A key of the same name and other content."""
    line = generate_key_line().partition(":")[2]
    return LocalWrappingKeys.parse(f"{wrapping.primary_id}:{line}")


@pytest.fixture
def open_stand(
    database: Database, pool: UpstreamPool, catalog: dict[str, Provider], wrapping: LocalWrappingKeys
) -> Stand:
    """Stored keys may be shown."""
    return Stand(
        database, pool, catalog, wrapping, policy=Policy(shared=frozenset({"openai"}), reveal_keys=True),
        custom_base_urls=True,
    )  # fmt: skip


async def add(stand: Stand) -> tuple[str, str, str]:
    user, secret = unique("ann"), f"gsk_{unique('stored')}"
    return user, (await stand.settings.add_credential(user, "groq", secret, label="work")).id, secret


async def test_its_owner_sees_it_and_the_trail_says_so(open_stand: Stand) -> None:
    user, credential, secret = await add(open_stand)
    before = open_stand.now()
    shown = await open_stand.reveal.reveal(user, credential)
    assert shown.secret.reveal() == secret and secret not in repr(shown)
    assert before + timedelta(seconds=30) <= shown.hides_at <= open_stand.now() + timedelta(seconds=30)
    last = (await open_stand.audit_of(user))[-1]
    assert (last.action, last.subject) == (AuditAction.CREDENTIAL_REVEALED, credential)
    assert last.details == {"provider": "groq", "label": "work"}


async def test_it_is_off_unless_administrators_allow_it(stand: Stand, open_stand: Stand) -> None:
    user, credential, _ = await add(stand)
    trail = await stand.audit_of(user)
    with pytest.raises(PermissionDenied) as caught:
        await stand.reveal.reveal(user, credential)
    assert caught.value.code == "reveal_switched_off"
    assert await stand.audit_of(user) == trail


async def test_nobody_elses_and_nothing_that_is_not_there(open_stand: Stand) -> None:
    user, credential, _ = await add(open_stand)
    for other, wanted in ((unique("bob"), credential), (user, "shared:openai"), (user, "nonsense"), (user, user)):
        with pytest.raises(NotFound):
            await open_stand.reveal.reveal(other, wanted)
    keyless = await open_stand.settings.add_credential(user, "ollama", "")
    with pytest.raises(Conflict) as caught:
        await open_stand.reveal.reveal(user, keyless.id)
    assert caught.value.code == "secret_missing"
    await open_stand.settings.update_credential(user, credential, base_url="https://8.8.8.8/v1")
    with pytest.raises(Conflict) as caught:
        await open_stand.reveal.reveal(user, credential)
    assert caught.value.code == "secret_missing"
    assert AuditAction.CREDENTIAL_REVEALED not in {entry.action for entry in await open_stand.audit_of(user)}


async def test_what_cannot_be_opened_is_said(
    open_stand: Stand, database: Database, pool: UpstreamPool, catalog: dict[str, Provider],
    impostor_wrapping: LocalWrappingKeys,
) -> None:  # fmt: skip
    user, credential, _ = await add(open_stand)
    stranger = Stand(database, pool, catalog, impostor_wrapping, policy=Policy(reveal_keys=True))
    with pytest.raises(CredentialUnreadable) as caught:
        await stranger.reveal.reveal(user, credential)
    assert caught.value.status == 424


async def test_of_many_at_once_only_so_many_are_shown(open_stand: Stand) -> None:
    user, credential, secret = await add(open_stand)
    tries = [open_stand.reveal.reveal(user, credential) for _ in range(REVEALS_LIMIT + 5)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    shown = [one for one in done if isinstance(one, Revealed)]
    refused = [one for one in done if isinstance(one, OwnkeyError)]
    assert (len(shown), len(refused)) == (REVEALS_LIMIT, 5)
    assert {(one.code, one.status) for one in refused} == {("too_many_reveals", 429)}
    assert [entry.action for entry in await open_stand.audit_of(user)].count(
        AuditAction.CREDENTIAL_REVEALED
    ) == REVEALS_LIMIT
    # Nobody else waits for that.
    other, theirs, _ = await add(open_stand)
    assert (await open_stand.reveal.reveal(other, theirs)).secret.reveal() != secret
