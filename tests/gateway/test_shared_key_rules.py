"""What the operator's key is not used for: what its other users may have stored, and models that the provider picks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from ownkey.testing import Reply
from tests.gateway.conftest import Platform, User
from tests.gateway.test_wire import bearer

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/openai/gpt-5.4:generateContent"
ASK = [{"role": "user", "content": "What did the other one say?"}]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "openai/gpt-5.4", "messages": ASK, **fields}


def chat_part(part: dict[str, Any]) -> dict[str, Any]:
    return chat(messages=[{"role": "user", "content": [{"type": "text", "text": "See"}, part]}])


def responses(**fields: Any) -> dict[str, Any]:
    return {"model": "openai/gpt-5.4", "input": "What did the other one say?", **fields}


def claude(part: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": [part]}] if part else ASK
    return {"model": "openai/gpt-5.4", "max_tokens": 9, "messages": messages, **fields}


def google(part: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [part or {"text": "Hi"}]}], **fields}


SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1"]}
KEPT: list[tuple[str, dict[str, Any], str]] = [
    (RESPONSES, responses(previous_response_id="resp_1"), "previous_response_id"),
    (RESPONSES, responses(conversation={"id": "conv_1"}), "conversation"),
    (RESPONSES, responses(prompt={"id": "pmpt_1"}), "prompt"),
    (RESPONSES, responses(tools=[SEARCH]), "vector_store_ids"),
    (RESPONSES, responses(tools=[{"type": "code_interpreter", "container": "cntr_1"}]), "container"),
    (
        RESPONSES,
        responses(tools=[{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}]),
        "file_ids",
    ),
    (RESPONSES, responses(input=[{"type": "item_reference", "id": "msg_1"}]), "item_reference"),
    (RESPONSES, responses(input=[{"type": "image_generation_call", "id": "ig_1"}]), "image_generation_call"),
    (
        RESPONSES,
        responses(input=[{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]),
        "file_id",
    ),
    (CHAT, chat_part({"type": "file", "file": {"file_id": "file-1"}}), "file_id"),
    (CHAT, chat(messages=[{"role": "assistant", "audio": {"id": "audio_1"}}, *ASK]), "audio"),
    (CHAT, chat(extra_body={"google": {"cached_content": "cachedContents/1"}}), "extra_body"),
    (CHAT, chat_part({"type": "image_url", "image_url": {"url": "gs://operator/secret.png"}}), "url"),
    (MESSAGES, claude({"type": "document", "source": {"type": "file", "file_id": "file_1"}}), "file_id"),
    (MESSAGES, claude({"type": "container_upload", "file_id": "file_1"}), "file_id"),
    (MESSAGES, claude(container="container_1"), "container"),
    (MESSAGES, claude(container={"skills": [{"type": "custom", "skill_id": "skill_1"}]}), "container"),
    (GEMINI, google(cachedContent="cachedContents/1"), "cachedContent"),
    (GEMINI, google({"fileData": {"mimeType": "text/plain", "fileUri": "files/1"}}), "fileUri"),
    (GEMINI, google(tools=[{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/1"]}}]), "fileSearchStoreNames"),
]


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as made:
        yield made


@pytest.mark.parametrize(("path", "body", "field"), KEPT, ids=lambda value: value if isinstance(value, str) else "")
async def test_nobody_reads_through_the_shared_key_what_another_has_stored(
    platform: Platform, client: httpx2.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    user = await platform.user()
    refused = await client.post(path, headers=bearer(user.token), json=body)
    error = refused.json()["error"]
    assert refused.status_code == 400, refused.text
    assert "stored_objects_need_own_key" in refused.text.lower() and f"`{field}`" in error["message"]
    assert platform.providers.ledger() == []


async def test_ones_own_key_reaches_ones_own_and_does_not_fall_to_the_shared_one(
    platform: Platform, client: httpx2.AsyncClient
) -> None:
    """Two users: what one has stored with a key of their own, the other cannot ask for with the operator's."""
    ada, bob = await platform.user(openai="sk-proj-stored-0000000001"), await platform.user()
    body = responses(previous_response_id="resp_of_ada")
    for token, status in ((ada.token, 200), (bob.token, 400)):
        answer = await client.post(RESPONSES, headers=bearer(token), json=body)
        assert answer.status_code == status
    [seen] = platform.providers.ledger()
    assert (seen.key, seen.body["previous_response_id"]) == ("sk-proj-stored-0000000001", "resp_of_ada")
    platform.providers.reset()
    platform.providers.break_provider("openai", "rate_limited", key="sk-proj-stored-0000000001")
    answer = await client.post(RESPONSES, headers=bearer(ada.token), json=body)
    assert answer.status_code == 429
    skipped = answer.json()["error"]["ownkey"]["skipped"]
    assert ("openai", "shared", "stored_objects_need_own_key") in {
        (hop["provider"], hop["credential"], hop["reason"]) for hop in skipped
    }
    assert {entry.key for entry in platform.providers.ledger()} == {"sk-proj-stored-0000000001"}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"openai/gpt-5.4","input":"x","previous\\u005fresponse_id":"resp_1"}',
        b'{"model":"openai/gpt-5.4","input":"x","previous_response_id":null,"previous_response_id":"resp_1"}',
        b'{"model":"openai/gpt-5.4","input":[{"role":"user","content":[{"type":"input_file","file\\u005fid":"f"}]}]}',
        b'{"model":"openai/gpt-5.4","input":[{"role":"user","content":[{"type":"input_file","file_id":"f","file_id":null}]}]}',
        b'{"model":"openai/gpt-5.4","input":[{"\\u0074ype":"item\\u005freference","id":"msg_1"}]}',
        b'{"model":"openai/gpt-5.4","input":[{"type":"message","type":"item_reference","id":"msg_1"}]}',
        b'{"model":"openai/gpt-5.4","input":[{"type":"item_reference","type":"message","id":"msg_1"}]}',
    ],
)
async def test_no_spelling_hides_it(platform: Platform, client: httpx2.AsyncClient, raw: bytes) -> None:
    user = await platform.user()
    headers = {**bearer(user.token), "content-type": "application/json"}
    refused = await client.post(RESPONSES, headers=headers, content=raw)
    assert refused.status_code == 400 and platform.providers.ledger() == []


