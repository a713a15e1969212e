"""How many tokens a request would take in: asked of who would answer it, or worked out and marked as such."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import pytest

from tests.gateway.conftest import Platform
from tests.gateway.speaking_clients import Asked, anthropic_client, google_client

HELLO: list[Any] = [{"role": "user", "content": "How many tokens is this, and why?"}]
KEYS = {
    "anthropic": "sk-ant-count-0000000001",
    "gemini": "AIza-count-00000000000001",
    "openai": "sk-count-0000000000001",
}
PATHS = {"anthropic": "/messages/count_tokens", "openai": "/responses/input_tokens", "gemini": ":countTokens"}


def at(platform: Platform, token: str) -> Asked:
    return Asked(f"{platform.url}/v1", platform.url, platform.url, token)


@pytest.mark.parametrize("provider", list(PATHS))
async def test_each_client_hears_what_the_provider_counts(platform: Platform, provider: str) -> None:
    user = await platform.user(**{provider: KEYS[provider]})
    where = at(platform, user.token)
    async with anthropic_client(where) as claude:
        raw = await claude.messages.with_raw_response.count_tokens(model="auto", system="Be brief.", messages=HELLO)
    assert (await raw.parse()).input_tokens > 5
    assert raw.headers["x-ownkey-provider"] == provider and "x-ownkey-estimated" not in raw.headers
    counted = await google_client(where).aio.models.count_tokens(model="auto", contents="How many?")
    assert counted.total_tokens and counted.total_tokens > 5
    in_responses = await user.client.responses.input_tokens.count(model="auto", input="How many?")
    assert in_responses.input_tokens > 5
    seen = platform.providers.ledger()
    assert [entry.key for entry in seen] == [KEYS[provider]] * 3
    assert all(entry.path.endswith(PATHS[provider]) for entry in seen)
    # Counting costs nothing, so nothing is on the books.
    await platform.ok.core.metering.flush()
    async with platform.ok.database.transaction(user.id) as tx:
        assert await tx.fetchval("select count(*) from ownkey.usage_events where user_id = $1", user.id) == 0


async def test_who_cannot_count_is_estimated_for(platform: Platform) -> None:
    user = await platform.user(groq="gsk_count_00000000000001")
    async with anthropic_client(at(platform, user.token)) as claude:
        raw = await claude.messages.with_raw_response.count_tokens(model="auto", messages=HELLO)
    assert raw.headers["x-ownkey-estimated"] == "true" and raw.headers["x-ownkey-provider"] == "groq"
    assert 5 <= (await raw.parse()).input_tokens <= 30
    assert platform.providers.ledger() == []


@pytest.mark.parametrize("kind", ["bad_key", "unavailable", "not_json", "reset"])
async def test_who_fails_to_count_is_estimated_for(platform: Platform, kind: Any) -> None:
    user = await platform.user(anthropic=KEYS["anthropic"])
    platform.providers.break_provider("anthropic", kind)
    async with anthropic_client(at(platform, user.token)) as claude:
        raw = await claude.messages.with_raw_response.count_tokens(model="auto", messages=HELLO)
    assert raw.headers["x-ownkey-estimated"] == "true"
    # A count that failed says nothing about whether an answer would.
    platform.providers.fix()
    async with anthropic_client(at(platform, user.token)) as claude:
        answered = await claude.messages.with_raw_response.create(model="auto", max_tokens=9, messages=HELLO)
    assert answered.headers["x-ownkey-provider"] == "anthropic"


async def test_nobody_to_ask_and_nothing_to_count(platform: Platform) -> None:
    user = await platform.user()
    await platform.ok.settings.update_settings(user.id, payer="own_only")
    async with anthropic_client(at(platform, user.token)) as claude:
        with pytest.raises(anthropic.APIStatusError) as nobody:
            await claude.messages.count_tokens(model="auto", messages=HELLO)
        assert nobody.value.status_code == 424
        with pytest.raises(anthropic.BadRequestError):
            await claude.messages.count_tokens(model="auto", messages="hi")  # type: ignore[arg-type]
    async with httpx2.AsyncClient(base_url=platform.url) as client:
        headers = {"x-goog-api-key": user.token}
        wrong = await client.post("/v1beta/models/auto:countTokens", headers=headers, json={})
        assert (wrong.status_code, wrong.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
