"""The paths of each client's library: where they lead, and how errors look there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as google_errors

from tests.gateway.conftest import Platform, User
from tests.gateway.speaking_clients import Asked, anthropic_client, google_client, openai_client

HELLO: list[Any] = [{"role": "user", "content": "hi"}]
CLAUDE_BODY: dict[str, Any] = {"model": "auto", "max_tokens": 50, "messages": HELLO}
GOOGLE_BODY: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as made:
        yield made


@pytest.fixture
async def user(platform: Platform) -> User:
    return await platform.user(groq="gsk_doors_000000000000001", anthropic="sk-ant-doors-0000000001")


def at(platform: Platform, token: str) -> Asked:
    return Asked(f"{platform.url}/v1", platform.url, platform.url, token)


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {user.token}"}


POSTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"model": "auto", "messages": HELLO}),
    ("/v1/responses", {"model": "auto", "input": "hi"}),
    ("/v1/messages", CLAUDE_BODY),
    ("/v1/messages?beta=true", CLAUDE_BODY),
    ("/v1beta/models/auto:generateContent", GOOGLE_BODY),
    ("/v1beta/models/auto:streamGenerateContent?alt=sse", GOOGLE_BODY),
]


@pytest.mark.parametrize(("path", "body"), POSTS, ids=[path for path, _ in POSTS])
async def test_every_answer_says_how_it_came_about(
    client: httpx2.AsyncClient, user: User, path: str, body: dict[str, Any]
) -> None:
    for stream in (False, True):
        if "v1beta" not in path:
            body = {**body, "stream": stream}
        answer = await client.post(path, headers=bearer(user), json=body)
        assert answer.status_code == 200, answer.text
        for name in ("provider", "model", "credential", "attempts", "request-id"):
            assert answer.headers[f"x-ownkey-{name}"]
        assert answer.headers["cache-control"] == "no-store"


async def test_each_library_finds_the_name_of_a_request(platform: Platform, user: User) -> None:
    async with anthropic_client(at(platform, user.token)) as claude:
        raw = await claude.messages.with_raw_response.create(model="auto", max_tokens=9, messages=HELLO)
        assert (await raw.parse())._request_id == raw.headers["x-ownkey-request-id"]
    answer = await user.client.responses.with_raw_response.create(model="auto", input="hi")
    assert answer.parse()._request_id == answer.headers["x-ownkey-request-id"]


WRONG: list[tuple[str, str, int, str]] = [
    ("GET", "/v1/responses", 405, "method_not_allowed"),
    ("GET", "/v1/messages", 405, "method_not_allowed"),
    ("PUT", "/v1/audio/speech", 405, "method_not_allowed"),
    ("GET", "/v1beta/models/auto:generateContent", 405, "method_not_allowed"),
    ("POST", "/v1beta/models", 405, "method_not_allowed"),
    ("POST", "/v1beta/models/auto:predict", 405, "method_not_allowed"),
    ("POST", "/v1beta/files", 404, "unknown_path"),
    ("POST", "/v1beta/models/:generateContent", 404, "unknown_path"),
    ("POST", "/v1/messages/batches", 404, "unknown_path"),
    ("GET", "/v1/responses/resp_123", 404, "response_not_stored"),
    ("DELETE", "/v1/responses/resp_123", 404, "response_not_stored"),
    ("POST", "/v1/responses/resp_123/cancel", 404, "response_not_stored"),
    ("GET", "/v1/responses/resp_123/input_items", 404, "response_not_stored"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), WRONG)
async def test_wrong_paths_and_methods(
    client: httpx2.AsyncClient, user: User, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path, headers=bearer(user))
    body = answer.json()
    found = body["error"]["details"][0]["reason"].lower() if path.startswith("/v1beta") else body["error"]["code"]
    assert (answer.status_code, found) == (status, code)
    assert (body.get("type") == "error") is path.startswith("/v1/messages")


@pytest.mark.parametrize("base", ["", "/v1/v1", "/v1beta/v1"])
async def test_a_library_with_a_wrong_base_url_is_told_the_right_one(platform: Platform, user: User, base: str) -> None:
    async with openai.AsyncOpenAI(base_url=platform.url + base, api_key=user.token, max_retries=0) as lost:
        with pytest.raises(openai.NotFoundError, match="base URL") as caught:
            await lost.chat.completions.create(model="auto", messages=[{"role": "user", "content": "hi"}])
        assert caught.value.code == "unknown_path"
        with pytest.raises(openai.NotFoundError, match="base URL"):
            await lost.models.list()
    async with httpx2.AsyncClient(base_url=platform.url + base) as plain:
        refused = await plain.post("/messages", headers=bearer(user), json={})
        assert (refused.status_code, refused.json()["type"]) == (404, "error")


async def test_responses_are_not_stored_and_the_library_says_so(user: User) -> None:
    with pytest.raises(openai.NotFoundError, match="not stored"):
        await user.client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError, match="not stored"):
        await user.client.responses.delete("resp_1")


async def test_claudes_library_raises_its_own_errors(platform: Platform, user: User) -> None:
    async def ask(token: str, **fields: Any) -> Any:
        async with anthropic_client(at(platform, token)) as claude:
            return await claude.messages.create(**{"model": "auto", "max_tokens": 9, "messages": HELLO, **fields})

    with pytest.raises(anthropic.AuthenticationError) as unknown:
        await ask("ok-" + "0" * 49)
    assert unknown.value.type == "authentication_error"
    with pytest.raises(anthropic.BadRequestError):
        await ask(user.token, messages="hi")
    await platform.ok.settings.update_settings(user.id, payer="own_only")
    for kind, error, status in (
        ("no_credit", anthropic.APIStatusError, 402),
        ("rate_limited", anthropic.RateLimitError, 429),
        ("missing_model", anthropic.NotFoundError, 404),
        ("bad_request", anthropic.BadRequestError, 400),
        ("overloaded", anthropic.InternalServerError, 529),
    ):
        fresh = await platform.user(anthropic=f"sk-ant-{kind}-00000000001")
        await platform.ok.settings.update_settings(fresh.id, payer="own_only")
        platform.providers.break_provider("anthropic", kind)  # type: ignore[arg-type]
        with pytest.raises(error) as caught:
            await ask(fresh.token)
        assert isinstance(caught.value, anthropic.APIStatusError)
        assert caught.value.status_code == status
        body: Any = caught.value.body
        assert body["type"] == "error" and body["error"]["ownkey"]["attempts"][0]["provider"] == "anthropic"
        assert body["request_id"] == caught.value.response.headers["x-ownkey-request-id"]
        platform.providers.reset()


async def test_googles_library_raises_its_own_errors(platform: Platform, user: User) -> None:
    def ask(client: genai.Client) -> Any:
        return client.aio.models.generate_content(model="auto", contents="hi")

    with pytest.raises(google_errors.ClientError) as unknown:
        await ask(google_client(at(platform, "ok-" + "0" * 49)))
    assert (unknown.value.code, unknown.value.status) == (401, "UNAUTHENTICATED")
    fresh = await platform.user(gemini="AIza-doors-0000000000001")
    await platform.ok.settings.update_settings(fresh.id, payer="own_only")
    platform.providers.break_provider("gemini", "rate_limited", retry_after_seconds=40)
    with pytest.raises(google_errors.ClientError) as limited:
        await ask(google_client(at(platform, fresh.token)))
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    details = {one["@type"].rpartition(".")[2]: one for one in limited.value.details["error"]["details"]}
    assert details["ErrorInfo"]["reason"] == "RATE_LIMIT_EXCEEDED"
    assert details["RetryInfo"]["retryDelay"].endswith("s")
    assert details["Attempts"]["attempts"][0]["provider"] == "gemini"


async def test_a_stream_of_googles_without_events_is_one_array(client: httpx2.AsyncClient, user: User) -> None:
    answer = await client.post(
        "/v1beta/models/auto:streamGenerateContent", headers={"x-goog-api-key": user.token}, json=GOOGLE_BODY
    )
    assert answer.headers["content-type"] == "application/json"
    parts = answer.json()
    assert len(parts) > 1 and parts[-1]["candidates"][0]["finishReason"] == "STOP"
    assert parts[-1]["usageMetadata"]["totalTokenCount"] > 0


async def test_a_model_of_another_provider_by_googles_path(platform: Platform, user: User) -> None:
    google = google_client(at(platform, user.token))
    for name, provider in (
        ("groq/openai/gpt-oss-20b", "groq"),
        ("task:coding", "groq"),
        ("claude-haiku-5-5", "anthropic"),
    ):
        platform.providers.clear_ledger()
        answer = await google.aio.models.generate_content(model=name, contents="hi")
        assert answer.text
        assert [entry.provider for entry in platform.providers.ledger()] == [provider]


async def test_what_a_clients_header_switches_on_reaches_its_own_provider_only(platform: Platform, user: User) -> None:
    # The version says how the body is to be understood, so it goes where the body goes.
    versions = {"anthropic-version": "2026-10-21", "anthropic-beta": "context-1m-2025-08-07"}
    headers = {**versions, "x-custom": "secret", "cookie": "a=b"}
    async with anthropic_client(at(platform, user.token)) as claude:
        await claude.messages.create(
            model="anthropic/claude-haiku-5-5", max_tokens=9, messages=HELLO, extra_headers=headers
        )
        await claude.messages.create(
            model="groq/openai/gpt-oss-20b", max_tokens=9, messages=HELLO, extra_headers=headers
        )
    straight, translated = platform.providers.ledger()
    assert versions.items() <= straight.headers.items()
    assert not {"anthropic-beta", "anthropic-version"} & set(translated.headers)
    for entry in (straight, translated):
        assert not {"x-custom", "cookie"} & set(entry.headers)
        assert user.token not in str(entry.headers)


async def test_a_client_in_this_process_speaks_responses_too(platform: Platform, user: User) -> None:
    client = platform.ok.openai_client(user.id)
    answer = await client.responses.create(model="auto", input="hi")
    assert answer.output_text
    streamed = await client.responses.create(model="anthropic/claude-haiku-5-5", input="hi", stream=True)
    kinds = [event.type async for event in streamed]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


async def test_a_newer_openai_model_is_asked_in_the_responses_form_with_its_tools(platform: Platform) -> None:
    user = await platform.user(openai="sk-proj-doors-00000000001")
    tool: Any = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object", "properties": {}}}}
    answer = await user.client.chat.completions.create(model="gpt-6-astra", messages=HELLO, tools=[tool])
    assert answer.object == "chat.completion"
    [seen] = platform.providers.ledger()
    assert seen.path.endswith("/responses") and seen.body["tools"][0]["name"] == "tide"
    async with openai_client(at(platform, user.token)) as client:
        await client.responses.create(model="gpt-5.4-mini", input="hi")
    assert [entry.path.rpartition("/")[2] for entry in platform.providers.ledger()] == ["responses", "responses"]
