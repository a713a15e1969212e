"""Providers that administrators add by a form: checked as the catalogue's file is, and live in every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ownkey import Config, Ownkey
from ownkey.storage.catalog import put_provider
from ownkey.testing import SimulatedProviders
from tests.gateway.api_client import ApiClient, administrator, caller
from tests.gateway.conftest import SHARED, Platform
from tests.gateway.ledger_server import LedgerServer
from tests.gateway.test_policy import chat
from tests.gateway.test_replicas import until

FORM: dict[str, Any] = {
    "id": "our_gateway",
    "label": "Our gateway",
    "dialect": "openai_chat",
    "base_url": "https://llm.example.com/v1",
    "get_key_url": "https://llm.example.com/keys",
    "defaults": {"default": "house-large"},
    "models": {"house-large": {"context_tokens": 8000}},
}
KEY = "key-of-ann-000000000000001"


@pytest.fixture
async def pair(private_dir: Path, providers: SimulatedProviders) -> AsyncIterator[tuple[Ownkey, Ownkey]]:
    """Two processes' worth on one database, with leave for private addresses; polling is out of the way."""
    config = Config(
        data_dir=private_dir,
        catalog=providers.write_catalog(private_dir / "catalog.toml"),
        private_base_urls=True,
        snapshot_max_age_seconds=3600,
        usage_flush_seconds=0.05,
    )
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Ownkey.open(config, environ=SHARED))
        second = await stack.enter_async_context(Ownkey.open(config, environ=SHARED))
        yield first, second


def local(server: LedgerServer, **fields: Any) -> dict[str, Any]:
    """The form for a provider on loopback."""
    return {**FORM, "base_url": server.base_url, "local": True, **fields}


def changes(form: dict[str, Any]) -> dict[str, Any]:
    """The form without the id, as PUT takes it."""
    return {name: value for name, value in form.items() if name != "id"}


async def credential_of(client: ApiClient) -> dict[str, Any]:
    (one,) = (await client.get("/api/credentials")).json()
    return dict(one)


async def test_a_provider_is_added_used_changed_and_removed(pair: tuple[Ownkey, Ownkey]) -> None:
    first, second = pair
    async with LedgerServer() as old, LedgerServer() as new, administrator(first) as root, caller(first) as ann:
        there = ApiClient(second.asgi(), ann.token, user_id=ann.user_id)
        ann.keep_secret(KEY)
        added = await root.post("/api/admin/providers", local(old))
        assert added.status_code == 201
        assert (added.json()["stored"], added.json()["environment"]) == (True, None)
        await until(lambda: "our_gateway" in second.core.catalog)
        assert "our_gateway" in {one["id"] for one in (await there.get("/api/providers")).json()}
        stored = await there.post("/api/credentials", {"provider": "our_gateway", "secret": KEY})
        assert stored.status_code == 201
        for client in (ann, there):
            assert await chat(client) == (200, "our_gateway", "own")
        assert {key for key, _ in old.keys} == {KEY}
        calls = old.calls
        # Another address is another party: the key was not given for it.
        await root.put("/api/admin/providers/our_gateway", changes(local(new, label="Moved")))
        await until(lambda: second.core.catalog["our_gateway"].label == "Moved")
        for client in (ann, there):
            assert await chat(client) == (200, "our_gateway", "own")
        assert (old.calls, new.calls) == (calls + 2, 0)
        moved = f"/api/credentials/{stored.json()['id']}/replace"
        assert (await ann.post(moved, {"secret": KEY + "2", "base_url": None})).status_code == 200
        assert await chat(ann) == (200, "our_gateway", "own")
        assert {key for key, _ in new.keys} == {KEY + "2"}
        in_use = await root.delete("/api/admin/providers/our_gateway")
        assert (in_use.status_code, in_use.json()["code"]) == (409, "provider_in_use")
        assert (in_use.json()["credentials"], in_use.json()["users"]) == (1, 1)
        assert (await root.delete("/api/admin/providers/our_gateway?force=true")).status_code == 204
        await until(lambda: "our_gateway" not in second.core.catalog)
        trail = [(one["action"], one["subject"]) for one in await root.audit() if one["action"].startswith("provider")]
        assert trail == [(f"provider.{done}", "our_gateway") for done in ("added", "updated", "removed")]