async def test_what_only_looks_like_it_is_served(platform: Platform, client: httpx2.AsyncClient) -> None:
    """A tool with a parameter of that name, the same words in a text, a file that comes along."""
    user = await platform.user()
    shape = {"type": "object", "properties": {"file_id": {"type": "string"}, "container": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "read", "parameters": shape}}]
    calls = [{"id": "c", "type": "function", "function": {"name": "read", "arguments": '{"file_id":"x"}'}}]
    said = [
        {"role": "user", "content": 'Is "file_id" caf\u00e9, or "previous_response_id"?'},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": '{"file_id": "x"}'},
    ]
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
    bodies = [
        (CHAT, chat(messages=said, tools=tools)),
        (CHAT, chat_part(file)),
        (CHAT, chat(store=True, metadata={"conversation": "1"})),
        (
            RESPONSES,
            responses(previous_response_id=None, tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]),
        ),
        (RESPONSES, responses(store=True)),
    ]
    for path, body in bodies:
        answer = await client.post(path, headers=bearer(user.token), json=body)
        assert answer.status_code == 200, answer.text
    assert {entry.key for entry in platform.providers.ledger()} == {"sk-operator-openai-0001"}


async def test_a_thread_on_the_shared_key_is_refused_as_its_library_knows(
    platform: Platform, client: httpx2.AsyncClient
) -> None:
    user = await platform.user()
    refused = await client.post(MESSAGES, headers=bearer(user.token), json=claude(thread={"type": "create"}))
    assert refused.json()["error"]["details"] == {"error_code": "thread_unsupported_request"}
    assert platform.providers.ledger() == []


@pytest.mark.parametrize(
    "fields",
    [{"models": ["a/b"]}, {"route": "fallback"}, {"fallbacks": ["x"]}, {"preset": "mine"}],
    ids=lambda one: next(iter(one)),
)
async def test_the_operators_money_goes_to_the_model_that_was_asked_for(
    platform: Platform, client: httpx2.AsyncClient, fields: dict[str, Any]
) -> None:
    """With one's own key it is one's own choice."""
    user = await platform.user()
    refused = await client.post(CHAT, headers=bearer(user.token), json=chat(**fields))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "model_lists_need_own_key", next(iter(fields)))
    assert platform.providers.ledger() == []
    own: User = await platform.user(openrouter="sk-or-v1-choices-0000001")
    platform.providers.reply("openrouter", Reply())
    body = chat(model="openrouter/openai/gpt-6-luna", **fields)
    assert (await client.post(CHAT, headers=bearer(own.token), json=body)).status_code == 200
    [seen] = platform.providers.ledger()
    assert seen.provider == "openrouter" and seen.body[next(iter(fields))] == next(iter(fields.values()))


async def test_a_preset_in_a_models_name_is_a_choice_as_well(platform: Platform, client: httpx2.AsyncClient) -> None:
    user = await platform.user()
    for name in ("openai/@preset/mine", "openai/gpt-5.4@preset/mine"):
        refused = await client.post(CHAT, headers=bearer(user.token), json=chat(model=name))
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (400, "model_lists_need_own_key", "model")
    assert platform.providers.ledger() == []


async def test_counting_says_nothing_of_what_another_has_stored(platform: Platform, client: httpx2.AsyncClient) -> None:
    user = await platform.user()
    body = responses(previous_response_id="resp_1")
    await client.post("/v1/responses/input_tokens", headers=bearer(user.token), json=body)
    assert platform.providers.ledger() == []
