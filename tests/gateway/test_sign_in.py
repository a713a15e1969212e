"""Signing in: with a link, with a password, and how guessing ends."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from msgspec import structs

from ownkey import Ownkey
from ownkey.crypto import password_hash
from ownkey.crypto.tokens import LINK_PREFIX, mint_token
from ownkey.domain.account import LinkPurpose
from ownkey.domain.user import Role, UserStatus
from ownkey.services.address_limit import AddressLimit
from tests.gateway.api_client import unique
from tests.gateway.browser import PASSWORD, Browser, person, problem
from tests.gateway.conftest import SHARED, Platform, serve
from tests.gateway.database_access import execute_on_database


async def test_a_link_sets_the_password_and_signs_in_once(platform: Platform) -> None:
    user_id = unique("Ann")
    link = await platform.ok.core.links.invite(user_id)
    url = link.url("https://llm.example.com")
    assert url.startswith("https://llm.example.com/#link=okl-")
    async with Browser(platform.url) as ann, Browser(platform.url) as late:
        shown = await ann.post("/api/sign-in/link/check", {"token": link.text})
        assert shown.json() == {"purpose": "invite", "login": user_id.lower()}
        answer = await ann.use_link(link)
        assert answer.status_code == 200
        assert answer.json()["user_id"] == user_id
        assert answer.json()["login"] == user_id.lower()
        assert answer.json()["via"] == "session"
        assert answer.json()["scopes"] == ["gateway", "settings"]
        assert answer.json()["has_password"] is True
        assert answer.json()["settings"]["payer"] == "own_then_shared"
        assert await ann.is_signed_in()
        assert platform.ok.core.cache.find(user_id) is not None, "signing in loads the settings"
        assert problem(await late.use_link(link, "another password")) == (404, "link_invalid")
        assert problem(await late.post("/api/sign-in/link/check", {"token": link.text})) == (404, "link_invalid")
        assert late.session is None
        actions = [entry["action"] for entry in (await ann.get("/api/audit")).json()]
        assert {"link.created", "link.used", "password.changed", "session.started", "user.signed_in"} <= set(actions)
        assert link.text not in (await ann.get("/api/audit")).text


async def test_of_two_who_use_a_link_at_once_exactly_one_wins(platform: Platform) -> None:
    link = await platform.ok.core.links.invite(unique("ann"))
    browsers = [Browser(platform.url) for _ in range(6)]
    answers = await asyncio.gather(*(one.use_link(link, f"{PASSWORD} {n}") for n, one in enumerate(browsers)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404, 404, 404]
    winner = next(n for n, answer in enumerate(answers) if answer.status_code == 200)
    async with Browser(platform.url) as again:
        assert (await again.sign_in(link.login, f"{PASSWORD} {winner}")).status_code == 200
    for one in browsers:
        await one.aclose()


async def test_links_die_with_the_next_one_and_with_time(platform: Platform) -> None:
    user_id = unique("ann")
    first = await platform.ok.core.links.invite(user_id)
    second = await platform.ok.core.links.invite(user_id)
    async with Browser(platform.url) as ann:
        assert problem(await ann.use_link(first)) == (404, "link_invalid")
        assert problem(await ann.post("/api/sign-in/link/check", {"token": mint_token(LINK_PREFIX)[0]}))[0] == 404
        assert problem(await ann.post("/api/sign-in/link/check", {"token": "okl-mistyped"})) == (404, "link_invalid")
        async with platform.ok.database.transaction(user_id) as tx:
            await tx.execute("delete from ownkey_private.one_time_links")
            await tx.execute(
                "insert into ownkey_private.one_time_links (user_id, hash, purpose, expires_at) "
                "values ($1, sha256(convert_to($2, 'UTF8')), 'invite', now() - interval '1 second')",
                user_id,
                second.text,
            )
        assert problem(await ann.use_link(second)) == (404, "link_invalid")


@pytest.mark.parametrize(
    "password", ["short", "x" * 257, "password123", "PASSWORD123", "aaaaaaaaaaaa", "ababababababab", "with\0null byte"]
)
async def test_bad_passwords_are_refused_and_the_link_stays(platform: Platform, password: str) -> None:
    link = await platform.ok.core.links.invite(unique("ann"))
    async with Browser(platform.url) as ann:
        assert problem(await ann.use_link(link, password)) == (400, "password_refused")
        assert problem(await ann.use_link(link, link.login.upper())) == (400, "password_refused")
        assert (await ann.use_link(link)).status_code == 200


async def test_a_login_of_ones_own_and_one_that_is_taken(platform: Platform) -> None:
    login = unique("Ann@Example.com")
    async with person(platform.ok, platform.url) as bob, Browser(platform.url) as ann:
        link = await platform.ok.core.links.invite(unique("ann"))
        taken = (await bob.get("/api/session")).json()["login"]
        assert problem(await ann.use_link(link, login=f" {taken.upper()} ")) == (409, "login_taken")
        assert (await ann.use_link(link, login=login)).json()["login"] == login.lower()
    async with Browser(platform.url) as again:
        # NFKC: the same letters from a full-width keyboard.
        wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in login)
        assert (await again.sign_in(wide)).status_code == 200


async def test_the_same_words_and_work_for_every_reason_to_refuse(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown login, wrong password, no password yet: one answer, and one argon2 each."""
    work: list[str] = []
    real = password_hash._HASHER.verify

    class Counting:
        def verify(self, stored: str, password: str) -> bool:
            work.append(stored.rpartition("$")[0].rpartition("$")[0])
            return real(stored, password)

        def __getattr__(self, name: str) -> object:
            return getattr(password_hash._HASHER, name)

    counting = Counting()
    hasher = password_hash._HASHER
    monkeypatch.setattr(counting.__class__, "__getattr__", lambda _, name: getattr(hasher, name))
    monkeypatch.setattr(password_hash, "_HASHER", counting)
    invited = await platform.ok.core.links.invite(unique("new"))
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as thief:
        answers = []
        for login in (unique("nobody"), ann.user_id, invited.login, "\0", ""):
            answers.append(await thief.sign_in(login, "not the password"))
        seen = {
            (a.status_code, a.json()["code"], a.json()["detail"], a.headers["www-authenticate"]) for a in answers[:3]
        }
        assert len(seen) == 1
        assert problem(answers[0]) == (401, "sign_in_failed")
        assert [answer.status_code for answer in answers[3:]] == [400, 400]
        assert len(work) == 3
        assert len(set(work)) == 1, "the decoy has today's parameters"
        assert thief.session is None


