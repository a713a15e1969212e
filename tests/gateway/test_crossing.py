"""Fallback across dialects: whoever takes over, the client sees one answer of its own dialect."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx2
import pytest

from ownkey.domain.provider import Dialect
from ownkey.testing import Call, Reply
from tests.gateway.conftest import Platform
from tests.gateway.speaking_clients import Asked, ask
from tests.gateway.test_wire import events_of

CHAT, RESPONSES, CLAUDE, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI,
)
# A provider that speaks this dialect alone.
PROVIDERS: Final = {CHAT: "mistral", RESPONSES: "perplexity", CLAUDE: "anthropic", GEMINI: "gemini"}
TIDE = Call(name="tide", arguments={"port": "Emden"})
REPLY = Reply(text="I look it up.", calls=(TIDE,), output_text=9)
FALLS: Final = [(client, second) for client in Dialect for second in Dialect if PROVIDERS[second] != "mistral"]


def at(platform: Platform, token: str) -> Asked:
    return Asked(f"{platform.url}/v1", platform.url, platform.url, token)


async def user_of(platform: Platform, *providers: str) -> Any:
    return await platform.user(**{name: f"key-{name}-crossing-0001" for name in providers})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "second"), FALLS, ids=[f"{one}-to-{two}" for one, two in FALLS])
async def test_who_takes_over_is_not_seen_in_the_answer(
    platform: Platform, client: Dialect, second: Dialect, stream: bool
) -> None:
    """The first provider is a chat one that begins to stream and fails before its first content."""
    taker = PROVIDERS[second]
    user = await user_of(platform, "mistral", taker)
    platform.providers.reply(taker, REPLY)
    alone = await ask(client, at(platform, user.token), f"{taker}/{model_of(second)}", stream=stream, tools=True)
    await platform.ok.settings.put_preference(user.id, taker, default_model=model_of(second), priority=2)
    platform.providers.clear_ledger()
    platform.providers.reply(taker, REPLY)
    if stream:
        platform.providers.break_provider("mistral", "stream_error", after_events=0)
    else:
        platform.providers.break_provider("mistral", "unavailable")
    fallen = await ask(client, at(platform, user.token), "auto", stream=stream, tools=True)
    called = [entry.provider for entry in platform.providers.ledger()]
    assert called[0] == "mistral" and called[-1] == taker
    assert fallen == alone
    assert "I look it up." in json.dumps(fallen) and "tide" in json.dumps(fallen)
    events = await events_of(platform, user)
    assert [(event["provider"], event["outcome"]) for event in events[-1:]] == [(taker, "ok")]
    assert (events[-1]["input_uncached"], events[-1]["output_text"]) == (REPLY.input_uncached, REPLY.output_text)


def model_of(dialect: Dialect) -> str:
    return {
        CHAT: "mistral-small-latest",
        RESPONSES: "perplexity/sonar",
        CLAUDE: "claude-sonnet-4-5",
        GEMINI: "gemini-3.8-flash",
    }[dialect]


async def test_a_chat_stream_that_falls_from_groq_to_claude_is_one_chat_stream(platform: Platform) -> None:
    user = await user_of(platform, "groq", "anthropic")
    await platform.ok.settings.update_settings(user.id, payer="own_only")
    platform.providers.break_provider("groq", "stream_cut", after_events=1)
    platform.providers.reply("anthropic", Reply(text="High water is at noon."))
    async with httpx2.AsyncClient() as client:
        answer = await client.post(
            f"{platform.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {user.token}"},
            json={
                "model": "auto",
                "messages": [{"role": "user", "content": "When is high water?"}],
                "stream": True,
                "stream_options": {"include_usage": True},
            },
        )
    assert answer.headers["x-ownkey-provider"] == "anthropic"
    assert int(answer.headers["x-ownkey-attempts"]) >= 2
    lines = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]" and lines.count("[DONE]") == 1
    assert "event:" not in answer.text
    chunks = [json.loads(line) for line in lines[:-1]]
    assert len({(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert [delta["role"] for delta in deltas if delta.get("role")] == ["assistant"]
    assert "".join(delta.get("content") or "" for delta in deltas) == "High water is at noon."
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]] == [
        "stop"
    ]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["prompt_tokens"] == 11


BODIES: Final[dict[Dialect, tuple[str, dict[str, Any]]]] = {
    CHAT: ("/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": True}),
    RESPONSES: ("/v1/responses", {"model": "auto", "input": "hi", "stream": True}),
    CLAUDE: (
        "/v1/messages",
        {"model": "auto", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}], "stream": True},
    ),
    GEMINI: (
        "/v1beta/models/auto:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    ),
}
TERMINATORS: Final = {CHAT: "[DONE]", RESPONSES: '"response.completed"', CLAUDE: "message_stop", GEMINI: '"STOP"'}


@pytest.mark.parametrize("kind", ["stream_error", "stream_cut", "stream_truncated"])
@pytest.mark.parametrize("provider", list(Dialect))
@pytest.mark.parametrize("client", list(Dialect))
async def test_a_stream_that_breaks_later_says_so_in_the_clients_dialect(
    platform: Platform, client: Dialect, provider: Dialect, kind: Any
) -> None:
    name = PROVIDERS[provider]
    user = await user_of(platform, name)
    await platform.ok.settings.update_settings(user.id, payer="own_only")
    said = Reply(text="One two three four five six seven eight nine ten.", pieces=10)
    platform.providers.reply(name, said, times=5)
    platform.providers.break_provider(name, kind, after_events=7)
    # In one piece with its first content, a break would not have reached the client yet.
    platform.providers.pace(name, 0.05)
    path, body = BODIES[client]
    async with httpx2.AsyncClient(timeout=20) as http:
        answer = await http.post(f"{platform.url}{path}", headers={"Authorization": f"Bearer {user.token}"}, json=body)
    assert answer.status_code == 200 and answer.headers["x-ownkey-provider"] == name
    assert "One" in answer.text and "ten." not in answer.text
    assert TERMINATORS[client] not in answer.text
    datas = [line[5:] for line in answer.text.replace("\r", "").split("\n") if line.startswith("data:")]
    events = [json.loads(data) for data in datas]
    if client is RESPONSES:
        assert events[-1]["type"] == "response.failed" and events[-1]["response"]["error"]["message"]
    elif client is CLAUDE:
        assert events[-1]["type"] == "error" and events[-1]["error"]["message"]
    else:
        assert events[-1]["error"]["message"]
    [event] = await events_of(platform, user)
    assert event["outcome"] in ("stream_broken", "overloaded")


CARRIED: Final[list[tuple[str, Dialect, dict[str, Any], str, str]]] = [
    ("several choices", CHAT, {"n": 2, "stream": False}, "anthropic", "mistral"),
    (
        "Claude's own search",
        CLAUDE,
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "mistral",
        "anthropic",
    ),
    ("a stored conversation", RESPONSES, {"previous_response_id": "resp_1"}, "gemini", "perplexity"),
    (
        "several assistants with names",
        CHAT,
        {
            "messages": [
                {"role": "user", "content": "Is it safe?"},
                {"role": "assistant", "name": "pilot", "content": "Yes."},
                {"role": "assistant", "name": "warden", "content": "No."},
                {"role": "user", "content": "Who said no?"},
            ]
        },
        "anthropic",
        "mistral",
    ),
    (
        "an example with a name",
        CHAT,
        {"messages": [{"role": "system", "name": "example_user", "content": "Hi"}, {"role": "user", "content": "Ho"}]},
        "gemini",
        "mistral",
    ),
    ("Google's own search", GEMINI, {"tools": [{"googleSearch": {}}]}, "anthropic", "gemini"),
]


@pytest.mark.parametrize(("what", "client", "fields", "first", "second"), CARRIED, ids=[one[0] for one in CARRIED])
async def test_what_the_first_cannot_carry_goes_to_the_next_that_can(
    platform: Platform, what: str, client: Dialect, fields: dict[str, Any], first: str, second: str
) -> None:
    user = await user_of(platform, first, second)
    await platform.ok.settings.update_settings(user.id, payer="own_only")
    path, body = BODIES[client]
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as http:
        headers = {"Authorization": f"Bearer {user.token}"}
        answer = await http.post(path, headers=headers, json={**body, **fields})
        assert answer.status_code == 200, answer.text
        assert (answer.headers["x-ownkey-provider"], answer.headers["x-ownkey-attempts"]) == (second, "1")
        assert [entry.provider for entry in platform.providers.ledger()] == [second]
        refused = await http.post(path, headers={**headers, "X-Ownkey-Fallback": "off"}, json={**body, **fields})
    assert refused.status_code == 400
    assert "cannot_carry" in refused.text.lower()


async def test_who_speaks_the_clients_dialect_besides_is_asked_in_it(platform: Platform) -> None:
    user = await user_of(platform, "openrouter")
    for client, end in (
        (CHAT, "/chat/completions"),
        (RESPONSES, "/responses"),
        (CLAUDE, "/messages"),
        (GEMINI, "/chat/completions"),
    ):
        platform.providers.clear_ledger()
        platform.providers.reply("openrouter", REPLY)
        await ask(client, at(platform, user.token), "openrouter/anthropic/claude-haiku-5.5", stream=True)
        [seen] = platform.providers.ledger()
        assert seen.path.endswith(end), client
