"""Embeddings between OpenAI's form and Google's, by the official clients, and never from another model."""

from __future__ import annotations

import openai
import pytest

from tests.gateway.conftest import Platform
from tests.gateway.speaking_clients import Asked, google_client
from tests.gateway.test_wire import events_of


@pytest.mark.parametrize("packed", [True, False], ids=["base64", "float"])
async def test_openais_client_at_a_gemini_key(platform: Platform, packed: bool) -> None:
    user = await platform.user(gemini="AIza-embed-00000000000001")
    raw = await user.client.embeddings.with_raw_response.create(
        model="auto", input=["tide", "moon"], dimensions=16, encoding_format="base64" if packed else "float"
    )
    answer = raw.parse()
    assert raw.headers["x-ownkey-model"] == "gemini-embedding-001"
    assert [one.index for one in answer.data] == [0, 1]
    [seen] = platform.providers.ledger()
    assert seen.path.endswith(":batchEmbedContents") and seen.headers["x-goog-api-key"] == "AIza-embed-00000000000001"
    assert seen.body["requests"][1]["outputDimensionality"] == 16
    if not packed:
        assert {len(one.embedding) for one in answer.data} == {16}
    [event] = await events_of(platform, user)
    assert (event["operation"], event["outcome"], event["model"]) == ("embeddings", "ok", "gemini-embedding-001")


async def test_googles_client_at_an_openai_key(platform: Platform) -> None:
    user = await platform.user(openai="sk-proj-embed-000000000001")
    google = google_client(Asked("", "", platform.url, user.token))
    answer = await google.aio.models.embed_content(model="auto", contents=["tide", "moon"])
    assert answer.embeddings and len(answer.embeddings) == 2
    assert all(one.values for one in answer.embeddings)
    [seen] = platform.providers.ledger()
    assert seen.path.endswith("/embeddings") and seen.body["input"] == ["tide", "moon"]
    assert seen.body["model"] == "text-embedding-3-small"
    [event] = await events_of(platform, user)
    assert event["tokens_source"] == "reported" and event["cost_microdollars"] is not None


async def test_googles_client_at_a_gemini_key(platform: Platform) -> None:
    user = await platform.user(gemini="AIza-embed-00000000000002")
    google = google_client(Asked("", "", platform.url, user.token))
    answer = await google.aio.models.embed_content(model="gemini-embedding-001", contents="tide")
    assert answer.embeddings and answer.embeddings[0].values
    assert platform.providers.ledger()[0].path.endswith("/models/gemini-embedding-001:batchEmbedContents")


async def test_vectors_of_two_models_are_never_mixed(platform: Platform) -> None:
    user = await platform.user(gemini="AIza-embed-00000000000003", openai="sk-proj-embed-000000000002")
    platform.providers.break_provider("gemini", "unavailable")
    with pytest.raises(openai.InternalServerError):
        await user.client.embeddings.create(model="auto", input="tide")
    assert {entry.provider for entry in platform.providers.ledger()} == {"gemini"}


async def test_a_model_that_only_talks_is_told_apart_and_others_are_named(platform: Platform) -> None:
    user = await platform.user(openai="sk-proj-embed-000000000009", gemini="AIza-embed-00000000000009")
    with pytest.raises(openai.BadRequestError) as refused:
        await user.client.embeddings.create(model="gpt-4o", input="tide")
    assert refused.value.code == "model_lacks_operation"
    assert "openai/text-embedding-3-small, gemini/gemini-embedding-001" in refused.value.message
    with pytest.raises(openai.BadRequestError) as refused:
        await user.client.images.generate(model="openai/gpt-4o", prompt="the tide")
    assert refused.value.code == "model_lacks_operation" and "openai/gpt-image" in refused.value.message
    with pytest.raises(openai.BadRequestError) as refused:
        await user.client.chat.completions.create(
            model="openai/text-embedding-3-small",
            messages=[{"role": "user", "content": "hi"}],
            extra_headers={"X-Ownkey-Fallback": "off"},
        )
    assert refused.value.code == "model_lacks_operation" and "openai/gpt-5.4-mini" in refused.value.message
    assert platform.providers.ledger() == []