async def test_what_is_left_of_a_removed_provider_breaks_nothing(pair: tuple[Ownkey, Ownkey]) -> None:
    first, _ = pair
    async with LedgerServer() as server, administrator(first) as root, caller(first) as ann:
        await root.post("/api/admin/providers", local(server))
        stored = await ann.post("/api/credentials", {"provider": "our_gateway", "secret": KEY, "label": "mine"})
        path = f"/api/credentials/{stored.json()['id']}"
        await ann.put("/api/preferences/our_gateway", {"priority": 1})
        await ann.put("/api/tasks/coding", {"provider": "our_gateway", "model": "house-large"})
        policy = {"defaults": {"tasks": {"chat": {"provider": "our_gateway"}}}, "allowed_providers": None}
        await root.put("/api/admin/policy?reset=true", policy)
        assert await chat(ann, "task:chat") == (200, "our_gateway", "own")
        calls = server.calls
        await root.delete("/api/admin/providers/our_gateway?force=true")
        left = await credential_of(ann)
        assert (left["status"], left["status_reason"]) == ("invalid", "provider_gone")
        for model in ("auto", "task:coding", "task:chat", "our_gateway/house-large"):
            assert (await chat(ann, model))[1:] == ("openai", "shared"), model
        assert server.calls == calls
        for path_read in (
            "/api/preferences",
            "/api/tasks",
            "/api/settings",
            "/api/policy",
            "/api/providers",
            "/api/export",
        ):
            assert (await ann.get(path_read)).status_code == 200, path_read
        assert (await ann._client.get("/v1/models")).status_code == 200
        assert (await ann.get("/api/preferences")).json() == []
        assert (await ann.get("/api/policy")).json()["defaults"]["tasks"] == {}
        for page in ("users", "health", "policy", "fallbacks", "shared-users", "providers"):
            assert (await root.get(f"/api/admin/{page}")).status_code == 200, page
        assert (await root.put("/api/admin/policy?reset=true", policy)).status_code == 200, (
            "what is stored may be sent back"
        )
        assert (await ann.patch(path, {"label": "old"})).status_code == 200
        assert (await ann.post(f"{path}/test")).json()["code"] == "unknown_provider"
        assert (await ann.post("/api/session")).status_code == 200
        # The name comes back, and leads elsewhere: the old key still goes where it was given for.
        async with LedgerServer() as other:
            await root.post("/api/admin/providers", local(other))
            assert (await credential_of(ann))["status"] != "invalid"
            assert await chat(ann) == (200, "our_gateway", "own")
            assert (server.calls, other.calls) == (calls + 1, 0)
        assert (await ann.delete(path)).status_code == 204
        assert (await root.delete("/api/admin/providers/our_gateway")).status_code == 204


async def test_a_process_that_starts_later_knows(pair: tuple[Ownkey, Ownkey]) -> None:
    first, _ = pair
    async with administrator(first) as root:
        await root.post("/api/admin/providers", FORM)
        async with Ownkey.open(first.config, environ=SHARED) as third:
            assert third.core.catalog["our_gateway"] == first.core.catalog["our_gateway"]


@pytest.mark.parametrize("name", ["house", "a%00b", "%ED%A0%80", "..%2Fusers", "A", "x" * 300])
async def test_what_is_no_providers_name_removes_nothing(platform: Platform, name: str) -> None:
    async with administrator(platform.ok) as root:
        refused = await root.delete(f"/api/admin/providers/{name}?force=true")
        assert refused.status_code == 404, refused.text


