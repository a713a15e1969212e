"""`GET /v1/models`: what this user's keys can call, in each library's form, soon enough whatever the providers do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from ownkey.domain.settings import BUILT_IN_TASKS
from tests.gateway.conftest import SHARED, Platform, User
from tests.gateway.speaking_clients import Asked, anthropic_client, google_client


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_known(platform: Platform) -> None:
    """Lists of the tests before, of the operator's keys above all."""
    models = platform.ok.core.models
    models._failed.clear()
    models._lists._kept.clear()


async def listed(client: httpx2.AsyncClient, user: User) -> dict[str, Any]:
    answer = await client.get("/v1/models", headers={"Authorization": f"Bearer {user.token}"})
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    found = {entry["id"]: entry for entry in data}
    assert len(found) == len(data)
    return found


async def test_the_union_of_what_the_keys_can_call(platform: Platform, client: httpx2.AsyncClient) -> None:
    user = await platform.user(anthropic="sk-ant-list-00000000001", gemini="AIza-list-0000000000000001")
    found = await listed(client, user)
    assert {"auto", *(f"task:{task}" for task in BUILT_IN_TASKS)} <= set(found)
    assert {entry["owned_by"] for entry in found.values()} == {"ownkey", "anthropic", "gemini", "openai", "groq"}
    catalog = platform.ok.core.catalog
    for name, payer in (("anthropic", "own"), ("gemini", "own"), ("openai", "shared"), ("groq", "shared")):
        for model in catalog[name].models.values():
            entry = found[f"{name}/{model.id}"]
            words = entry["ownkey"]
            assert (words["credential"], words["source"]) == (payer, "provider"), entry
            assert 0 <= words["age_seconds"] < 60
            assert entry["context_window"] == words["context_tokens"]
            if model.context_tokens:
                assert entry["context_window"] == model.context_tokens
            assert (words["tools"], words["images"]) == (model.tools, model.images)
    # Each was asked with the key that would pay.
    asked = {(entry.provider, entry.key) for entry in platform.providers.ledger()}
    assert asked == {
        ("anthropic", "sk-ant-list-00000000001"),
        ("gemini", "AIza-list-0000000000000001"),
        ("openai", SHARED["OPENAI_API_KEY"]),
        ("groq", SHARED["GROQ_API_KEY"]),
    }


async def test_a_list_is_kept_and_says_how_old_it_is(platform: Platform, client: httpx2.AsyncClient) -> None:
    user = await platform.user(groq="gsk_age_000000000000000001")
    await listed(client, user)
    count = len(platform.providers.ledger())
    lists = platform.ok.core.models._lists
    now, lists.now = lists.now, lambda: now() + timedelta(minutes=90)  # type: ignore[method-assign]
    try:
        answer = await client.get("/v1/models", headers={"Authorization": f"Bearer {user.token}"})
        assert len(platform.providers.ledger()) == count
        entry = next(one for one in answer.json()["data"] if one["id"] == "groq/openai/gpt-oss-20b")
        assert 5400 <= entry["ownkey"]["age_seconds"] <= 5500
        assert int(answer.headers["age"]) >= 5400
        # After some hours the old list is given out at once, and a new one asked for meanwhile.
        lists.now = lambda: now() + timedelta(hours=7)  # type: ignore[method-assign]
        old = await listed(client, user)
        assert old["groq/openai/gpt-oss-20b"]["ownkey"]["age_seconds"] > 6 * 3600
        await asyncio.gather(*platform.ok.core.models._fetches.values())
        assert (await listed(client, user))["groq/openai/gpt-oss-20b"]["ownkey"]["age_seconds"] < 60
    finally:
        lists.now = now  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", ["unavailable", "bad_key", "not_json", "reset"])
async def test_a_provider_in_trouble_leaves_its_models_of_the_catalogue(
    platform: Platform, client: httpx2.AsyncClient, kind: Any
) -> None:
    user = await platform.user(mistral="mistral-list-000000000001", groq="gsk_list_00000000000000001")
    platform.providers.break_provider("mistral", kind)
    found = await listed(client, user)
    for model in platform.ok.core.catalog["mistral"].models:
        assert found[f"mistral/{model}"]["ownkey"]["source"] == "catalog"
    assert found["groq/openai/gpt-oss-20b"]["ownkey"]["source"] == "provider"
    # It is not asked again by everybody who wants a list.
    count = len(platform.providers.ledger("mistral"))
    await listed(client, user)
    assert len(platform.providers.ledger("mistral")) == count


async def test_a_provider_that_says_nothing_is_not_waited_for(platform: Platform, client: httpx2.AsyncClient) -> None:
    user = await platform.user(mistral="mistral-slow-000000000001")
    platform.providers.break_provider("mistral", "hold")
    started = time.monotonic()
    found = await listed(client, user)
    assert time.monotonic() - started < 8
    assert found["mistral/mistral-large-latest"]["ownkey"]["source"] == "catalog"
    # Its list is there for the next one as soon as it came.
    platform.providers.release("mistral")
    await asyncio.gather(*platform.ok.core.models._fetches.values())
    assert (await listed(client, user))["mistral/mistral-large-latest"]["ownkey"]["source"] == "provider"


