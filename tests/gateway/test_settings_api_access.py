"""Who may do what: tokens, scopes, sessions, and nobody's rows but one's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ownkey.domain.user import UserStatus
from ownkey.services.gateway_tokens import GatewayTokenService
from tests.gateway.api_client import ApiClient, administrator, caller, unique
from tests.gateway.conftest import Platform

MISSING = "00000000-0000-7000-8000-000000000000"


async def test_a_token_is_shown_once_and_ends_when_it_is_revoked(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        made = (await ann.post("/api/tokens", {"name": "laptop"})).json()
        text = made.pop("token")
        assert text.startswith("ok-")
        assert made["scopes"] == ["gateway", "settings"]
        ann.keep_secret(text)
        assert made in (await ann.get("/api/tokens")).json()
        async with ApiClient(platform.ok.asgi(), text) as laptop:
            assert (await laptop.get("/api/session")).json()["token_id"] == made["id"]
            assert (await ann.delete(f"/api/tokens/{made['id']}")).status_code == 204
            answer = await laptop.get("/api/session")
            assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await ann.delete(f"/api/tokens/{made['id']}")).status_code == 204, "revoking twice changes nothing"
        actions = [entry["action"] for entry in await ann.audit()]
        assert actions[-2:] == ["token.created", "token.revoked"]
        assert text not in str(await ann.audit())


async def test_no_token_makes_a_stronger_one(platform: Platform) -> None:
    async with administrator(platform.ok) as root:
        weak = (await root.post("/api/tokens", {"name": "panel", "scopes": ["settings"]})).json()
        assert weak["scopes"] == ["settings"]
        async with ApiClient(platform.ok.asgi(), weak["token"]) as panel:
            for scopes in (["admin"], ["gateway"], ["settings", "admin"]):
                answer = await panel.post("/api/tokens", {"name": "more", "scopes": scopes})
                assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
            assert (await panel.post("/api/tokens", {"name": "same"})).json()["scopes"] == ["settings"]
            assert (await panel.get("/api/admin/users")).status_code == 403
    async with caller(platform.ok) as ann:
        assert (await ann.post("/api/tokens", {"name": "x", "scopes": ["admin"]})).status_code == 403


async def test_no_token_makes_one_that_outlives_it(platform: Platform) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    async with caller(platform.ok) as ann:
        short = (await platform.ok.tokens.create(ann.user_id, "an hour", expires_at=end)).text
        async with ApiClient(platform.ok.asgi(), short) as guest:
            for wanted in (None, (end + timedelta(seconds=1)).isoformat()):
                answer = await guest.post("/api/tokens", {"name": "longer", "expires_at": wanted})
                assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
            assert (await guest.post("/api/tokens", {"name": "longer"})).status_code == 403
            made = await guest.post("/api/tokens", {"name": "as long", "expires_at": end.isoformat()})
            assert made.status_code == 201
        assert (await ann.post("/api/tokens", {"name": "for ever"})).json()["expires_at"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "   "},
        {"name": "a\0"},
        {"name": "x" * 81},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "hash": "00"},
    ],
)
async def test_a_wrong_token_is_not_made(platform: Platform, body: dict[str, object]) -> None:
    async with caller(platform.ok) as ann:
        before = (await ann.get("/api/tokens")).json()
        assert (await ann.post("/api/tokens", body)).status_code == 400
        assert (await ann.get("/api/tokens")).json() == before


async def test_a_gateway_token_alone_opens_no_settings(platform: Platform) -> None:
    async with caller(platform.ok, scopes=("gateway",)) as app:
        assert (await app.get("/api/session")).status_code == 200
        for method, path in (("GET", "/api/credentials"), ("GET", "/api/tokens"), ("POST", "/api/session")):
            answer = await app.send(method, path)
            assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


async def test_signing_in_loads_and_signing_out_clears(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        await ann.post("/api/credentials", {"provider": "groq", "secret": f"gsk_{unique('key')}"})
        session = (await ann.post("/api/session")).json()
        assert (session["user_id"], session["role"]) == (ann.user_id, "user")
        assert session["settings"]["payer"] == "own_then_shared"
        first = session["providers"][0]
        assert (first["provider"], first["credentials"]) == ("groq", 1)
        cache = platform.ok.core.cache
        assert cache.find(ann.user_id) is not None
        assert (await ann.delete("/api/session")).status_code == 204
        assert cache.find(ann.user_id) is None
        actions = [entry["action"] for entry in await ann.audit()]
        assert actions[-2:] == ["user.signed_in", "user.signed_out"]


async def test_without_a_good_token_nothing_is_said_about_anything(platform: Platform) -> None:
    wrong = [None, "", "nonsense", "ok-" + "x" * 49, "sk-operator-openai-0001"]
    for token in wrong:
        async with ApiClient(platform.ok.asgi(), token) as stranger:
            for path in ("/api/credentials", "/api/no-such-path", "/api/admin/users", f"/api/credentials/{MISSING}"):
                for method in ("GET", "PATCH"):
                    answer = await stranger.send(method, path, content=b"{")
                    assert answer.status_code == 401, (token, method, path)


async def test_an_expired_token_and_a_suspended_user_are_let_in_nowhere(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        last_week = datetime.now(UTC) - timedelta(days=7)
        tokens = GatewayTokenService(platform.ok.core.tokens._changes, now=lambda: last_week)
        short = await tokens.create(ann.user_id, "short", expires_at=last_week + timedelta(days=1))
        async with ApiClient(platform.ok.asgi(), short.text) as late:
            assert (await late.get("/api/session")).json()["code"] == "token_expired"
        await platform.ok.users.set_status(ann.user_id, UserStatus.SUSPENDED)
        answer = await ann.get("/api/session")
        assert (answer.status_code, answer.json()["code"]) == (403, "user_suspended")
        await platform.ok.users.set_status(ann.user_id, UserStatus.ACTIVE)
        assert (await ann.get("/api/session")).status_code == 200


async def test_another_users_id_answers_exactly_like_a_missing_one(platform: Platform) -> None:
    """Every endpoint that takes an id, with the id of somebody else's row and with ids of nothing."""
    async with caller(platform.ok) as ann, caller(platform.ok, "bob") as bob:
        secret = f"gsk_{unique('key')}"
        credential = (await ann.post("/api/credentials", {"provider": "groq", "secret": secret})).json()
        token = (await ann.post("/api/tokens", {"name": "laptop"})).json()
        await ann.put("/api/tasks/coding", {"provider": "groq", "credential_id": credential["id"]})
        bob.keep_secret(secret, token["token"], credential["hint"])
        state = await everything(ann)
        for theirs, calls in (
            (
                credential["id"],
                [
                    ("PATCH", "/api/credentials/{}", {"label": "mine"}),
                    ("PATCH", "/api/credentials/{}", {}),
                    ("DELETE", "/api/credentials/{}", None),
                    ("DELETE", "/api/credentials/{}?force=true", None),
                    ("POST", "/api/credentials/{}/test", None),
                    ("POST", "/api/credentials/{}/replace", {"secret": f"gsk_{unique('key')}"}),
                    ("PUT", "/api/credentials/order", {"provider": "groq", "credential_ids": ["{}"]}),
                    ("PUT", "/api/tasks/coding", {"provider": "groq", "credential_id": "{}"}),
                ],
            ),
            (token["id"], [("DELETE", "/api/tokens/{}", None)]),
        ):
            for method, path, body in calls:
                answers = [await ask(bob, method, path, body, one) for one in (theirs, MISSING)]
                assert answers[0] == answers[1], (method, path)
                assert answers[0][0] in (400, 404)
                if "{}" in path:
                    for nothing in ("x", theirs.upper(), theirs.replace("-", ""), "{" + theirs + "}", "%00", "..%2f"):
                        status = (await ask(bob, method, path, body, nothing))[0]
                        assert status == 404, (method, path, nothing)
        assert (await bob.get("/api/tasks/coding")).status_code == 404
        assert (await bob.delete("/api/tasks/coding")).status_code == 404
        for path in ("/api/credentials", "/api/tasks", "/api/preferences"):
            assert (await bob.get(path)).json() == []
        assert credential["id"] not in (await bob.get("/api/audit")).text
        assert await everything(ann) == state


