"""Panel tokens: short, narrow, for one page's origin, and made by host back ends only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from msgspec import Struct, structs

from ownkey import Ownkey
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import PermissionDenied, RequestError
from ownkey.services.sessions import PanelToken
from tests.gateway.api_client import ApiClient, administrator, caller, unique
from tests.gateway.browser import Browser, person, problem
from tests.gateway.conftest import SHARED, Platform, serve
from tests.gateway.database_access import execute_on_database

HOST = "https://app.example.com"


class Embedding(Struct):
    """An Ownkey whose panel a page of `HOST` may embed."""

    ok: Ownkey
    url: str

    @asynccontextmanager
    async def page(self, token: PanelToken | str, origin: str | None = HOST) -> AsyncIterator[Browser]:
        """A page that holds a panel token, in a browser without a session."""
        text = token if isinstance(token, str) else token.text
        async with Browser(self.url) as browser:
            send = browser.send

            async def with_token(method: str, path: str, json: object = None, **options: object) -> object:
                usual = {"authorization": f"Bearer {text}", "origin": origin, "x-ownkey-panel": None}
                given = options.pop("headers", None) or {}
                return await send(method, path, json, headers=usual | given)  # type: ignore[operator]

            browser.send = with_token  # type: ignore[method-assign,assignment]
            yield browser


@pytest_asyncio.fixture
async def embedding(platform: Platform) -> AsyncIterator[Embedding]:
    config = structs.replace(platform.ok.config, panel_origins=(HOST, "http://localhost:5173"))
    async with Ownkey.open(config, environ=SHARED) as ok, serve(ok.asgi()) as url:
        yield Embedding(ok, url)


async def test_a_page_of_its_origin_uses_it_and_no_other(embedding: Embedding) -> None:
    user_id = unique("ann")
    token = await embedding.ok.panel_token(user_id, origin=HOST)
    assert token.text.startswith("okp-")
    assert token.text not in repr(token)
    assert timedelta(minutes=9) < token.expires_at - datetime.now(UTC) <= timedelta(minutes=10)
    async with embedding.page(token) as page:
        answer = await page.get("/api/session")
        said = answer.json()
        assert (said["user_id"], said["via"], said["scopes"]) == (user_id, "panel", ["settings"])
        assert answer.headers["access-control-allow-origin"] == HOST
        changed = await page.patch("/api/settings", {"payer": "own_only"})
        assert changed.status_code == 200
    for origin in (
        "http://localhost:5173",
        "https://evil.example",
        "null",
        None,
        embedding.url,
        HOST + ".evil.example",
    ):
        async with embedding.page(token, origin) as page:
            assert problem(await page.get("/api/session")) == (403, "wrong_origin")


async def test_without_an_origin_it_is_for_this_servers_own_pages(embedding: Embedding) -> None:
    token = await embedding.ok.panel_token(unique("ann"))
    async with embedding.page(token, None) as page:
        assert (await page.get("/api/session")).status_code == 200
        assert (await page.patch("/api/settings", {}, headers={"origin": embedding.url})).status_code == 200
        assert problem(await page.get("/api/session", headers={"origin": HOST})) == (403, "wrong_origin")


async def test_it_ends_with_time_with_signing_out_and_with_the_user(embedding: Embedding, platform: Platform) -> None:
    ok, user_id = embedding.ok, unique("ann")
    first, second, third = [await ok.panel_token(user_id, origin=HOST, ttl_seconds=60) for _ in range(3)]
    async with embedding.page(first) as page:
        assert (await page.delete("/api/session")).status_code == 204
        assert problem(await page.get("/api/session")) == (401, "token_expired")
    async with embedding.page(second) as page, embedding.page(third) as other:
        await ok.users.set_status(user_id, UserStatus.SUSPENDED)
        assert problem(await page.get("/api/session")) == (403, "user_suspended")
        await ok.users.set_status(user_id, UserStatus.ACTIVE)
        await execute_on_database(
            platform, "update ownkey_private.sessions set expires_at = now() where user_id = $1", user_id
        )
        assert problem(await page.get("/api/session")) == (401, "token_expired")
        await ok.users.delete(user_id)
        assert problem(await other.get("/api/session")) == (401, "token_expired")


async def test_the_scope_usage_looks_and_changes_nothing(embedding: Embedding) -> None:
    token = await embedding.ok.panel_token(unique("ann"), scopes=("usage",), origin=HOST)
    async with embedding.page(token) as page:
        for path in ("usage", "usage.csv", "audit", "settings", "providers", "policy", "requests", "session"):
            assert (await page.get(f"/api/{path}")).status_code == 200, path
        for path in ("credentials", "preferences", "tasks", "tokens", "sessions", "export", "admin/users"):
            assert problem(await page.get(f"/api/{path}")) == (403, "permission_denied"), path
        assert problem(await page.patch("/api/settings", {"payer": "own_only"})) == (403, "permission_denied")
        assert problem(await page.delete("/api/session/all")) == (403, "permission_denied")


async def test_it_does_not_outlive_itself(embedding: Embedding) -> None:
    """No panel token makes a gateway token, another panel token, or anything that only a person may do."""
    user_id = unique("root")
    await embedding.ok.users.create(user_id, role=Role.ADMIN)
    token = await embedding.ok.panel_token(user_id, scopes=("settings", "admin"), origin=HOST)
    async with embedding.page(token) as page:
        assert (await page.get("/api/admin/users")).status_code == 200
        for path, body in (
            ("tokens", {"name": "for ever"}),
            ("tokens", {"name": "for ever", "scopes": ["settings"]}),
            ("panel-tokens", {"user_id": user_id}),
            ("session/confirm", {"password": "a walk in the evening"}),
            ("account/password", {"current": "a walk in the evening", "new": "a morning at the sea"}),
        ):
            assert problem(await page.post(f"/api/{path}", body)) == (403, "permission_denied"), path
        ann = unique("ann")
        await embedding.ok.users.create(ann)
        for method, path, body in (
            ("POST", f"admin/users/{user_id}/reset", None),
            ("POST", "admin/users", {"id": unique("second"), "role": "admin"}),
            ("POST", "admin/users", {"id": unique("whom the host will bring")}),
            ("POST", "admin/users", {"id": ann}),
            ("PATCH", f"admin/users/{ann}", {"role": "admin"}),
        ):
            assert problem(await page.send(method, f"/api/{path}", json=body)) == (403, "permission_denied"), path
        assert (await page.patch(f"/api/admin/users/{ann}", {"status": "suspended"})).status_code == 200
        gateway = await page._client.get("/v1/models", headers={"authorization": f"Bearer {token.text}"})
        assert gateway.json()["error"]["code"] == "token_invalid"
        await embedding.ok.users.set_role(user_id, Role.USER)
        assert problem(await page.get("/api/admin/users")) == (403, "permission_denied")


async def test_only_a_back_end_makes_one_for_somebody(embedding: Embedding) -> None:
    user_id = unique("ann")
    wanted = {"user_id": user_id, "origin": HOST, "ttl_seconds": 120, "scopes": ["settings", "usage"]}
    async with administrator(embedding.ok) as backend:
        answer = await backend.post("/api/panel-tokens", wanted)
        assert answer.status_code == 201
        async with embedding.page(answer.json()["token"]) as page:
            assert (await page.get("/api/session")).json()["user_id"] == user_id
            entry = next(one for one in (await page.get("/api/audit")).json() if one["action"] == "panel.opened")
            assert entry["actor"] == backend.user_id
            assert entry["details"] == {"scopes": ["settings", "usage"], "origin": HOST}
        weak = await embedding.ok.tokens.create(backend.user_id, "weak")
        async with ApiClient(embedding.ok.asgi(), weak.text) as other:
            assert problem(await other.post("/api/panel-tokens", wanted)) == (403, "permission_denied")
        refused = await backend.post("/api/panel-tokens", {**wanted, "scopes": ["admin"]})
        assert problem(refused) == (403, "permission_denied"), "for somebody who is no administrator"
    async with caller(embedding.ok) as eve:
        assert problem(await eve.post("/api/panel-tokens", wanted)) == (403, "permission_denied")
    async with person(embedding.ok, embedding.url, role=Role.ADMIN) as root:
        assert problem(await root.post("/api/panel-tokens", wanted)) == (403, "permission_denied"), "nobody's browser"


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl_seconds": 59},
        {"ttl_seconds": 3601},
        {"scopes": ["gateway"]},
        {"scopes": []},
        {"origin": "https://app.example.com/path"},
        {"origin": "app.example.com"},
        {"origin": "null"},
        {"origin": "*"},
        {"origin": "https://user@app.example.com"},
        {"user_id": ""},
        {"user_id": "a\0"},
    ],
    ids=str,
)
async def test_what_is_no_wish_for_a_panel_is_refused(platform: Platform, wrong: dict[str, object]) -> None:
    async with administrator(platform.ok) as backend:
        answer = await backend.post("/api/panel-tokens", {"user_id": unique("ann"), **wrong})
        assert problem(answer) == (400, "invalid_request")


async def test_the_same_in_process(platform: Platform) -> None:
    user_id = unique("ann")
    with pytest.raises(RequestError, match="60 to 3600"):
        await platform.ok.panel_token(user_id, ttl_seconds=10)
    with pytest.raises(RequestError, match="origin"):
        await platform.ok.panel_token(user_id, origin="https://app.example.com/path")
    with pytest.raises(RequestError, match="Scopes"):
        await platform.ok.panel_token(user_id, scopes=("everything",))
    with pytest.raises(PermissionDenied):
        await platform.ok.panel_token(user_id, scopes=("admin",))
    await platform.ok.panel_token(user_id)
    await platform.ok.users.set_status(user_id, UserStatus.SUSPENDED)
    with pytest.raises(PermissionDenied):
        await platform.ok.panel_token(user_id)