async def test_fifty_who_ask_at_once_make_one_question_and_get_what_is_known_with_its_age(
    platform: Platform, client: httpx2.AsyncClient
) -> None:
    user = await platform.user(mistral="mistral-fifty-00000000001", groq="gsk_fifty_0000000000000001")
    platform.providers.break_provider("mistral", "hold")
    models, lists = platform.ok.core.models, platform.ok.core.models._lists
    started = time.monotonic()
    found = await asyncio.gather(*(listed(client, user) for _ in range(50)))
    assert time.monotonic() - started < 10
    assert len(platform.providers.ledger("mistral")) == 1 and len(models._fetches) <= 3
    for one in found:
        assert one["mistral/mistral-large-latest"]["ownkey"]["source"] == "catalog"
        assert one["groq/openai/gpt-oss-20b"]["ownkey"]["source"] == "provider"
    platform.providers.release("mistral")
    await asyncio.gather(*models._fetches.values())
    # Old lists are given out at once, however long their provider hangs.
    platform.providers.fix()
    platform.providers.break_provider("mistral", "hold")
    now, lists.now = lists.now, lambda: now() + timedelta(hours=7)  # type: ignore[method-assign]
    try:
        started = time.monotonic()
        found = await asyncio.gather(*(listed(client, user) for _ in range(50)))
        assert time.monotonic() - started < 3
        assert len(platform.providers.ledger("mistral")) == 2
        assert {one["mistral/mistral-large-latest"]["ownkey"]["age_seconds"] > 6 * 3600 for one in found} == {True}
    finally:
        lists.now = now  # type: ignore[method-assign]
        platform.providers.fix()
        await asyncio.gather(*models._fetches.values(), return_exceptions=True)


async def test_switched_off_refused_and_own_choices(platform: Platform, client: httpx2.AsyncClient) -> None:
    user = await platform.user(mistral="mistral-own-0000000000001", groq="gsk_own_000000000000000001")
    await platform.ok.settings.put_preference(user.id, "groq", default_model="my/own-groq")
    await platform.ok.settings.put_task_override(user.id, "poetry", provider="mistral", model="mistral-rhyme")
    found = await listed(client, user)
    assert found["groq/my/own-groq"]["ownkey"]["source"] == "catalog"
    assert "mistral/mistral-rhyme" in found and "task:poetry" in found
    await platform.ok.settings.put_preference(user.id, "mistral", enabled=False)
    [key] = [one for one in await platform.ok.settings.list_credentials(user.id) if one.provider == "groq"]
    await platform.ok.settings.update_credential(user.id, key.id, enabled=False)
    found = await listed(client, user)
    assert not [name for name in found if name.startswith("mistral/")]
    # What is left of Groq is the operator's key.
    assert found["groq/openai/gpt-oss-20b"]["ownkey"]["credential"] == "shared"


async def test_openais_library(platform: Platform) -> None:
    user = await platform.user(groq="gsk_openai_0000000000000001")
    names = [model.id async for model in user.client.models.list()]
    assert "groq/openai/gpt-oss-20b" in names and names[0] == "auto"
    assert (await user.client.models.retrieve("groq/openai/gpt-oss-20b")).owned_by == "groq"
    assert (await user.client.models.retrieve("gpt-5.4-mini")).id == "openai/gpt-5.4-mini"
    with pytest.raises(openai.NotFoundError):
        await user.client.models.retrieve("no-such-model")


async def test_anthropics_library_with_its_pages(platform: Platform) -> None:
    user = await platform.user(anthropic="sk-ant-pages-0000000001")
    async with anthropic_client(Asked("", platform.url, "", user.token)) as claude:
        every = [model async for model in claude.models.list(limit=7)]
        assert len({model.id for model in every}) == len(every) > 20
        assert every[0].id == "auto"
        opus = next(model for model in every if model.id == "anthropic/claude-opus-5-5")
        assert (opus.max_input_tokens, opus.lifecycle, opus.type) == (1_000_000, "active", "model")
        assert (await claude.models.retrieve("claude-opus-5-5")).id == "anthropic/claude-opus-5-5"
        page = await claude.models.list(limit=5)
        following = await claude.models.list(limit=5, after_id=page.last_id or "")
        back = await claude.models.list(limit=5, before_id=following.first_id or "")
        assert [model.id for model in back.data] == [model.id for model in page.data]
        with pytest.raises(anthropic.NotFoundError):
            await claude.models.retrieve("no-such-model")
        with pytest.raises(anthropic.BadRequestError):
            await claude.models.list(limit=0)


async def test_googles_library_with_its_pages(platform: Platform) -> None:
    user = await platform.user(gemini="AIza-pages-00000000000001")
    google = google_client(Asked("", "", platform.url, user.token))
    every = [model async for model in await google.aio.models.list(config={"page_size": 6})]
    names = [model.name for model in every]
    assert len(set(names)) == len(names) > 20 and names[0] == "models/auto"
    flash = next(model for model in every if model.name == "models/gemini/gemini-3.8-flash")
    assert flash.input_token_limit == 1_000_000 and "generateContent" in (flash.supported_actions or [])
    vectors = next(model for model in every if model.name == "models/gemini/gemini-embedding-001")
    assert "embedContent" in (vectors.supported_actions or [])
    assert (await google.aio.models.get(model="gemini-3.8-flash")).name == "models/gemini/gemini-3.8-flash"