async def test_after_five_wrong_passwords_everybody_waits_whether_the_account_exists_or_not(
    platform: Platform,
) -> None:
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as thief:
        told = []
        for login in (ann.user_id, unique("nobody")):
            answers = [await thief.sign_in(login, "wrong password") for _ in range(7)]
            told.append([(answer.status_code, answer.json()["code"], answer.json()["detail"]) for answer in answers])
            assert 0 < int(answers[-1].headers["retry-after"]) <= 30
        assert told[0] == told[1]
        assert [status for status, _, _ in told[0]] == [401] * 5 + [429] * 2
        assert problem(await thief.sign_in(ann.user_id)) == (429, "too_many_attempts"), "the right one waits too"
        assert await ann.is_signed_in(), "whoever is signed in stays so"


async def test_the_wait_grows_to_a_quarter_of_an_hour_and_success_forgets(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as thief:
        waits = []
        for _ in range(4):
            await thief.sign_in(ann.user_id, "wrong password")
        for _ in range(8):
            assert problem(await thief.sign_in(ann.user_id, "wrong password"))[0] == 401
            answer = await thief.sign_in(ann.user_id, "wrong password")
            assert answer.status_code == 429
            waits.append(int(answer.headers["retry-after"]))
            await forget_the_wait(platform, ann.user_id)
        # Less the time that a slow machine takes between the two tries.
        for wait, longest in zip(waits, [30, 60, 120, 240, 480, 900, 900, 900], strict=True):
            assert longest / 2 < wait <= longest
        assert (await thief.sign_in(ann.user_id)).status_code == 200
        entry = (await ann.get("/api/audit", headers={})).json()
        started = next(one for one in entry if one["action"] == "session.started")
        assert started["details"] == {"method": "password", "failed_attempts_before": 12}
        for _ in range(4):
            assert problem(await thief.sign_in(ann.user_id, "wrong password"))[0] == 401
        assert (await thief.sign_in(ann.user_id)).status_code == 200


async def test_the_lock_is_exact_over_two_processes(platform: Platform) -> None:
    """Twenty guesses at once at two Ownkeys on one database: five are tried, fifteen wait."""
    async with (
        Ownkey.open(platform.ok.config, environ=SHARED) as twin,
        serve(twin.asgi()) as twin_url,
        person(platform.ok, platform.url) as ann,
    ):
        before = work_done(platform.ok) + work_done(twin)
        thieves = [Browser(url) for url in (platform.url, twin_url) for _ in range(10)]
        answers = await asyncio.gather(*(one.sign_in(ann.user_id, "wrong password") for one in thieves))
        assert Counter(answer.status_code for answer in answers) == {401: 5, 429: 15}
        assert work_done(platform.ok) + work_done(twin) - before == 5
        for one in thieves:
            await one.aclose()


async def test_one_address_cannot_try_many_logins(platform: Platform) -> None:
    async with (
        Ownkey.open(platform.ok.config, environ=SHARED) as twin,
        serve(twin.asgi()) as url,
        Browser(url) as thief,
        person(platform.ok, platform.url) as ann,
    ):
        twin.core.sign_in._addresses = AddressLimit(burst=4, seconds_per_token=600)
        for _ in range(6):
            assert (await thief.sign_in(ann.user_id)).status_code == 200, "success costs nothing"
        answers = [await thief.sign_in(unique("nobody"), "wrong password") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [401] * 4 + [429]
        assert problem(answers[-1]) == (429, "too_many_attempts")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 600
        assert problem(await thief.sign_in(ann.user_id))[0] == 429


async def test_a_crowd_at_the_door_is_nobodys_wrong_password(platform: Platform) -> None:
    passwords = platform.ok.core.sign_in._passwords
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as phone:
        limit, passwords._waiting_limit = passwords._waiting_limit, 0
        try:
            for _ in range(6):
                assert problem(await phone.sign_in(ann.user_id)) == (429, "too_many_attempts")
                confirmed = await ann.post("/api/session/confirm", {"password": PASSWORD})
                assert problem(confirmed) == (429, "too_many_attempts")
        finally:
            passwords._waiting_limit = limit
        assert (await phone.sign_in(ann.user_id)).status_code == 200
        assert (await ann.post("/api/session/confirm", {"password": PASSWORD})).status_code == 200


async def test_a_proxy_names_the_client_only_where_it_is_trusted(platform: Platform) -> None:
    trusting = structs.replace(platform.ok.config, trusted_proxies=("127.0.0.1", "10.0.0.0/8"))
    for config, statuses in ((trusting, [401] * 4), (platform.ok.config, [401, 401, 429, 429])):
        async with Ownkey.open(config, environ=SHARED) as twin, serve(twin.asgi()) as url, Browser(url) as thief:
            twin.core.sign_in._addresses = AddressLimit(burst=2, seconds_per_token=600)
            for n, status in enumerate(statuses):
                forwarded = {"x-forwarded-for": f"198.51.100.7, 203.0.113.{n}, 10.1.2.3"}
                body = {"login": unique("nobody"), "password": "wrong password"}
                assert (await thief.post("/api/sign-in", body, headers=forwarded)).status_code == status


@pytest.mark.parametrize(
    "client", ["203.0.113.9:{}", "[2001:db8:1:2::{}]:443", "[2001:db8:1:3::7]:{}", "2001:db8:1:4::{}"]
)
async def test_another_port_is_not_another_client(platform: Platform, client: str) -> None:
    trusting = structs.replace(platform.ok.config, trusted_proxies=("127.0.0.1", "10.0.0.0/8"))
    async with Ownkey.open(trusting, environ=SHARED) as twin, serve(twin.asgi()) as url, Browser(url) as thief:
        twin.core.sign_in._addresses = AddressLimit(burst=2, seconds_per_token=600)
        for n, status in enumerate([401, 401, 429]):
            forwarded = {"x-forwarded-for": f"198.51.100.{n}, {client.format(1000 + n)}, 10.1.2.3:{n}"}
            body = {"login": unique("nobody"), "password": "wrong password"}
            assert (await thief.post("/api/sign-in", body, headers=forwarded)).status_code == status


async def test_a_suspended_user_learns_it_only_with_the_right_password(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as other:
        await platform.ok.users.set_status(ann.user_id, UserStatus.SUSPENDED)
        assert problem(await ann.get("/api/session")) == (403, "user_suspended")
        assert problem(await other.sign_in(ann.user_id, "wrong password")) == (401, "sign_in_failed")
        assert problem(await other.sign_in(ann.user_id)) == (403, "user_suspended")
        link = await platform.ok.core.links.reset(ann.user_id)
        assert problem(await other.use_link(link)) == (403, "user_suspended")
        await platform.ok.users.set_status(ann.user_id, UserStatus.ACTIVE)
        assert await ann.is_signed_in()


async def test_a_reset_signs_everybody_else_out(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as thief, Browser(platform.url) as ann:
        link = await platform.ok.core.links.reset(thief.user_id)
        assert await thief.is_signed_in(), "until the link is used"
        assert (await ann.use_link(link, "quite another password")).status_code == 200
        assert not await thief.is_signed_in()
        assert problem(await thief.sign_in(thief.user_id))[0] == 401
        assert (await thief.sign_in(thief.user_id, "quite another password")).status_code == 200


async def test_a_password_that_its_owner_changes_ends_a_link_that_is_still_out(platform: Platform) -> None:
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as thief:
        link = await platform.ok.core.links.reset(ann.user_id)
        changed = await ann.post("/api/account/password", {"current": PASSWORD, "new": "a morning at the sea"})
        assert changed.status_code == 200
        assert problem(await thief.use_link(link)) == (404, "link_invalid")
        assert await ann.is_signed_in()


async def test_the_first_administrators_link_is_renewed_until_somebody_uses_it(platform: Platform) -> None:
    links, user_id = platform.ok.core.links, unique("root")
    first = await links.invite(user_id, role=Role.ADMIN, purpose=LinkPurpose.FIRST_ADMIN)
    second = await links.renew_first(user_id)
    assert second is not None
    async with Browser(platform.url) as root:
        assert problem(await root.use_link(first)) == (404, "link_invalid")
        answer = await root.use_link(second)
        assert (answer.status_code, answer.json()["scopes"]) == (200, ["gateway", "settings", "admin"])
    assert await links.renew_first(user_id) is None
    assert await links.renew_first(unique("nobody")) is None


async def test_an_old_hash_is_renewed_at_the_next_sign_in(platform: Platform) -> None:
    from argon2 import PasswordHasher

    async with person(platform.ok, platform.url) as ann:
        old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
        async with platform.ok.database.transaction(ann.user_id) as tx:
            await tx.execute("update ownkey_private.accounts set password_hash = $1", old)
        assert (await ann.sign_in(ann.user_id)).status_code == 200
        account = await platform.ok.core.sign_in.find_account(ann.user_id)
        assert account is not None
        assert account.password_hash is not None
        assert "m=47104,t=2,p=1" in account.password_hash
        assert account.password_hash not in repr(account)
        assert (await ann.sign_in(ann.user_id)).status_code == 200


async def test_what_the_page_asks_first(platform: Platform) -> None:
    async with Browser(platform.url) as anybody:
        said = {"local": True, "oidc": [], "secure": True, "signed_in": False}
        assert (await anybody.get("/api/sign-in")).json() == said
        async with person(platform.ok, platform.url) as ann:
            assert (await ann.get("/api/sign-in")).json() == {**said, "signed_in": True}
            await platform.ok.core.sessions.end_all(ann.user_id)
            assert (await ann.get("/api/sign-in")).json() == said
        far = await anybody.get("/api/sign-in", headers={"host": "ownkey.lan:8484"})
        assert far.json()["secure"] is False
        proxied = await anybody.get(
            "/api/sign-in", headers={"host": "llm.example.com", "sec-fetch-site": "same-origin"}
        )
        assert proxied.json()["secure"] is True, "the browser says so only where the page came over TLS"


async def forget_the_wait(platform: Platform, login: str) -> None:
    """As if the time were over."""
    await execute_on_database(
        platform,
        "update ownkey_private.sign_in_attempts set locked_until = now() - interval '1 second' "
        "where login_hash = sha256(convert_to($1, 'UTF8'))",
        login,
    )


def work_done(ok: Ownkey) -> int:
    """How many passwords a process has checked."""
    return ok.core.sign_in._passwords.verified
