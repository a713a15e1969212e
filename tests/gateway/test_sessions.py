"""Sessions: a new one at every sign-in, over at once in every process, and nobody else's business."""

from __future__ import annotations

import asyncio

from ownkey import Ownkey
from ownkey.crypto.tokens import SESSION_PREFIX, mint_token
from ownkey.domain.user import Role, UserStatus
from tests.gateway.api_client import ApiClient, caller
from tests.gateway.browser import PASSWORD, Browser, person, problem
from tests.gateway.conftest import SHARED, Platform, serve
from tests.gateway.database_access import execute_on_database


async def test_a_cookie_that_the_browser_brought_is_never_made_valid(platform: Platform) -> None:
    """Session fixation: whatever is in the browser before, what is valid after was minted by the server."""
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as victim:
        planted, _ = mint_token(SESSION_PREFIX)
        victim.session = planted
        assert problem(await victim.get("/api/session")) == (401, "session_ended")
        assert (await victim.sign_in(ann.user_id)).status_code == 200
        assert victim.session not in (None, planted)
        attacker = victim.copy()
        attacker.session = planted
        assert not await attacker.is_signed_in()
        await attacker.aclose()


async def test_signing_in_anew_ends_what_the_browser_had_even_somebody_elses(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, person(platform.ok, platform.url, "bob") as bob:
        before, bobs = ann.copy(), bob.copy()
        assert (await ann.sign_in(ann.user_id)).status_code == 200
        assert ann.session != before.session
        assert not await before.is_signed_in()
        bob.session = ann.session
        assert (await bob.sign_in(bob.user_id)).status_code == 200, "on a shared machine"
        assert not await ann.is_signed_in()
        assert await bobs.is_signed_in(), "elsewhere he still is"
        await asyncio.gather(before.aclose(), bobs.aclose())


async def test_a_session_is_stored_as_a_hash(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann:
        async with platform.ok.database.transaction(ann.user_id) as tx:
            rows = await tx.fetch("select * from ownkey_private.sessions")
        assert len(rows) == 1
        assert ann.session is not None
        assert ann.session not in str(dict(rows[0]))
        assert len(rows[0]["hash"]) == 32


async def test_signing_out_ends_this_session_and_forgets_the_settings(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as phone:
        assert (await phone.sign_in(ann.user_id)).status_code == 200
        thief = ann.copy()
        assert platform.ok.core.cache.find(ann.user_id) is not None
        assert (await ann.delete("/api/session")).status_code == 204
        assert ann.session is None, "the browser is told to forget it too"
        assert not await thief.is_signed_in()
        assert platform.ok.core.cache.find(ann.user_id) is None
        assert await phone.is_signed_in()
        await thief.aclose()


async def test_signing_out_everywhere_ends_it_in_every_process(platform: Platform) -> None:
    async with (
        Ownkey.open(platform.ok.config, environ=SHARED) as twin,
        serve(twin.asgi()) as twin_url,
        person(platform.ok, platform.url) as ann,
        Browser(twin_url) as there,
    ):
        assert (await there.sign_in(ann.user_id)).status_code == 200
        assert await there.is_signed_in()
        panel = await platform.ok.panel_token(ann.user_id)
        token = (await platform.ok.tokens.create(ann.user_id, "kept")).text
        async with ApiClient(twin.asgi(), panel.text) as page, ApiClient(twin.asgi(), token) as program:
            assert (await page.get("/api/session")).status_code == 200
            async with platform.ok.database.transaction(ann.user_id) as tx:
                assert await tx.fetchval("select signed_out_at from ownkey.users") is None, "not by a new password"
            assert (await ann.delete("/api/session/all")).status_code == 204
            assert not await there.is_signed_in()
            assert problem(await page.get("/api/session")) == (401, "token_expired")
            assert (await program.get("/api/session")).status_code == 200, "gateway tokens are revoked one by one"
            async with platform.ok.database.transaction(ann.user_id) as tx:
                assert await tx.fetchval("select signed_out_at > now() - interval '1 minute' from ownkey.users")
        assert (await ann.sign_in(ann.user_id)).status_code == 200
        entries = (await ann.get("/api/audit")).json()
        ended = next(one for one in entries if one["action"] == "session.all_ended")
        assert ended["details"] == {"count": 3}


async def test_a_list_of_sessions_and_the_end_of_one(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as phone:
        await phone.post(
            "/api/sign-in", {"login": ann.user_id, "password": PASSWORD}, headers={"user-agent": "Phone/2 " + "x" * 500}
        )
        await platform.ok.panel_token(ann.user_id)
        listed = (await ann.get("/api/sessions")).json()
        assert sorted((one["current"], one["method"], one["user_agent"][:9]) for one in listed) == [
            (False, "password", "Phone/2 x"),
            (True, "link", "Browser/1"),
        ]
        assert max(len(one["user_agent"]) for one in listed) == 200
        other = next(one for one in listed if not one["current"])
        assert (await ann.delete(f"/api/sessions/{other['id']}")).status_code == 204
        assert not await phone.is_signed_in()
        assert problem(await ann.delete(f"/api/sessions/{other['id']}")) == (404, "not_found")
        assert problem(await ann.delete("/api/sessions/nonsense")) == (404, "not_found")


async def test_nobody_ends_or_sees_another_ones_session(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, person(platform.ok, platform.url, "eve") as eve:
        mine = (await ann.get("/api/sessions")).json()
        assert [one["id"] for one in (await eve.get("/api/sessions")).json()] != [one["id"] for one in mine]
        assert problem(await eve.delete(f"/api/sessions/{mine[0]['id']}")) == (404, "not_found")
        await eve.delete("/api/session/all")
        assert await ann.is_signed_in()


async def test_idle_sessions_end_and_used_ones_do_not_outlive_their_age(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as other:
        await set_back(platform, ann, "last_seen_at = now() - interval '11 hours 59 minutes'")
        assert await ann.is_signed_in()
        seen = (await ann.get("/api/sessions")).json()[0]["last_seen_at"]
        assert await ann.is_signed_in(), "the last use was written"
        assert (await ann.get("/api/sessions")).json()[0]["last_seen_at"] == seen, "and not with every request"
        await set_back(platform, ann, "last_seen_at = now() - interval '12 hours 1 minute'")
        assert problem(await ann.get("/api/session")) == (401, "session_ended")
        assert (await other.sign_in(ann.user_id)).status_code == 200
        assert [one["current"] for one in (await other.get("/api/sessions")).json()] == [True]
        await execute_on_database(
            platform,
            "update ownkey_private.sessions set expires_at = now() - interval '1 second' where user_id = $1",
            ann.user_id,
        )
        assert problem(await other.get("/api/session")) == (401, "session_ended")
        await other.sign_in(ann.user_id)
        async with platform.ok.database.transaction(ann.user_id) as tx:
            assert await tx.fetchval("select count(*) from ownkey_private.sessions") == 1, "what is over is swept"


async def test_a_confirmed_session_is_fresh_and_has_another_token(platform: Platform) -> None:
    async with person(platform.ok, platform.url, role=Role.ADMIN) as root:
        await set_back(platform, root, "authenticated_at = now() - interval '6 minutes'")
        wanted = {"name": "back end", "scopes": ["admin", "settings"]}
        assert problem(await root.post("/api/tokens", wanted)) == (403, "fresh_sign_in_required")
        assert problem(await root.post("/api/session/confirm", {"password": "wrong password"})) == (
            401,
            "sign_in_failed",
        )
        assert await root.is_signed_in()
        before = root.copy()
        id_before = (await root.get("/api/session")).json()["session_id"]
        answer = await root.post("/api/session/confirm", {"password": PASSWORD})
        assert answer.status_code == 200
        assert answer.json()["session_id"] == id_before
        assert root.session != before.session
        assert not await before.is_signed_in()
        assert (await root.post("/api/tokens", wanted)).status_code == 201
        await before.aclose()


async def test_who_guesses_at_the_door_locks_nobody_out_who_is_inside(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as thief:
        answers = [await thief.sign_in(ann.user_id, f"guess number {n}") for n in range(6)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429]
        assert (await ann.post("/api/session/confirm", {"password": PASSWORD})).status_code == 200
        assert problem(await thief.sign_in(ann.user_id)) == (429, "too_many_attempts"), "the door stays locked"
        changed = await ann.post("/api/account/password", {"current": PASSWORD, "new": "a morning at the sea"})
        assert changed.status_code == 200


async def test_guessing_at_a_confirmation_ends_as_at_the_door(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as thief, Browser(platform.url) as ann:
        answers = [await thief.post("/api/session/confirm", {"password": f"guess {n}"}) for n in range(6)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429]
        changed = await thief.post("/api/account/password", {"current": PASSWORD, "new": "a morning at the sea"})
        assert problem(changed) == (429, "too_many_attempts")
        assert (await ann.sign_in(thief.user_id)).status_code == 200, "who holds the session only locks himself out"
        assert problem(await thief.post("/api/session/confirm", {"password": PASSWORD})) == (429, "too_many_attempts")


async def test_a_changed_password_signs_out_everywhere_else(platform: Platform) -> None:
    new = "a morning at the sea"
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as phone:
        await phone.sign_in(ann.user_id)
        before = ann.copy()
        for wrong in ("short", ann.user_id, "password123"):
            answer = await ann.post("/api/account/password", {"current": PASSWORD, "new": wrong})
            assert problem(answer) == (400, "password_refused")
        answer = await ann.post("/api/account/password", {"current": "wrong password", "new": new})
        assert problem(answer) == (401, "sign_in_failed")
        assert (await ann.post("/api/account/password", {"current": PASSWORD, "new": new})).status_code == 200
        assert await ann.is_signed_in()
        assert not await phone.is_signed_in()
        assert not await before.is_signed_in()
        assert problem(await phone.sign_in(ann.user_id)) == (401, "sign_in_failed")
        assert (await phone.sign_in(ann.user_id, new)).status_code == 200
        await before.aclose()


async def test_tokens_cannot_do_what_only_a_person_may(platform: Platform) -> None:
    async with caller(platform.ok) as program:
        for path, body in (
            ("/api/session/confirm", {"password": PASSWORD}),
            ("/api/account/password", {"current": PASSWORD, "new": "a morning at the sea"}),
        ):
            assert problem(await program.post(path, body)) == (403, "permission_denied")


async def test_rights_change_with_the_next_request(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann:
        assert problem(await ann.get("/api/admin/users")) == (403, "permission_denied")
        await platform.ok.users.set_role(ann.user_id, Role.ADMIN)
        assert (await ann.get("/api/admin/users")).status_code == 200
        await platform.ok.users.set_role(ann.user_id, Role.USER)
        assert problem(await ann.get("/api/admin/users")) == (403, "permission_denied")
        await platform.ok.users.set_status(ann.user_id, UserStatus.SUSPENDED)
        assert problem(await ann.get("/api/session")) == (403, "user_suspended")
        await platform.ok.users.delete(ann.user_id)
        assert problem(await ann.get("/api/session")) == (401, "session_ended")


async def test_a_cookie_opens_no_gateway(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann:
        answer = await ann._client.get("/v1/models", headers={"cookie": f"__Host-ownkey_session={ann.session}"})
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "token_missing"
        answer = await ann._client.get("/v1/models", headers={"authorization": f"Bearer {ann.session}"})
        assert answer.json()["error"]["code"] == "token_invalid"
        assert (
            problem(await ann.get("/api/session", headers={"cookie": None, "authorization": "Bearer oks-x"}))[0] == 401
        )


async def test_two_cookies_that_differ_are_refused_and_a_token_comes_first(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, caller(platform.ok) as program:
        two = f"__Host-ownkey_session={ann.session}; __Host-ownkey_session={mint_token(SESSION_PREFIX)[0]}"
        assert problem(await ann.get("/api/session", headers={"cookie": two})) == (400, "ambiguous_credentials")
        shown = {"authorization": f"Bearer {program.token}"}
        assert (await ann.get("/api/session", headers=shown)).json()["user_id"] == program.user_id
        assert problem(await ann.get("/api/session", headers={"authorization": "Bearer ok-mistyped"}))[0] == 401


async def test_it_works_below_a_path_of_the_host(platform: Platform) -> None:
    """`app.mount("/llm", ok.asgi())`: the cookie's path is the whole host, as its prefix demands."""
    inner = platform.ok.asgi()

    async def mounted(scope: dict[str, object], receive: object, send: object) -> None:
        await inner({**scope, "root_path": "/llm"}, receive, send)  # type: ignore[arg-type]

    async with person(platform.ok, platform.url, role=Role.ADMIN) as root, serve(mounted) as url, Browser(url) as ann:
        assert (await ann.post("/llm/api/sign-in", {"login": root.user_id, "password": PASSWORD})).status_code == 200
        assert (await ann.get("/llm/api/session")).json()["via"] == "session"
        made = await ann.post("/llm/api/admin/users", {"id": f"below-{root.user_id}"})
        assert made.json()["link"].startswith(f"{url}/llm/#link=okl-")
        assert (await ann.delete("/llm/api/session")).status_code == 204
        assert (await ann.get("/llm/api/session")).status_code == 401


async def test_many_sessions_push_out_the_oldest(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann:
        await asyncio.gather(*(platform.ok.panel_token(ann.user_id) for _ in range(5)))
        await set_back(platform, ann, "last_seen_at = now() - interval '1 hour'")
        for _ in range(95):
            await platform.ok.panel_token(ann.user_id)
        async with platform.ok.database.transaction(ann.user_id) as tx:
            assert await tx.fetchval("select count(*) from ownkey_private.sessions") == 100
        assert not await ann.is_signed_in()


async def set_back(platform: Platform, browser: Browser, change: str) -> None:
    """As if time had passed for all sessions of a person."""
    statement = f"update ownkey_private.sessions set {change} where user_id = $1"
    await execute_on_database(platform, statement, browser.user_id)
