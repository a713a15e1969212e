"""The gateway's own manners: who is let in, what is refused and how, what an answer says about itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.gateway.conftest import Platform, User, serve

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as made:
        yield made


@pytest.fixture
async def user(platform: Platform) -> User:
    return await platform.user(groq="gsk_wire_0000000000000001", mistral="mistral-wire-000000001")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("carrier", ["authorization", "x-api-key", "x-goog-api-key", "api-key"])
async def test_every_clients_way_to_show_a_token_works(client: httpx2.AsyncClient, user: User, carrier: str) -> None:
    value = f"Bearer {user.token}" if carrier == "authorization" else user.token
    answer = await client.post(CHAT, headers={carrier: value}, json=BODY)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "token_missing"),
        ({"Authorization": "Bearer"}, 401, "token_missing"),
        ({"Authorization": "Basic b2s6b2s="}, 401, "token_invalid"),
        ({"Authorization": "Bearer sk-something-else"}, 401, "token_invalid"),
        ({"Authorization": "Bearer ok-" + "0" * 49}, 401, "token_invalid"),
        ({"x-api-key": "one", "Authorization": "Bearer two"}, 400, "ambiguous_credentials"),
    ],
)
async def test_who_is_not_let_in_hears_why(
    client: httpx2.AsyncClient, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await client.post(CHAT, headers=headers, json=BODY)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["message"] and error["request_id"] == answer.headers["x-ownkey-request-id"]
    assert ("www-authenticate" in answer.headers) is (status == 401)


@pytest.mark.parametrize("start", ["sk-", "sk-ant-", "AIza", "gsk_"])
async def test_a_providers_key_in_place_of_a_token_is_named_and_not_repeated(
    client: httpx2.AsyncClient, start: str
) -> None:
    answer = await client.post(CHAT, headers=bearer(start + "abcdef0123456789"), json=BODY)
    message = answer.json()["error"]["message"]
    assert (answer.status_code, answer.headers["x-should-retry"]) == (401, "false")
    assert "API key of a provider" in message and "ownkey token create" in message
    assert "abcdef" not in answer.text


async def test_a_task_with_a_slip_in_its_name_is_not_served_as_something_else(
    client: httpx2.AsyncClient, platform: Platform, user: User
) -> None:
    refused = await client.post(CHAT, headers=bearer(user.token), json={**BODY, "model": "task:codign"})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (404, "unknown_task", "model")
    assert "Did you mean task:coding?" in error["message"]
    assert platform.providers.ledger() == []
    await platform.ok.settings.put_task_override(user.id, "codign", provider="groq")
    served = await client.post(CHAT, headers=bearer(user.token), json={**BODY, "model": "task:codign"})
    assert served.status_code == 200, "a name that its user has chosen is right"


async def test_a_slip_in_the_task_beside_the_model_is_told_and_a_hosts_own_word_is_not(
    client: httpx2.AsyncClient, platform: Platform, user: User
) -> None:
    headers = {**bearer(user.token), "x-ownkey-task": "codng"}
    refused = await client.post(CHAT, headers=headers, json=BODY)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (404, "unknown_task", "X-Ownkey-Task")
    assert "Did you mean coding?" in error["message"] and "research" in error["message"]
    assert platform.providers.ledger() == []
    served = await client.post(CHAT, headers={**headers, "x-ownkey-task": "invoices"}, json=BODY)
    assert served.status_code == 200


@pytest.mark.parametrize(
    "written", ["opnai/gpt-4o", "OpenAl/gpt-4o", "antropic/x", "anthropic:x", "Gemni/x", "groqq/a/b"]
)
async def test_a_slip_in_a_providers_name_goes_to_nobody(
    client: httpx2.AsyncClient, platform: Platform, user: User, written: str
) -> None:
    meant = {"op": "openai", "Op": "openai", "an": "anthropic", "Ge": "gemini", "gr": "groq"}[written[:2]]
    right = f"{meant}/{written[written.index(':' if ':' in written else '/') + 1 :]}"
    refused = await client.post(CHAT, headers=bearer(user.token), json={**BODY, "model": written})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert f"Did you mean `{right}`?" in error["message"]
    messages = {"model": written, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    refused = await client.post("/v1/messages", headers=bearer(user.token), json=messages)
    assert (refused.status_code, refused.json()["error"]["type"]) == (404, "not_found_error")
    contents = {"contents": [{"parts": [{"text": "Hi"}]}]}
    refused = await client.post(f"/v1beta/models/{written}:generateContent", headers=bearer(user.token), json=contents)
    assert (refused.status_code, refused.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert platform.providers.ledger() == []


@pytest.mark.parametrize(
    ("written", "provider", "model"),
    [
        ("Groq/openai/gpt-oss-20b", "groq", "openai/gpt-oss-20b"),
        ("GROQ/x", "groq", "x"),
        ("AUTO", "groq", "openai/gpt-oss-120b"),
        ("Task:Coding", "groq", "openai/gpt-oss-120b"),
        ("meta-llama/Llama-3.3-70B", "groq", "meta-llama/Llama-3.3-70B"),
        ("mistralai/Mistral-7B", "groq", "mistralai/Mistral-7B"),
        ("Qwen/Qwen3-32B", "groq", "Qwen/Qwen3-32B"),
    ],
)
async def test_names_are_read_as_they_are_meant(
    client: httpx2.AsyncClient, platform: Platform, user: User, written: str, provider: str, model: str
) -> None:
    served = await client.post(CHAT, headers=bearer(user.token), json={**BODY, "model": written})
    assert served.status_code == 200
    [seen] = platform.providers.ledger()
    assert (seen.provider, seen.model) == (provider, model)


async def test_a_providers_refusal_says_whose_it_is(client: httpx2.AsyncClient, platform: Platform, user: User) -> None:
    platform.providers.break_provider("groq", "bad_request")
    refused = await client.post(CHAT, headers=bearer(user.token), json=BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
    assert refused.json()["error"]["message"].startswith("Groq: ")
    assert {entry.provider for entry in platform.providers.ledger()} == {"groq"}


async def test_revoked_expired_suspended(client: httpx2.AsyncClient, platform: Platform, user: User) -> None:
    assert (await client.post(CHAT, headers=bearer(user.token), json=BODY)).status_code == 200
    [token] = await platform.ok.tokens.list_tokens(user.id)
    await platform.ok.tokens.revoke(user.id, token.id)
    refused = await client.post(CHAT, headers=bearer(user.token), json=BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "token_invalid")
    fresh = await platform.ok.tokens.create(user.id, "n", expires_at=datetime.now(UTC) + timedelta(days=1))
    assert (await client.post(CHAT, headers=bearer(fresh.text), json=BODY)).status_code == 200
    await platform.ok.users.set_status(user.id, "suspended")
    shut_out = await client.post(CHAT, headers=bearer(fresh.text), json=BODY)
    assert (shut_out.status_code, shut_out.json()["error"]["code"]) == (403, "user_suspended")
    await platform.ok.users.set_status(user.id, "active")
    assert (await client.post(CHAT, headers=bearer(fresh.text), json=BODY)).status_code == 200


async def test_a_token_without_the_gateways_scope_is_refused(
    client: httpx2.AsyncClient, platform: Platform, user: User
) -> None:
    made = await platform.ok.tokens.create(user.id, "panel", scopes=("settings",))
    answer = await client.post(CHAT, headers=bearer(made.text), json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", CHAT, 405, "method_not_allowed"),
        ("TRACE", CHAT, 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", 404, "unknown_path"),
        ("GET", "/v1/models/no-such-model", 404, "model_not_found"),
    ],
)
async def test_wrong_paths_and_methods(
    client: httpx2.AsyncClient, user: User, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path, headers=bearer(user.token))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_bodies_that_are_wrong_or_too_large(client: httpx2.AsyncClient, platform: Platform, user: User) -> None:
    wrong = await client.post(CHAT, headers=bearer(user.token), content=b"{")
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")
    limit = platform.ok.config.max_body_bytes
    announced = await client.post(CHAT, headers=bearer(user.token), content=b" " * (limit + 1))
    assert (announced.status_code, announced.json()["error"]["code"]) == (413, "too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(limit // 65536 + 2):
            yield b" " * 65536

    streamed = await client.post(CHAT, headers=bearer(user.token), content=pieces())
    assert streamed.status_code == 413
    packed = await client.post(CHAT, headers={**bearer(user.token), "Content-Encoding": "gzip"}, content=b"x")
    assert packed.status_code == 415
    assert platform.providers.ledger() == []


async def test_answers_are_private_and_say_how_they_came_about(client: httpx2.AsyncClient, user: User) -> None:
    for stream in (False, True):
        answer = await client.post(CHAT, headers=bearer(user.token), json={**BODY, "stream": stream})
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["vary"] == "authorization"
        for name in ("provider", "model", "credential", "attempts", "request-id"):
            assert answer.headers[f"x-ownkey-{name}"]
        assert not [name for name in answer.headers if name.startswith("set-cookie")]


async def test_nothing_of_the_client_but_the_body_reaches_the_provider(
    client: httpx2.AsyncClient, platform: Platform, user: User
) -> None:
    headers = {
        **bearer(user.token),
        "Cookie": "session=secret",
        "X-Forwarded-For": "10.0.0.1",
        "X-Ownkey-Task": "coding",
        "OpenAI-Organization": "org-1",
        "X-Custom": "secret",
    }
    await client.post(CHAT, headers=headers, json=BODY)
    [seen] = platform.providers.ledger()
    sent = {name for name in seen.headers if name not in ("host", "content-length", "connection", "user-agent")}
    assert sent <= {"authorization", "content-type", "accept", "accept-encoding"}
    assert user.token not in json.dumps(seen.headers)


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("provider", ["groq", "anthropic"])
async def test_usage_of_a_stream_is_counted_and_shown_only_to_who_asked(
    platform: Platform, asked: bool, provider: str
) -> None:
    user = await platform.user(**{provider: f"key-{provider}-000000000001"})
    options: Any = {"include_usage": True} if asked else None
    stream = await user.client.chat.completions.create(
        model="auto", messages=BODY["messages"], stream=True, stream_options=options
    )
    parts = [part async for part in stream]
    shown = [part.usage for part in parts if part.usage is not None]
    assert len(shown) == (1 if asked else 0)
    assert all(part.choices for part in parts) is not asked
    [seen] = platform.providers.ledger()
    assert seen.usage is not None
    [event] = await events_of(platform, user)
    reported = (
        (seen.usage["prompt_tokens"], seen.usage["completion_tokens"])
        if provider == "groq"
        else (seen.usage["input_tokens"], seen.usage["output_tokens"])
    )
    assert (event["input_uncached"] + event["cache_read"] + event["cache_write"], event["output_text"]) == reported


@pytest.mark.parametrize("stream", [True, False])
async def test_every_call_is_on_the_books_with_what_the_provider_reported(platform: Platform, stream: bool) -> None:
    user = await platform.user(mistral="mistral-books-0000000001", groq="gsk_books_00000000000001")
    platform.providers.set_usage("groq", prompt_tokens=1000, completion_tokens=50, total_tokens=1050)
    platform.providers.break_provider("mistral", "unavailable")
    answer = await user.client.chat.completions.create(model="auto", messages=BODY["messages"], stream=stream)  # type: ignore[call-overload]
    if stream:
        assert [part async for part in answer]
    events = await events_of(platform, user)
    seen = platform.providers.ledger()
    assert [event["provider"] for event in events] == [entry.provider for entry in seen]
    assert [event["attempt"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["request_id"] for event in events}) == 1
    assert {event["outcome"] for event in events[:-1]} == {"overloaded"} and events[-1]["outcome"] == "ok"
    if not stream:
        assert (events[-1]["input_uncached"], events[-1]["output_text"]) == (1000, 50)
    assert events[-1]["payer"] == "own" and events[-1]["tokens_source"] == "reported"


async def events_of(platform: Platform, user: User) -> list[Any]:
    """The user's events in the order of their attempts, once they are written."""
    await platform.ok.core.metering.flush()
    async with platform.ok.database.transaction(user.id) as tx:
        return list(await tx.fetch("select * from ownkey.usage_events order by occurred_at, attempt"))


async def test_health_readiness_and_metrics(client: httpx2.AsyncClient, user: User) -> None:
    await client.post(CHAT, headers=bearer(user.token), json=BODY)
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    metrics = (await client.get("/metrics")).text
    assert 'ownkey_upstream_calls_total{provider="groq",outcome="ok"}' in metrics
    assert user.id not in metrics


async def test_the_front_page_says_where_things_are(client: httpx2.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/plain")
    for path in ("/v1", "/api", "/openapi.json", "/healthz"):
        assert path in page.text


async def test_the_whole_server_can_be_mounted_in_a_host(platform: Platform, user: User) -> None:
    host = FastAPI()
    host.mount("/llm", platform.ok.asgi())
    async with serve(host) as url, httpx2.AsyncClient(base_url=url) as client:
        answer = await client.post(f"/llm{CHAT}", headers=bearer(user.token), json=BODY)
        assert answer.status_code == 200, answer.text
        assert (await client.get("/llm/healthz")).status_code == 200
        settings = await client.get("/llm/api/settings", headers=bearer(user.token))
        assert settings.status_code == 200, settings.text
