"""Usage is what the provider says it is, in every dialect on either side and however an answer ends."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
import pytest

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens, TokensSource, UsageEvent
from ownkey.storage.usage import list_events
from ownkey.testing import Call, LedgerEntry, Reply
from tests.gateway.conftest import Platform, User
from tests.gateway.test_dialect_matrix import CHAT, CLAUDE, DIALECTS, GEMINI, MODELS, PROVIDERS, RESPONSES

COUNTED: Final[dict[str, Any]] = {
    "input_uncached": 21,
    "cache_read": 8,
    "output_text": 13,
    "output_reasoning": 5,
    "thinking": "Let me see.",
}
ENDINGS: Final = {
    "normal": Reply(text="High water is at noon.", **COUNTED),
    "length": Reply(text="High water", finish="length", **COUNTED),
    "tool": Reply(text=None, calls=(Call(name="tide", arguments={"port": "Emden"}),), **COUNTED),
    "refusal": Reply(text=None, refusal="I will not.", **COUNTED),
    "filter": Reply(text="I was about to", finish="refusal", **COUNTED),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
async def test_an_answer_that_ends(
    platform: Platform, client: Dialect, provider: Dialect, ending: str, stream: bool
) -> None:
    user = await customer(platform, provider)
    platform.providers.reply(PROVIDERS[provider], ENDINGS[ending])
    path, body = question(client, f"{PROVIDERS[provider]}/{MODELS[provider]}", stream)
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as http:
        answer = await http.post(path, json=body, headers={"authorization": f"Bearer {user.token}"})
    assert answer.status_code == 200, answer.text
    event = await the_event(platform, user)
    assert event.outcome is Outcome.OK
    assert event.tokens == tokens_of(the_entry(platform), provider)
    assert event.tokens == Tokens(input_uncached=21, cache_read=8, output_text=13, output_reasoning=5)


@pytest.mark.parametrize("fault", ["stream_cut", "stream_truncated", "stream_error"])
@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
async def test_a_stream_that_the_provider_breaks_off(
    platform: Platform, client: Dialect, provider: Dialect, fault: Any
) -> None:
    user = await customer(platform, provider)
    platform.providers.reply(
        PROVIDERS[provider], Reply(text="A tide " * 40, pieces=20, input_uncached=21, cache_read=8)
    )
    # After the first content has left, so that nobody else takes over.
    platform.providers.pace(PROVIDERS[provider], 0.02)
    platform.providers.break_provider(PROVIDERS[provider], fault, after_events=9)
    path, body = question(client, f"{PROVIDERS[provider]}/{MODELS[provider]}", stream=True)
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as http:
        answer = await http.post(path, json=body, headers={"authorization": f"Bearer {user.token}"})
    assert answer.status_code == 200
    assert error_in(client, answer.content), answer.text
    event = await the_event(platform, user)
    assert event.outcome is not Outcome.OK
    assert is_no_less(event, tokens_of(the_entry(platform), provider))


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
async def test_a_client_that_leaves(platform: Platform, client: Dialect, provider: Dialect) -> None:
    user = await customer(platform, provider)
    platform.providers.reply(
        PROVIDERS[provider], Reply(text="A tide " * 40, pieces=20, input_uncached=21, cache_read=8)
    )
    platform.providers.break_provider(PROVIDERS[provider], "stream_hold", after_events=9)
    path, body = question(client, f"{PROVIDERS[provider]}/{MODELS[provider]}", stream=True)
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as http:
        headers = {"authorization": f"Bearer {user.token}"}
        async with http.stream("POST", path, json=body, headers=headers) as answer:
            async for _ in answer.aiter_bytes():
                break
    # The rest is made for nobody, and read for the sake of the usage at its end.
    drains = platform.ok.core.completion.drains
    async with asyncio.timeout(10):
        while not len(drains):
            await asyncio.sleep(0)
        platform.providers.release()
        while len(drains):
            await asyncio.sleep(0)
    assert the_entry(platform).outcome == "finished"
    event = await the_event(platform, user)
    assert event.outcome is Outcome.CLIENT_GONE
    assert event.tokens_source is TokensSource.REPORTED
    assert event.tokens == tokens_of(the_entry(platform), provider)


@pytest.mark.parametrize("provider", DIALECTS)
async def test_an_error_after_a_status_of_success(platform: Platform, provider: Dialect) -> None:
    user = await customer(platform, provider)
    platform.providers.break_provider(PROVIDERS[provider], "bad_request", status=200)
    path, body = question(CHAT, f"{PROVIDERS[provider]}/{MODELS[provider]}", stream=False)
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20) as http:
        headers = {"authorization": f"Bearer {user.token}", "x-ownkey-fallback": "off"}
        answer = await http.post(path, json=body, headers=headers)
    assert answer.status_code >= 400
    event = await the_event(platform, user)
    assert event.outcome not in (Outcome.OK, Outcome.INTERNAL)
    assert event.tokens is None


async def customer(platform: Platform, provider: Dialect) -> User:
    return await platform.user(**{PROVIDERS[provider]: "key-of-this-user-0001"})


async def the_event(platform: Platform, user: User) -> UsageEvent:
    await platform.ok.core.metering.flush()
    async with platform.ok.database.transaction(user.id) as tx:
        start, end = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        [event] = await list_events(tx, start=start, end=end)
    return event


def is_no_less(event: UsageEvent, reported: Tokens | None) -> bool:
    """Of a broken stream the report is not all: what is known is kept, what is missing is estimated and marked."""
    tokens = event.tokens
    if tokens is None or event.tokens_source is not TokensSource.ESTIMATED:
        return False
    if reported is None:
        return tokens.input_total > 0 and tokens.output_total > 0
    known = (reported.input_uncached, reported.cache_read, reported.cache_write)
    kept = (tokens.input_uncached, tokens.cache_read, tokens.cache_write) == known
    return kept and tokens.output_total >= reported.output_total


def the_entry(platform: Platform) -> LedgerEntry:
    [entry] = platform.providers.ledger()
    return entry


def question(dialect: Dialect, model: str, stream: bool) -> tuple[str, dict[str, Any]]:
    """A path and a body that ask something."""
    text = "When is high water?"
    if dialect is GEMINI:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{method}", {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    messages = {"messages": [{"role": "user", "content": text}]}
    bodies: dict[Dialect, tuple[str, dict[str, Any]]] = {
        CHAT: ("/v1/chat/completions", messages),
        RESPONSES: ("/v1/responses", {"input": text}),
        CLAUDE: ("/v1/messages", {**messages, "max_tokens": 300}),
    }
    path, body = bodies[dialect]
    return path, {**body, "model": model, "stream": stream}


def tokens_of(entry: LedgerEntry, provider: Dialect) -> Tokens | None:
    """The counters as the provider itself means them, by its documentation and not by our reading of it."""
    told = entry.usage
    if told is None:
        return None
    if provider is CHAT:
        cached, reasoning = told["prompt_tokens_details"]["cached_tokens"], told["completion_tokens_details"]
        thought = reasoning["reasoning_tokens"]
        return counted(told["prompt_tokens"] - cached, cached, told["completion_tokens"] - thought, thought)
    if provider is RESPONSES:
        cached, thought = (
            told["input_tokens_details"]["cached_tokens"],
            told["output_tokens_details"]["reasoning_tokens"],
        )
        return counted(told["input_tokens"] - cached, cached, told["output_tokens"] - thought, thought)
    if provider is CLAUDE:
        thought = told.get("output_tokens_details", {}).get("thinking_tokens", 0)
        return counted(told["input_tokens"], told["cache_read_input_tokens"], told["output_tokens"] - thought, thought)
    cached = told.get("cachedContentTokenCount", 0)
    # Thoughts are billed as output and are not among the candidates' tokens.
    return counted(
        told["promptTokenCount"] - cached,
        cached,
        told.get("candidatesTokenCount", 0),
        told.get("thoughtsTokenCount", 0),
    )


def counted(uncached: int, cached: int, text: int, reasoning: int) -> Tokens:
    return Tokens(input_uncached=uncached, cache_read=cached, output_text=text, output_reasoning=reasoning)


def error_in(client: Dialect, body: bytes) -> bool:
    """Whether the last event is the client's own kind of error, and no proper end follows."""
    last = json.loads(body.rstrip().rsplit(b"data: ", 1)[1])
    if client is RESPONSES:
        return last.get("type") in ("error", "response.failed")
    if client is CLAUDE:
        return bool(last.get("type") == "error" and last["error"]["message"])
    return bool(last["error"]["message"])
