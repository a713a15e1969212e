"""The models that a stored key can call: asked of the provider with it, read whole, kept a while."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs

from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.domain.provider import Dialect, Provider
from ownkey.errors import Conflict, CredentialUnreadable, NotFound, RequestError, UpstreamError
from ownkey.services.model_lists import MODELS_LIMIT, CallableModel
from ownkey.storage.database import Database
from ownkey.testing import SimulatedProviders
from ownkey.upstream.pool import UpstreamPool
from tests.gateway.conftest import serve
from tests.services.stand import Stand, unique


class ListServer:
    """A provider that gives the lists it is told to, one per request, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        key = headers.get(b"x-api-key", headers.get(b"authorization", b"")).decode()
        self.asked.append((f"{scope['path']}?{scope['query_string'].decode()}", key))
        status, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})


@pytest_asyncio.fixture
async def lists(
    database: Database, pool: UpstreamPool, catalog: dict[str, Provider], wrapping: LocalWrappingKeys
) -> AsyncIterator[tuple[ListServer, Stand]]:
    """Groq and Anthropic on that server."""
    server = ListServer()
    async with serve(server) as url:
        here = {name: structs.replace(catalog[name], base_url=f"{url}/v1") for name in ("groq", "anthropic")}
        yield server, Stand(database, pool, {**catalog, **here}, wrapping)


async def add(stand: Stand, provider: str = "groq") -> tuple[str, str]:
    user = unique("ann")
    return user, (await stand.settings.add_credential(user, provider, f"key-{unique(provider)}")).id


def by_name(models: tuple[CallableModel, ...]) -> dict[str, CallableModel]:
    return {model.id: model for model in models}


async def test_every_provider_of_the_catalogue(stand: Stand, providers: SimulatedProviders) -> None:
    user = unique("ann")
    for provider in stand.catalog.values():
        if provider.fields:
            continue
        stored = await stand.settings.add_credential(user, provider.id, f"key-{unique('models')}")
        found = await stand.models.list_models(user, stored.id)
        assert found.source == ("catalog" if "no_model_list" in provider.quirks else "provider"), provider.id
        assert {model.id for model in found.models} >= set(provider.models), provider.id
        for model in found.models:
            known = provider.find_model(model.id)
            if known is not None and known.context_tokens is not None:
                assert (model.context_tokens, model.images) == (known.context_tokens, known.images)


async def test_prices_are_whole_microdollars_per_million_tokens(lists: tuple[ListServer, Stand]) -> None:
    server, stand = lists
    server.answers = [(200, {"data": [{"id": "claude-sonnet-4-5"}, {"id": "unheard-of"}], "has_more": False})]
    found = by_name((await stand.models.list_models(*await add(stand, "anthropic"))).models)
    known, unknown = found["claude-sonnet-4-5"], found["unheard-of"]
    assert known.input_price_microdollars_per_mtok == 3_000_000
    assert known.output_price_microdollars_per_mtok == 15_000_000
    # Unknown is not free, and not unable.
    assert unknown == CallableModel(
        id="unheard-of",
        context_tokens=None,
        tools=None,
        images=None,
        json_schema=None,
        embedding=None,
        input_price_microdollars_per_mtok=None,
        output_price_microdollars_per_mtok=None,
    )


async def test_what_providers_say_of_their_models_is_read(lists: tuple[ListServer, Stand]) -> None:
    server, stand = lists
    server.answers = [
        (
            200,
            {
                "data": [
                    {"id": "models/prefixed", "context_window": 4096},
                    {"id": "m", "max_context_length": 9, "capabilities": {"function_calling": True, "vision": False}},
                    {
                        "id": "o/r",
                        "context_length": 7,
                        "supported_parameters": ["tools", "structured_outputs"],
                        "architecture": {"input_modalities": ["text", "image"]},
                    },
                    {"id": "e", "type": "embedding", "context_window": True},
                    # Nothing that a request could name.
                    {"id": 5}, {}, None, "text", {"id": "bad name"}, {"id": "../up"}, {"id": "x" * 300},
                ]
            },
        )
    ]  # fmt: skip
    found = by_name((await stand.models.list_models(*await add(stand))).models)
    assert list(found) == ["prefixed", "m", "o/r", "e"]
    assert found["prefixed"].context_tokens == 4096
    assert (found["m"].context_tokens, found["m"].tools, found["m"].images) == (9, True, False)
    assert (found["o/r"].tools, found["o/r"].images, found["o/r"].json_schema) == (True, True, True)
    assert (found["e"].embedding, found["e"].context_tokens) == (True, None)


async def test_pages_are_followed_to_their_end_and_not_beyond(lists: tuple[ListServer, Stand]) -> None:
    server, stand = lists
    assert stand.catalog["anthropic"].dialect is Dialect.ANTHROPIC_MESSAGES
    server.answers = [
        (200, {"data": [{"id": "one"}], "has_more": True, "last_id": "one&x=1"}),
        (200, {"data": [{"id": "two"}], "has_more": True, "last_id": "two"}),
        (200, {"data": [{"id": "one"}, {"id": "three"}], "has_more": False, "last_id": "three"}),
    ]
    user, credential = await add(stand, "anthropic")
    found = await stand.models.list_models(user, credential)
    assert [model.id for model in found.models] == ["one", "two", "three"]
    assert [path for path, _ in server.asked] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=one%26x%3D1",
        "/v1/models?limit=1000&after_id=two",
    ]
    # A provider that never ends.
    server.asked.clear()
    server.answers = [
        (200, {"data": [{"id": f"{page}-{n}"} for n in range(3)], "has_more": True, "last_id": f"p{page}"})
        for page in range(50)
    ]
    assert len((await stand.models.list_models(*await add(stand, "anthropic"))).models) == 30
    assert len(server.asked) == 10
    server.answers = [(200, {"data": [{"id": f"m{n}"} for n in range(MODELS_LIMIT + 10)]})]
    assert len((await stand.models.list_models(*await add(stand))).models) == MODELS_LIMIT


