"""`POST /api/credentials/{id}/reveal`: who sees a stored key again, and who never does."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio
from msgspec import structs

from ownkey.domain.audit import AuditAction
from ownkey.domain.routing import shared_credential_id
from ownkey.testing import SimulatedProviders
from tests.gateway.api_client import ApiClient, administrator, unique
from tests.gateway.browser import PASSWORD, Browser, grow_stale, person, problem
from tests.gateway.conftest import Platform
from tests.gateway.test_host_tokens import hosting
from tests.gateway.token_issuer import running_issuer


@pytest_asyncio.fixture
async def allowed(platform: Platform) -> AsyncIterator[None]:
    """The administrators let users see their stored keys, until the end of the test."""
    async with administrator(platform.ok) as root:
        before = await platform.ok.policies.get(root.user_id)
        await platform.ok.policies.put(root.user_id, structs.replace(before.document, reveal_keys=True))
        yield
        await platform.ok.policies.put(root.user_id, before.document)


async def add(browser: Browser) -> tuple[str, str]:
    """A new key; gives its path and its secret."""
    secret = f"gsk_{unique('stored')}"
    stored = await browser.post("/api/credentials", {"provider": "groq", "secret": secret, "label": "work"})
    return f"/api/credentials/{stored.json()['id']}/reveal", secret


async def reveals(platform: Platform, user_id: str) -> int:
    trail = await platform.ok.audit.list_entries(user_id, limit=500)
    return [entry.action for entry in trail].count(AuditAction.CREDENTIAL_REVEALED)


async def test_a_person_who_just_signed_in_sees_their_own_key(platform: Platform, allowed: None) -> None:
    async with person(platform.ok, platform.url) as ann:
        path, secret = await add(ann)
        answer = await ann.post(path)
        assert answer.status_code == 200 and answer.json()["secret"] == secret
        assert answer.headers["cache-control"] == "no-store"
        hides_in = datetime.fromisoformat(answer.json()["hides_at"]) - datetime.now(UTC)
        assert timedelta(seconds=20) < hides_in <= timedelta(seconds=30)
        [entry] = [one for one in (await ann.get("/api/audit")).json() if one["action"] == "credential.revealed"]
        assert (entry["actor"], entry["details"]) == (ann.user_id, {"provider": "groq", "label": "work"})
        # Nowhere else.
        for other in ("/api/credentials", "/api/audit", "/api/export"):
            assert secret not in (await ann.get(other)).text


async def test_off_is_off_for_everybody(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann:
        path, _ = await add(ann)
        assert problem(await ann.post(path)) == (403, "reveal_switched_off")
        assert await reveals(platform, ann.user_id) == 0


async def test_an_abandoned_desk_shows_nothing(platform: Platform, allowed: None) -> None:
    async with person(platform.ok, platform.url) as ann:
        path, secret = await add(ann)
        await grow_stale(platform, ann)
        assert problem(await ann.post(path)) == (403, "fresh_sign_in_required")
        assert await reveals(platform, ann.user_id) == 0
        await ann.post("/api/session/confirm", {"password": PASSWORD})
        assert (await ann.post(path)).json()["secret"] == secret


async def test_no_token_sees_a_key(platform: Platform, allowed: None) -> None:
    async with person(platform.ok, platform.url) as ann:
        path, secret = await add(ann)
        token = (await ann.post("/api/tokens", {"name": "all", "scopes": ["gateway", "settings"]})).json()["token"]
        panel = await platform.ok.core.sessions.open_panel(
            ann.user_id, scopes=("settings",), ttl_seconds=600, origin=platform.url
        )
        for shown in (token, panel.text):
            async with ApiClient(platform.ok.asgi(), shown, secrets=(secret,)) as client:
                answer = await client.post(path, headers={"origin": platform.url})
                assert problem(answer) == (403, "permission_denied")
        assert await reveals(platform, ann.user_id) == 0


async def test_nobody_elses_and_never_the_operators(platform: Platform, allowed: None) -> None:
    async with person(platform.ok, platform.url) as ann, person(platform.ok, platform.url, "bob") as bob:
        path, _ = await add(ann)
        assert problem(await bob.post(path)) == (404, "not_found")
        for wanted in (shared_credential_id("groq"), "nonsense", ann.user_id):
            assert (await ann.post(f"/api/credentials/{wanted}/reveal")).status_code == 404
        # Another page of the same browser cannot ask on the person's behalf.
        assert problem(await ann.send("POST", path, headers={"x-ownkey-panel": None})) == (403, "cross_site_request")
        assert problem(await ann.send("POST", path, headers={"origin": "https://evil.example"}))[0] == 403
        assert await reveals(platform, ann.user_id) == 0


async def test_an_unreadable_key_is_said_to_be_one(platform: Platform, allowed: None) -> None:
    async with person(platform.ok, platform.url) as ann:
        path, _ = await add(ann)
        async with platform.ok.database.transaction(ann.user_id) as tx:
            # Another generation than the one that is bound into the ciphertext.
            await tx.execute("update ownkey_private.credential_secrets set generation = generation + 1")
        assert problem(await ann.post(path)) == (424, "credential_unreadable")
        assert await reveals(platform, ann.user_id) == 0


async def test_it_does_not_go_on_for_ever(platform: Platform, allowed: None) -> None:
    async with person(platform.ok, platform.url) as ann:
        path, _ = await add(ann)
        codes = [(await ann.post(path)).status_code for _ in range(12)]
        assert codes == [200] * 10 + [429] * 2
        refused = await ann.post(path)
        assert problem(refused) == (429, "too_many_reveals") and int(refused.headers["retry-after"]) > 0


async def test_a_host_application_sees_none_in_a_users_name(
    platform: Platform, allowed: None, data_dir: Path, providers: SimulatedProviders
) -> None:
    async with (
        person(platform.ok, platform.url) as ann,
        running_issuer() as issuer,
        hosting(data_dir, providers, issuer) as hosted,
    ):
        path, secret = await add(ann)
        # Setting the password ended what was signed in the seconds before.
        now = int(time.time()) + 2
        token = issuer.token(ann.user_id, iat=now, auth_time=now)
        async with ApiClient(hosted.ok.asgi(), token, secrets=(secret,)) as host:
            got = await host.get("/api/credentials")
            assert got.status_code == 200, got.text
            assert problem(await host.post(path)) == (403, "permission_denied")
        assert await reveals(platform, ann.user_id) == 0
