"""Clients that try to get at more than is theirs by the newer ways into the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from ownkey.http.body_room import BodyRoom
from tests.gateway.api_client import administrator
from tests.gateway.conftest import Platform, User

KEYS = {"openai": "sk-hostile-000000000001", "gemini": "AIza-hostile-00000000001"}
HELLO: list[Any] = [{"role": "user", "content": "hi"}]
GOOGLE: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
CLAUDE: dict[str, Any] = {"model": "auto", "max_tokens": 50, "messages": HELLO}


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as made:
        yield made


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {user.token}"}


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "a%2F..%2F..%2Ffiles",
        "..%2Ffiles%2Fa",
        "a%3Fkey=b",
        "a%23b",
        "a%0d%0aX-Evil:%20b",
        "a%00",
        "a%25252e",
        "tunedModels%2F..%2Ffiles",
        "%C3%A9",
        "a;b",
        "a%20b",
    ],
)
@pytest.mark.parametrize("method", ["generateContent", "countTokens", "embedContent"])
async def test_a_name_in_the_path_leads_to_no_other_place(
    platform: Platform, client: httpx2.AsyncClient, name: str, method: str
) -> None:
    user = await platform.user(gemini=KEYS["gemini"])
    body = {"content": GOOGLE["contents"][0]} if method == "embedContent" else GOOGLE
    for prefix in ("", "gemini%2F"):
        answer = await client.post(f"/v1beta/models/{prefix}{name}:{method}", json=body, headers=bearer(user))
        assert answer.status_code in (400, 404), answer.text
    assert platform.providers.ledger() == []


async def test_a_key_in_the_query_lets_nobody_in(platform: Platform, client: httpx2.AsyncClient) -> None:
    """Addresses are logged along the way, so a token is taken from a header only."""
    user = await platform.user(gemini=KEYS["gemini"])
    answer = await client.post(f"/v1beta/models/auto:generateContent?key={user.token}", json=GOOGLE)
    assert answer.status_code == 401
    other = await platform.user(gemini="AIza-other-000000000001")
    mixed = {**bearer(user), "x-goog-api-key": other.token}
    answer = await client.post("/v1beta/models/auto:generateContent", json=GOOGLE, headers=mixed)
    assert answer.status_code == 400 and "ambiguous" in answer.text.lower()
    assert platform.providers.ledger() == []


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/messages", {**CLAUDE, "model": "openai/gpt-4o"}),
    ("/v1/messages/count_tokens", {"model": "openai/gpt-4o", "messages": HELLO}),
    ("/v1/responses", {"model": "openai/gpt-4o", "input": "hi"}),
    ("/v1/responses/input_tokens", {"model": "openai/gpt-4o", "input": "hi"}),
    ("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "hi"}),
    ("/v1/images/generations", {"model": "openai/gpt-image-2", "prompt": "hi"}),
    ("/v1/audio/speech", {"model": "openai/gpt-4o-mini-tts", "input": "hi", "voice": "alloy"}),
    ("/v1/moderations", {"model": "openai/omni-moderation-latest", "input": "hi"}),
    ("/v1beta/models/openai/gpt-4o:generateContent", GOOGLE),
    ("/v1beta/models/openai/gpt-4o:countTokens", GOOGLE),
    ("/v1beta/models/openai/text-embedding-3-small:embedContent", {"content": GOOGLE["contents"][0]}),
    ("/v1/models/openai/gpt-4o:generateContent", GOOGLE),
]


@pytest.mark.parametrize("way", WAYS, ids=[path for path, _ in WAYS])
@pytest.mark.parametrize("own_key", [True, False])
async def test_a_provider_that_is_not_allowed_is_reached_in_no_way(
    platform: Platform, client: httpx2.AsyncClient, way: tuple[str, dict[str, Any]], own_key: bool
) -> None:
    """Neither with the user's own key nor with the operator's."""
    path, body = way
    user = await platform.user(**({"openai": KEYS["openai"]} if own_key else {"groq": "gsk_hostile_0000000001"}))
    async with administrator(platform.ok) as root:
        allowed = {"allowed_providers": ["groq", "anthropic"]}
        assert (await root.put("/api/admin/policy?reset=true", allowed)).status_code == 200
        try:
            await client.post(path, json=body, headers=bearer(user))
            assert [entry for entry in platform.providers.ledger() if entry.provider == "openai"] == []
        finally:
            assert (await root.put("/api/admin/policy?reset=true", {})).status_code == 200
    answer = await client.post(path, json=body, headers=bearer(user))
    assert answer.status_code == 200, answer.text


async def test_answers_of_two_users_in_two_dialects_at_once_stay_apart(
    platform: Platform, client: httpx2.AsyncClient
) -> None:
    first = await platform.user(gemini="AIza-first-0000000000001")
    second = await platform.user(gemini="AIza-second-000000000001")

    async def ask(user: User, number: int) -> None:
        words = f"{user.id}-{number}"
        body = {**CLAUDE, "stream": number % 2 == 0, "messages": [{"role": "user", "content": words}]}
        answer = await client.post("/v1/messages", json=body, headers=bearer(user))
        assert answer.status_code == 200, answer.text

    await asyncio.gather(*(ask(user, number) for number in range(40) for user in (first, second)))
    ledger = platform.providers.ledger()
    assert len(ledger) == 80
    for entry in ledger:
        said = entry.body["contents"][0]["parts"][0]["text"]
        owner = "AIza-first-0000000000001" if said.startswith(first.id) else "AIza-second-000000000001"
        assert entry.key == owner


async def test_large_bodies_of_all_clients_together_have_a_limit(platform: Platform) -> None:
    """Each of them is within the limit for one; together they are not. What was held is given back."""
    user = await platform.user(groq="gsk_bodies_000000000000001")
    gateway = platform.ok.asgi().gateway
    room = gateway._body_room
    gateway._body_room = BodyRoom(1_000_000)
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "a" * 700_000}]}).encode()
    first, held = body[:690_000], asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield first
        await held.wait()
        yield body[690_000:]

    try:
        async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as client:
            headers = {"Authorization": f"Bearer {user.token}"}
            slow = asyncio.create_task(client.post("/v1/chat/completions", headers=headers, content=slowly()))
            while gateway._body_room.taken_bytes < len(first):
                await asyncio.sleep(0)
            refused = await client.post("/v1/chat/completions", headers=headers, content=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["error"]["code"] == "server_full"
            held.set()
            assert (await slow).status_code == 200
            assert (await client.post("/v1/chat/completions", headers=headers, content=body)).status_code == 200
        while gateway._body_room.taken_bytes:
            await asyncio.sleep(0)
    finally:
        gateway._body_room = room