async def test_of_two_who_add_the_same_one_is_told(pair: tuple[Ownkey, Ownkey]) -> None:
    first, second = pair
    async with administrator(first) as root, administrator(second) as eve:
        answers = await asyncio.gather(*(one.post("/api/admin/providers", FORM) for one in (root, eve)))
        assert sorted(answer.status_code for answer in answers) == [201, 409]


async def test_what_comes_with_the_catalogue_is_the_operators(platform: Platform) -> None:
    async with administrator(platform.ok) as root:
        for answer, code in (
            (await root.post("/api/admin/providers", {**FORM, "id": "groq"}), "provider_exists"),
            (await root.put("/api/admin/providers/groq", changes(FORM)), "provider_built_in"),
            (await root.delete("/api/admin/providers/groq?force=true"), "provider_built_in"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, code)
        assert (await root.put("/api/admin/providers/nobody", changes(FORM))).status_code == 404
        assert (await root.delete("/api/admin/providers/nobody")).status_code == 404


async def test_only_administrators_add(platform: Platform) -> None:
    async with caller(platform.ok) as ann:
        assert (await ann.post("/api/admin/providers", FORM)).status_code == 403
        assert (await ann.put("/api/admin/providers/our_gateway", changes(FORM))).status_code == 403
        assert (await ann.delete("/api/admin/providers/our_gateway")).status_code == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "Our Gateway"},
        {"id": "a" * 41},
        {"label": ""},
        {"label": "two\nlines"},
        {"label": "turned \u202e round"},
        {"label": "a\x00b"},
        {"label": "x" * 101},
        {"dialect": "smtp"},
        {"get_key_url": "javascript:alert(1)"},
        {"get_key_url": "JavaScript:alert(1)"},
        {"get_key_url": "data:text/html,<script>alert(1)</script>"},
        {"get_key_url": "http://llm.example.com/keys"},
        {"get_key_url": 'https://x.example/"onmouseover="alert(1)'},
        {"get_key_url": "https://x.example/\njavascript:alert(1)"},
        {"get_key_url": "https://user:pass@x.example/"},
        {"docs_url": "vbscript:x"},
        {"base_url": "ftp://llm.example.com"},
        {"base_url": "http://llm.example.com/v1"},
        {"base_url": "https://llm.example.com/v1/"},
        {"base_url": "https://llm.example.com/v1?key=1"},
        {"base_url": "https://u:p@llm.example.com/v1"},
        {"base_url": "https://127.0.0.1/v1"},
        {"base_url": "https://169.254.169.254/latest"},
        {"base_url": "https://[::1]/v1"},
        {"base_url": "https://10.0.0.8/v1"},
        {"base_url": "https://localhost/v1"},
        {"base_url": "http://127.0.0.1:8000/v1", "local": True},
        {"base_url": "https://{host}.example.com/v1"},
        {"environment": "OWNKEY_WRAPPING_KEYS"},
        {"stored": False},
        {"auth": "header:Authorization\r\nX: y"},
        {"headers": {"host": "evil.example"}},
        {"headers": {"x-a": "b\r\nx-c: d"}},
        {"probe": "DELETE /everything"},
        {"defaults": {"default": "a\r\nb"}},
        {"models": {"a b": {}}},
        {"models": {"a": {"price": 1}}},
        {"key_prefixes": ["two words"]},
        {"serves": ["*"]},
        {"quirks": ["none"]},
        {"prices": "a\nb"},
    ],
)
async def test_a_form_that_makes_no_sense_or_harm_is_refused(platform: Platform, wrong: dict[str, Any]) -> None:
    async with administrator(platform.ok) as root:
        refused = await root.post("/api/admin/providers", {**FORM, **wrong})
        assert refused.status_code == 400, refused.text
        assert "our_gateway" not in platform.ok.core.catalog