async def ask(client: ApiClient, method: str, path: str, body: object, record_id: str) -> tuple[int, object]:
    """Status and body, without the id of the request."""
    filled = body
    if isinstance(body, dict):
        filled = {
            name: [record_id] if value == ["{}"] else record_id if value == "{}" else value
            for name, value in body.items()
        }
    answer = await client.send(method, path.replace("{}", record_id), json=filled)
    text = answer.json() if answer.content else {}
    text.pop("request_id", None)
    return answer.status_code, text


async def everything(client: ApiClient) -> list[object]:
    """All that a user can see of themselves."""
    paths = ("credentials", "preferences", "tasks", "settings", "audit")
    return [(await client.get(f"/api/{path}")).json() for path in paths]


@pytest.mark.parametrize("path", ["users", "usage", "usage.csv", "health", "providers", "audit", "encryption"])
async def test_only_administrators_see_the_administration(platform: Platform, path: str) -> None:
    async with caller(platform.ok) as ann, administrator(platform.ok) as root:
        answer = await ann.get(f"/api/admin/{path}")
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert (await root.get(f"/api/admin/{path}")).status_code == 200
        assert (await root.put(f"/api/admin/{path}")).status_code == 405


@pytest.mark.parametrize(
    "header", ["x-user-id", "x-forwarded-user", "x-remote-user", "x-ownkey-user", "sub", "x-forwarded-for", "forwarded"]
)
async def test_no_header_makes_somebody_else_of_a_caller(platform: Platform, header: str) -> None:
    async with caller(platform.ok) as ann, administrator(platform.ok) as root:
        session = (await ann.get("/api/session", headers={header: root.user_id})).json()
        assert (session["user_id"], session["role"]) == (ann.user_id, "user")
        answer = await ann.get("/api/session", headers={"x-api-key": root.token or ""})
        assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_credentials")
