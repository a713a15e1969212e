"""What administrators do to users, and that there is always one of them left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest
from msgspec import structs

from ownkey import Ownkey
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import NotFound
from tests.gateway.api_client import administrator, caller, unique
from tests.gateway.browser import PASSWORD, Browser, person, problem
from tests.gateway.conftest import Platform, serve
from tests.gateway.database_access import execute_on_database


async def test_a_user_is_made_and_invited(platform: Platform) -> None:
    login = unique("Ann@Example.com")
    async with person(platform.ok, platform.url, role=Role.ADMIN) as root, Browser(platform.url) as ann:
        made = (await root.post("/api/admin/users", {"login": login})).json()
        assert (made["user_id"], made["login"], made["purpose"]) == (login, login.lower(), "invite")
        assert made["link"].startswith(f"{platform.url}/#link=okl-")
        body = {"token": made["link"].partition("#link=")[2], "password": PASSWORD}
        assert (await ann.post("/api/sign-in/link", body)).status_code == 200
        assert (await ann.get("/api/session")).json()["user_id"] == login
        again = await root.post("/api/admin/users", {"login": login})
        assert problem(again) == (409, "user_exists")
        entry = next(one for one in (await ann.get("/api/audit")).json() if one["action"] == "link.created")
        assert (entry["actor"], entry["details"]) == (root.user_id, {"purpose": "invite"})


async def test_ids_and_logins(platform: Platform) -> None:
    user_id = unique("crm/42")
    async with person(platform.ok, platform.url, role=Role.ADMIN) as root:
        assert problem(await root.post("/api/admin/users", {})) == (400, "invalid_request")
        written = await root.post("/api/admin/users", {"login": "Ann Müller <ann@example.com>"})
        assert problem(written) == (400, "invalid_request"), "an address as mail programs write it is no login"
        made = (
            await root.post("/api/admin/users", {"id": user_id, "login": "Boss " + user_id, "role": "admin"})
        ).json()
        assert (made["user_id"], made["login"]) == (user_id, "boss " + user_id)
        taken = await root.post("/api/admin/users", {"id": unique("other"), "login": "BOSS " + user_id})
        assert problem(taken) == (409, "login_taken")
        weaker = await root.post("/api/admin/users", {"id": user_id, "role": "user"})
        assert problem(weaker) == (409, "user_exists"), "an invitation is no demotion"
        for spelling in (user_id, user_id.replace("/", "%2F")):
            reset = await root.post(f"/api/admin/users/{spelling}/reset")
            assert (reset.status_code, reset.json()["user_id"]) == (201, user_id)
        assert (await root.patch(f"/api/admin/users/{user_id}", {"role": "user"})).json()["role"] == "user"
        assert (await root.delete(f"/api/admin/users/{user_id}/sessions")).status_code == 204
        assert (await root.delete(f"/api/admin/users/{user_id}")).status_code == 200
        assert problem(await root.delete(f"/api/admin/users/{user_id}")) == (404, "user_not_found")


async def test_a_suspended_user_is_out_and_comes_back_by_signing_in(platform: Platform) -> None:
    async with (
        person(platform.ok, platform.url, role=Role.ADMIN) as root,
        person(platform.ok, platform.url) as ann,
    ):
        path = f"/api/admin/users/{ann.user_id}"
        assert (await root.patch(path, {"status": "suspended"})).json()["status"] == "suspended"
        assert (await ann.get("/api/session")).status_code == 401
        assert (await root.patch(path, {"status": "active"})).status_code == 200
        assert not await ann.is_signed_in(), "what was ended stays ended"
        assert (await ann.sign_in(ann.user_id)).status_code == 200
        assert (await root.delete(f"{path}/sessions")).status_code == 204
        assert not await ann.is_signed_in()
        assert (await root.patch(path, {})).json()["role"] == "user", "nothing was asked, nothing changes"


async def test_a_deleted_user_leaves_only_the_audit(platform: Platform) -> None:
    async with (
        person(platform.ok, platform.url, role=Role.ADMIN) as root,
        person(platform.ok, platform.url) as ann,
        Browser(platform.url) as other,
    ):
        link = await platform.ok.core.links.reset(ann.user_id)
        assert (await root.delete(f"/api/admin/users/{ann.user_id}")).status_code == 200
        assert not await ann.is_signed_in()
        assert problem(await other.sign_in(ann.user_id)) == (401, "sign_in_failed")
        assert problem(await other.use_link(link)) == (404, "link_invalid")
        entries = (await root.get(f"/api/admin/audit?user_id={ann.user_id}")).json()
        assert entries[0]["action"] == "user.deleted"
        assert entries[0]["actor"] == root.user_id


async def test_an_id_that_ends_like_a_path_is_one_users(platform: Platform) -> None:
    """To erase somebody must not sign out somebody else."""
    async with administrator(platform.ok) as root, person(platform.ok, platform.url) as ann:
        twin = f"{ann.user_id}/sessions"
        await platform.ok.users.create(twin)
        assert (await root.delete(f"/api/admin/users/{quote(twin, safe='')}")).status_code == 200
        with pytest.raises(NotFound):
            await platform.ok.users.get(twin)
        assert await ann.is_signed_in()
        assert (await root.delete(f"/api/admin/users/{ann.user_id}/sessions")).status_code == 204
        assert not await ann.is_signed_in()


async def test_nobody_else_may(platform: Platform) -> None:
    async with (
        person(platform.ok, platform.url) as ann,
        person(platform.ok, platform.url, "eve") as eve,
        caller(platform.ok, "mallory", role=Role.ADMIN) as unscoped,
    ):
        path = f"/api/admin/users/{ann.user_id}"
        for who in (eve, unscoped, ann):
            for answer in (
                await who.post("/api/admin/users", {"id": unique("x")}),
                await who.post(f"{path}/reset"),
                await who.patch(path, {"role": "admin"}),
                await who.delete(f"{path}/sessions"),
                await who.delete(path),
            ):
                assert problem(answer) == (403, "permission_denied")
        assert await ann.is_signed_in()


async def test_a_way_in_that_lasts_needs_a_fresh_sign_in(platform: Platform) -> None:
    async with (
        person(platform.ok, platform.url, role=Role.ADMIN) as root,
        person(platform.ok, platform.url) as ann,
        administrator(platform.ok) as program,
    ):
        await execute_on_database(
            platform,
            "update ownkey_private.sessions set authenticated_at = now() - interval '6 minutes' where user_id = $1",
            root.user_id,
        )
        path, hosted = f"/api/admin/users/{ann.user_id}", unique("hosted")
        await platform.ok.users.create(hosted)
        for answer in (
            await root.post(f"{path}/reset"),
            await root.patch(path, {"role": "admin"}),
            await root.post("/api/admin/users", {"id": unique("second"), "role": "admin"}),
            # Somebody whom a host application brought: a link sets the first password of an account that is in use.
            await root.post("/api/admin/users", {"id": program.user_id}),
            await root.post("/api/admin/users", {"login": hosted, "id": hosted}),
        ):
            assert problem(answer) == (403, "fresh_sign_in_required")
        assert (await root.post("/api/admin/users", {"id": unique("guest")})).status_code == 201
        assert (await root.patch(path, {"status": "suspended"})).status_code == 200
        assert (await root.post("/api/session/confirm", {"password": PASSWORD})).status_code == 200
        assert (await root.patch(path, {"role": "admin"})).status_code == 200
        assert (await root.post("/api/admin/users", {"id": hosted})).status_code == 201
        assert (await program.post(f"{path}/reset")).status_code == 201, "a program has no desk"


async def test_what_is_wrong_changes_nothing(platform: Platform) -> None:
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        path = f"/api/admin/users/{ann.user_id}"
        for body in ({"role": "owner"}, {"status": "deleted"}, {"roles": "admin"}, {"role": 1}):
            assert problem(await root.patch(path, body)) == (400, "invalid_request")
        missing = f"/api/admin/users/{unique('nobody')}"
        assert problem(await root.patch(missing, {"role": "admin"})) == (404, "user_not_found")
        assert problem(await root.post(f"{missing}/reset")) == (404, "user_not_found")
        assert problem(await root.delete(f"{missing}/sessions")) == (404, "user_not_found")


async def test_the_last_administrator_stays_even_when_two_remove_each_other(
    platform: Platform, private_dir: Path
) -> None:
    config = structs.replace(platform.ok.config, data_dir=private_dir)
    async with (
        Ownkey.open(config, environ={}) as ok,
        serve(ok.asgi()) as url,
        person(ok, url, "root", role=Role.ADMIN) as root,
    ):
        own = f"/api/admin/users/{root.user_id}"
        for answer in (
            await root.patch(own, {"role": "user"}),
            await root.patch(own, {"status": "suspended"}),
            await root.delete(own),
        ):
            assert problem(answer) == (409, "last_administrator")
        async with person(ok, url, "second", role=Role.ADMIN) as second:
            other = f"/api/admin/users/{second.user_id}"
            for round_ in range(4):
                answers = await asyncio.gather(
                    root.patch(other, {"role": "user"} if round_ % 2 else {"status": "suspended"}),
                    second.patch(own, {"role": "user"} if round_ % 2 else {"status": "suspended"}),
                )
                assert 200 in [answer.status_code for answer in answers]
                left = [user for user in await ok.users.list_users(root.user_id) if user.role is Role.ADMIN]
                assert [user for user in left if user.status is UserStatus.ACTIVE]
                for user_id in (root.user_id, second.user_id):
                    await ok.users.set_role(user_id, Role.ADMIN)
                    await ok.users.set_status(user_id, UserStatus.ACTIVE)
                for who in (root, second):
                    assert (await who.sign_in(who.user_id)).status_code == 200
            assert (await second.delete(own)).status_code == 200
            assert problem(await second.delete(other)) == (409, "last_administrator")