@pytest.mark.parametrize("pattern", ["(a+)+", "a*b*", ".*", "[a-z]+", "[^/]{1,9}", "[a-z", "a|b", "x" * 201])
async def test_a_pattern_that_could_run_for_ever_is_refused(platform: Platform, pattern: str) -> None:
    fields = [{"name": "region", "label": "Region", "pattern": pattern}]
    form = {**FORM, "base_url": "https://{region}.llm.example.com/v1", "fields": fields}
    async with administrator(platform.ok) as root:
        assert (await root.post("/api/admin/providers", form)).status_code == 400


async def test_a_form_with_fields_is_filled_in_by_users(platform: Platform) -> None:
    fields = [{"name": "region", "label": "Region", "pattern": "[a-z]{2}-[a-z]{2,9}", "example": "eu-west"}]
    form = {**FORM, "base_url": "https://{region}.llm.example.com/v1", "fields": fields}
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        assert (await root.post("/api/admin/providers", form)).status_code == 201
        try:
            new = {"provider": "our_gateway", "secret": KEY}
            assert (await ann.post("/api/credentials", {**new, "fields": {"region": "x/y"}})).status_code == 400
            stored = await ann.post("/api/credentials", {**new, "fields": {"region": "eu-west"}})
            assert stored.json()["base_url"] == "https://eu-west.llm.example.com/v1"
        finally:
            await root.delete("/api/admin/providers/our_gateway?force=true")


async def test_markup_in_a_label_is_carried_as_text(platform: Platform) -> None:
    label = "<img src=x onerror=alert(1)>\"'&{{7*7}}"
    async with administrator(platform.ok) as root, caller(platform.ok) as ann:
        await root.post("/api/admin/providers", {**FORM, "label": label})
        try:
            answer = await ann.get("/api/providers")
            assert answer.headers["content-type"] == "application/json"
            assert label in {one["label"] for one in answer.json()}
        finally:
            await root.delete("/api/admin/providers/our_gateway?force=true")


async def test_the_guard_stands_before_the_connection_too(platform: Platform) -> None:
    """A row that came past the form, or a name that changed its mind: the pool looks at the address as well."""
    async with LedgerServer() as inside, administrator(platform.ok) as root, caller(platform.ok) as ann:
        table = {**changes(FORM), "base_url": inside.base_url, "local": True}
        async with platform.ok.core.tokens._changes.administer(root.user_id) as tx:
            assert await put_provider(tx, "our_gateway", table, new=True, actor="root", details={})
        try:
            await until(lambda: "our_gateway" in platform.ok.core.catalog)
            tried = await ann.post("/api/credentials/test", {"provider": "our_gateway", "secret": KEY})
            assert tried.json()["outcome"] == "unreachable"
            await ann.post("/api/credentials", {"provider": "our_gateway", "secret": KEY})
            assert (await chat(ann, "our_gateway/x"))[1:] == ("openai", "shared")
            assert inside.calls == 0
        finally:
            await root.delete("/api/admin/providers/our_gateway?force=true")


async def test_a_keyless_environment_and_the_outer_frame(private_dir: Path, providers: SimulatedProviders) -> None:
    """Where the environment lists the providers, one that is added is not among them."""
    config = Config(
        data_dir=private_dir,
        catalog=providers.write_catalog(private_dir / "catalog.toml"),
        allowed_providers=("openai", "groq"),
    )
    async with Ownkey.open(config, environ=SHARED) as ok, administrator(ok) as root, caller(ok) as ann:
        assert (await root.post("/api/admin/providers", FORM)).json()["allowed"] is False
        refused = await ann.post("/api/credentials", {"provider": "our_gateway", "secret": KEY})
        assert refused.json()["code"] == "provider_not_allowed"
        refused = await root.put("/api/admin/policy?reset=true", {"allowed_providers": ["our_gateway"]})
        assert refused.json()["code"] == "provider_not_allowed"
