"""Searches have a fee besides their tokens: it is promised before a call and charged by what the provider did."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from ownkey.testing import Reply
from tests.gateway.conftest import Platform
from tests.gateway.test_budgets import decide
from tests.gateway.test_budgets import open_policy as open_policy  # a fixture
from tests.gateway.test_wire import bearer, events_of

ASKED = "When is high water at Emden?"
RESPONSES = ("/v1/responses", {"model": "openai/gpt-5.4-mini", "input": ASKED, "tools": [{"type": "web_search"}]})
MESSAGES = (
    "/v1/messages",
    {
        "model": "anthropic/claude-sonnet-4-6",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": ASKED}],
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}],
    },
)
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": ASKED}]}], "tools": [{"googleSearch": {}}]}
KEYS = {
    "openai": "sk-proj-search-000000000001",
    "anthropic": "sk-ant-api03-search-0000001",
    "gemini": "AIzaSySearch000000000000000000000000001",
}


def google(model: str, *, stream: bool) -> str:
    return f"/v1beta/models/gemini/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")


async def ask(platform: Platform, token: str, path: str, body: dict[str, Any]) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20, headers=bearer(token)) as client:
        return await client.post(path, json=body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("provider", "wire", "fee"),
    [
        ("openai", RESPONSES, 30_000),
        ("anthropic", MESSAGES, 30_000),
        # One price for an answer with searches, and one for each thing that was looked up.
        ("gemini", ("gemini-2.5-flash", CONTENTS), 35_000),
        ("gemini", ("gemini-3.8-flash", CONTENTS), 28_000),
    ],
    ids=["openai", "anthropic", "gemini-2.5", "gemini-3"],
)
async def test_what_was_searched_is_charged(
    platform: Platform, provider: str, wire: tuple[str, dict[str, Any]], fee: int, stream: bool
) -> None:
    user = await platform.user(**{provider: KEYS[provider]})
    path, body = wire
    if provider == "gemini":
        path = google(path, stream=stream)
    elif stream:
        body = {**body, "stream": True}
    for searches in ((), ("Emden tides", "Emden tides today", "Emden tides")):
        platform.providers.reply(provider, Reply(searches=searches))
        answer = await ask(platform, user.token, path, body)
        assert answer.status_code == 200, answer.text
        assert "ownkey_searches" not in answer.text, "the answer is the provider's own"
    plain, searched = await events_of(platform, user)
    assert plain["streamed"] is stream and searched["outcome"] == "ok"
    assert plain["cost_microdollars"] is not None
    assert searched["cost_microdollars"] - plain["cost_microdollars"] == fee
    assert searched["cost_source"] == "computed"


async def test_a_budget_that_has_no_room_for_the_fees_refuses_the_call(platform: Platform) -> None:
    """Five searches cost five cents, an answer of a hundred tokens less than one."""
    await decide(platform, budgets={"per_user": {"day_microdollars": 1_000_000}})
    user = await platform.user()
    path, body = RESPONSES
    body = {**body, "model": "openai/gpt-4o-mini", "max_output_tokens": 100}
    few = await ask(platform, user.token, path, {**body, "max_tool_calls": 5})
    assert few.status_code == 200, few.text
    left = int(few.headers["ratelimit"].partition("r=")[2].partition(";")[0])
    assert 900_000 < left < 950_000
    many = await ask(platform, user.token, path, {**body, "max_tool_calls": 100})
    assert (many.status_code, many.json()["error"]["code"]) == (429, "request_over_budget")
