"""`ETag` and `If-Match`: two tabs never undo one another's changes unnoticed, and nobody hears of a conflict that is
none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from ownkey.domain.credential import CredentialStatus
from tests.gateway.api_client import ApiClient, caller, unique
from tests.gateway.conftest import Platform

LISTS = ["/api/settings", "/api/preferences", "/api/tasks", "/api/credentials"]


@pytest_asyncio.fixture
async def ann(platform: Platform) -> AsyncIterator[ApiClient]:
    async with caller(platform.ok) as client:
        yield client


async def etag_of(client: ApiClient, path: str) -> str:
    return (await client.get(path)).headers["etag"]


async def add_key(client: ApiClient, provider: str = "groq", **fields: Any) -> dict[str, Any]:
    answer = await client.post(
        "/api/credentials", {"provider": provider, "secret": f"key-{unique(provider)}", **fields}
    )
    assert answer.status_code == 201
    return answer.json()


def given(etag: str) -> dict[str, Any]:
    return {"headers": {"if-match": etag}}


def assert_refused(answer: httpx2.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (412, "changed_elsewhere")


async def test_the_second_of_two_tabs_is_told(ann: ApiClient) -> None:
    changes: list[tuple[str, str, str, Any, Any]] = [
        ("/api/settings", "PATCH", "/api/settings", {"payer": "own_only"}, {"allow_fallback": False}),
        ("/api/preferences", "PUT", "/api/preferences/groq", {"priority": 1}, {"priority": 2}),
        ("/api/preferences", "PUT", "/api/preferences", [{"provider": "groq"}], [{"provider": "mistral"}]),
        ("/api/tasks", "PUT", "/api/tasks/coding", {"provider": "groq"}, {"provider": "mistral"}),
    ]
    for read, method, path, first, second in changes:
        seen = await etag_of(ann, read)
        one = await ann.send(method, path, json=first, **given(seen))
        assert one.status_code == 200 and one.headers["etag"] != seen
        before = (await ann.get(read)).json()
        assert_refused(await ann.send(method, path, json=second, **given(seen)))
        assert (await ann.get(read)).json() == before
        # The answer's tag is the one to go on with.
        assert one.headers["etag"] == await etag_of(ann, read)
        assert (await ann.send(method, path, json=second, **given(one.headers["etag"]))).status_code == 200


async def test_credentials_too(ann: ApiClient) -> None:
    empty = await etag_of(ann, "/api/credentials")
    key = await add_key(ann)
    body = {"provider": "groq", "secret": f"key-{unique('groq')}"}
    assert_refused(await ann.post("/api/credentials", body, **given(empty)))
    path = f"/api/credentials/{key['id']}"
    stale, other = await etag_of(ann, "/api/credentials"), await add_key(ann, label="other")
    assert_refused(await ann.patch(path, {"label": "x"}, **given(stale)))
    assert_refused(await ann.put("/api/credentials/order", {"provider": "groq", "credential_ids": []}, **given(stale)))
    secret = f"key-{unique('groq')}"
    assert_refused(await ann.post(f"{path}/replace", {"secret": secret}, **given(stale)))
    assert_refused(await ann.delete(path, **given(stale)))
    tag = await etag_of(ann, "/api/credentials")
    changed = await ann.patch(path, {"label": "x"}, **given(tag))
    order = {"provider": "groq", "credential_ids": [other["id"], key["id"]]}
    ordered = await ann.put("/api/credentials/order", order, **given(changed.headers["etag"]))
    replaced = await ann.post(f"{path}/replace", {"secret": secret}, **given(ordered.headers["etag"]))
    removed = await ann.delete(path, **given(replaced.headers["etag"]))
    assert [one.status_code for one in (changed, ordered, replaced, removed)] == [200, 200, 200, 204]
    assert removed.headers["etag"] == await etag_of(ann, "/api/credentials")


async def test_an_entrys_own_version_knows_nothing_of_its_neighbours(ann: ApiClient) -> None:
    key, tag = await add_key(ann), await etag_of(ann, "/api/credentials")
    await add_key(ann, "mistral")
    path = f"/api/credentials/{key['id']}"
    assert_refused(await ann.patch(path, {"label": "mine"}, **given(tag)))
    renamed = await ann.patch(path, {"label": "mine"}, **given(f'"{key["version"]}"'))
    assert renamed.status_code == 200 and renamed.json()["version"] != key["version"]
    assert_refused(await ann.patch(path, {"label": "other"}, **given(f'"{key["version"]}"')))
    # The same last characters, and yet another key.
    twins = [f"key-{unique('a')}-same", f"key-{unique('b')}-same"]
    versions = [(await ann.post(f"{path}/replace", {"secret": secret})).json()["version"] for secret in twins]
    assert len(set(versions)) == 2

    task = (await ann.put("/api/tasks/coding", {"provider": "groq"})).json()
    await ann.put("/api/tasks/research", {"provider": "groq"})
    changed = await ann.put("/api/tasks/coding", {"provider": "mistral"}, **given(f'"{task["version"]}"'))
    assert changed.status_code == 200
    assert (await ann.get("/api/tasks/coding")).json()["version"] == changed.json()["version"]
    assert_refused(await ann.delete("/api/tasks/coding", **given(f'"{task["version"]}"')))
    gone = await ann.delete("/api/tasks/coding", **given(f'"{changed.json()["version"]}"'))
    assert gone.status_code == 204 and gone.headers["etag"] == await etag_of(ann, "/api/tasks")
    # Removed elsewhere is changed elsewhere.
    assert_refused(await ann.put("/api/tasks/coding", {"provider": "groq"}, **given(f'"{task["version"]}"')))


async def test_what_nobody_edited_is_no_conflict(platform: Platform, ann: ApiClient) -> None:
    key = await add_key(ann)
    await ann.put("/api/preferences/groq", {"priority": 1})
    await ann.put("/api/tasks/coding", {"provider": "groq"})
    tags = {path: await etag_of(ann, path) for path in LISTS}
    # A request teaches that the key is out of credit, a test that it works, a token is made: all raise the generation.
    [held] = (await platform.ok.manager.get_snapshot(ann.user_id)).credentials
    platform.ok.core.credential_health.note(ann.user_id, held, CredentialStatus.OUT_OF_CREDIT, "credit_exhausted")
    await platform.ok.core.credential_health.flush()
    assert (await ann.post(f"/api/credentials/{key['id']}/test")).status_code == 200
    await ann.post("/api/tokens", {"name": "another"})
    await ann.post("/api/session")
    assert {path: await etag_of(ann, path) for path in LISTS} == tags
    assert (await ann.get("/api/credentials")).json()[0]["version"] == key["version"]
    # What one list says is nothing to another.
    await ann.patch("/api/settings", {"payer": "own_only"}, **given(tags["/api/settings"]))
    assert await etag_of(ann, "/api/tasks") == tags["/api/tasks"]


@pytest.mark.parametrize("form", ["{}", '"other", {}', "W/{}", "*"])
async def test_every_form_of_the_header_is_read(ann: ApiClient, form: str) -> None:
    tag = await etag_of(ann, "/api/settings")
    answer = await ann.patch("/api/settings", {"payer": "own_only"}, **given(form.format(tag)))
    assert answer.status_code == 200


@pytest.mark.parametrize("form", ['"other"', "", "nonsense", '""', '"'])
async def test_what_names_no_version_holds_for_none(ann: ApiClient, form: str) -> None:
    assert_refused(await ann.patch("/api/settings", {"payer": "own_only"}, **given(form)))


async def test_a_refused_change_leaves_no_trace(platform: Platform) -> None:
    async with caller(platform.ok) as bob:
        trail = await bob.audit()
        assert_refused(await bob.put("/api/preferences/groq", {"priority": 1}, **given('"old"')))
        assert await bob.audit() == trail


async def test_a_change_that_changes_nothing_keeps_the_version(ann: ApiClient) -> None:
    tag = await etag_of(ann, "/api/settings")
    answer = await ann.patch("/api/settings", {"payer": None, "allow_fallback": True}, **given(tag))
    assert answer.headers["etag"] == tag


async def test_of_twenty_at_once_one_wins(platform: Platform, ann: ApiClient) -> None:
    tag = await etag_of(ann, "/api/preferences")
    async with httpx2.AsyncClient(base_url=platform.url) as client:
        answers = await asyncio.gather(
            *(
                client.put(
                    "/api/preferences/groq",
                    json={"priority": number},
                    headers={"authorization": f"Bearer {ann.token}", "if-match": tag},
                )
                for number in range(20)
            )
        )
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] + [412] * 19
    won = answers[statuses.index(200)]
    stored = await ann.get("/api/preferences")
    assert stored.json() == [won.json()] and stored.headers["etag"] == won.headers["etag"]


async def test_the_description_names_the_condition(ann: ApiClient) -> None:
    paths = (await ann.get("/openapi.json")).json()["paths"]
    for path, method in (("/api/settings", "patch"), ("/api/tasks/{task}", "delete"), ("/api/credentials", "post")):
        operation = paths[path][method]
        assert "If-Match" in [one["name"] for one in operation["parameters"]]
        assert "412" in operation["responses"]
        [success] = [one for status, one in operation["responses"].items() if status.startswith("2")]
        assert "ETag" in success["headers"]