async def test_a_list_is_kept_until_it_is_old_or_asked_for_again(lists: tuple[ListServer, Stand]) -> None:
    server, stand = lists
    server.answers = [(200, {"data": [{"id": "old"}]})]
    user, credential = await add(stand)
    first = await stand.models.list_models(user, credential)
    server.answers = [(200, {"data": [{"id": "new"}]})]
    assert await stand.models.list_models(user, credential) == first
    assert len(server.asked) == 1
    again = await stand.models.list_models(user, credential, refresh=True)
    assert [model.id for model in again.models] == ["new"] and again.fetched_at > first.fetched_at
    with pytest.raises(RequestError) as caught:
        await stand.models.list_models(user, credential, refresh=True)
    assert (caught.value.code, caught.value.status) == ("too_many_refreshes", 429)
    assert 0 < (caught.value.retry_after_seconds or 0) <= 3
    # Nobody else waits for that.
    await stand.models.list_models(*await add(stand), refresh=True)
    stand.travel(timedelta(hours=7))
    server.answers = [(200, {"data": [{"id": "newer"}]})]
    assert [one.id for one in (await stand.models.list_models(user, credential)).models] == ["newer"]
    # Another key sees another list.
    server.answers = [(200, {"data": [{"id": "other"}]})]
    await stand.settings.replace_credential(user, credential, f"key-{unique('replaced')}")
    assert [one.id for one in (await stand.models.list_models(user, credential)).models] == ["other"]
    # An old list is better than none, unless a new one was asked for.
    stand.travel(timedelta(hours=7))
    server.answers = [(503, {})]
    assert [one.id for one in (await stand.models.list_models(user, credential)).models] == ["other"]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_where_there_is_no_list_the_catalogue_stands_in(lists: tuple[ListServer, Stand], status: int) -> None:
    server, stand = lists
    server.answers = [(status, {"error": {"message": "no such route"}})]
    found = await stand.models.list_models(*await add(stand))
    assert found.source == "catalog"
    assert {model.id for model in found.models} >= set(stand.catalog["groq"].models)


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ("bad_key", "credential_rejected", 424),
        ("no_permission", "credential_limited", 424),
        ("no_credit", "insufficient_quota", 402),
        ("rate_limited", "rate_limit_exceeded", 429),
        ("unavailable", "provider_overloaded", 503),
        ("not_json", "provider_overloaded", 503),
        ("redirect", "provider_overloaded", 503),
        ("echo_key", "credential_rejected", 424),
        ("reset", "provider_unreachable", 502),
    ],
)
async def test_a_provider_that_gives_no_list_is_named_with_the_reason(
    stand: Stand, providers: SimulatedProviders, fault: Any, code: str, status: int
) -> None:
    user, secret = unique("ann"), f"gsk_{unique('models')}"
    stored = await stand.settings.add_credential(user, "groq", secret)
    providers.break_provider("groq", fault, key=secret)
    with pytest.raises(UpstreamError) as caught:
        await stand.models.list_models(user, stored.id)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert "Groq" in caught.value.message and secret not in caught.value.message


async def test_too_much_is_not_read(lists: tuple[ListServer, Stand]) -> None:
    server, stand = lists
    server.answers = [(200, b" " * (900_000))]
    with pytest.raises(UpstreamError) as caught:
        await stand.models.list_models(*await add(stand))
    assert caught.value.code == "provider_overloaded"
    server.answers = [(200, b" " * (1_200_000))]  # the pool of these tests takes a megabyte
    with pytest.raises(UpstreamError) as caught:
        await stand.models.list_models(*await add(stand))
    assert caught.value.code == "answer_too_large"


async def test_only_the_owner_of_a_readable_key_gets_its_list(
    stand: Stand, impostor_stand: Stand, custom_stand: Stand, narrow_stand: Stand, providers: SimulatedProviders
) -> None:
    user, credential = await add(stand, "openai")
    await stand.models.list_models(user, credential)
    for other, wanted in ((unique("bob"), credential), (user, "nonsense"), (user, user)):
        with pytest.raises(NotFound):
            await stand.models.list_models(other, wanted)
    with pytest.raises(CredentialUnreadable) as unreadable:
        await impostor_stand.models.list_models(user, credential)
    assert unreadable.value.status == 424
    with pytest.raises(RequestError) as refused:
        await narrow_stand.models.list_models(user, credential)
    assert refused.value.code == "provider_not_allowed"
    await custom_stand.settings.update_credential(user, credential, base_url="https://8.8.8.8/v1")
    with pytest.raises(Conflict) as missing:
        await stand.models.list_models(user, credential)
    assert missing.value.code == "secret_missing"


async def test_a_test_names_the_first_models(lists: tuple[ListServer, Stand]) -> None:
    server, stand = lists
    server.answers = [(200, {"data": [{"id": f"m{n}"} for n in range(300)]})]
    result = await stand.settings.test_secret(unique("ann"), "groq", f"key-{unique('test')}")
    assert result.model_count == 300 and result.models == tuple(f"m{n}" for n in range(200))
    server.answers = [(200, {"ok": True})]
    result = await stand.settings.test_secret(unique("ann"), "groq", f"key-{unique('test')}")
    assert (result.outcome, result.model_count, result.models) == ("works", None, None)
