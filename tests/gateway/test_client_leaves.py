"""A client leaves in the middle: it is noticed at once, and its usage is recorded all the same, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ownkey import Config, Ownkey
from ownkey.services.drains import Drains
from ownkey.testing import SimulatedProviders
from tests.gateway.conftest import SHARED, Platform, User

BODY = {"model": "auto", "messages": [{"role": "user", "content": "Tell me of the sea, and take your time."}]}


class Visitor:
    """One request straight into the ASGI application, by somebody who may leave at any moment."""

    def __init__(self, ok: Ownkey, token: str, **fields: Any) -> None:
        body = msgspec.json.encode(BODY | fields)
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self.parts: asyncio.Queue[bytes] = asyncio.Queue()
        scope = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions",
            "query_string": b"", "headers": [(b"authorization", f"Bearer {token}".encode())], "client": ("::1", 1),
            "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("x", 80),
        }  # fmt: skip
        self.served = asyncio.create_task(ok.asgi()(scope, self._messages.get, self._send))

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.parts.put_nowait(message.get("body", b""))

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})


@pytest.fixture
async def user(platform: Platform) -> User:
    """Somebody whose first key is one for Groq."""
    return await platform.user(groq="gsk_leaves_0000000000001")


@pytest.fixture
async def bounded(platform: Platform) -> AsyncIterator[Callable[..., Drains]]:
    """Lets a test say within which bounds calls are read on."""
    completion = platform.ok.core.completion
    ordinary, made = completion.drains, []

    def bound(*, limit: int = 100, seconds: float = 30, max_bytes: int = 1024 * 1024) -> Drains:
        completion.drains = Drains(limit=limit, seconds=seconds, max_bytes=max_bytes)
        made.append(completion.drains)
        return completion.drains

    yield bound
    completion.drains = ordinary
    for drains in made:
        await drains.close()


async def events_of(ok: Ownkey, user_id: str) -> list[dict[str, Any]]:
    """What is on the books, in the order in which it happened."""
    await ok.core.metering.flush()
    async with ok.database.transaction(user_id) as tx:
        return [dict(row) for row in await tx.fetch("select * from ownkey.usage_events order by occurred_at, attempt")]


async def until(condition: Any) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def let_go(providers: SimulatedProviders, provider: str = "groq", held: int = 1) -> None:
    """Once so many requests are held there, let them go on."""
    async with asyncio.timeout(10):
        while held > 0:
            held -= providers.release(provider)
            await asyncio.sleep(0.005)


def counters(event: dict[str, Any]) -> tuple[int, int]:
    return (
        event["input_uncached"] + event["cache_read"] + event["cache_write"],
        event["output_text"] + event["output_reasoning"],
    )


async def test_a_stream_is_read_on_to_its_usage(platform: Platform, user: User) -> None:
    platform.providers.break_provider("groq", "stream_hold", after_events=3)
    platform.providers.set_usage("groq", prompt_tokens=1000, completion_tokens=50, total_tokens=1050)
    visitor = Visitor(platform.ok, user.token, stream=True)
    assert b"data:" in await asyncio.wait_for(visitor.parts.get(), 5)
    visitor.leave()
    # It is noticed at once, while the provider has not said another word.
    await asyncio.wait_for(visitor.served, 2)
    drains = platform.ok.core.completion.drains
    assert len(drains) == 1 and await events_of(platform.ok, user.id) == []
    await let_go(platform.providers)
    await until(lambda: not len(drains))
    [event] = await events_of(platform.ok, user.id)
    [seen] = platform.providers.ledger()
    assert (seen.outcome, (seen.usage or {})["prompt_tokens"]) == ("finished", 1000)
    assert (event["outcome"], event["tokens_source"], counters(event)) == ("client_gone", "reported", (1000, 50))
    assert event["cost_source"] == "computed" and event["cost_microdollars"] > 0
    assert event["finish_reason"] == "stop"


@pytest.mark.parametrize("provider", ["groq", "mistral", "anthropic"])
async def test_it_is_so_in_every_form_of_stream(platform: Platform, provider: str) -> None:
    user = await platform.user(**{provider: f"key-{provider}-leaves-000001"})
    platform.providers.break_provider(provider, "stream_hold", after_events=6)
    visitor = Visitor(platform.ok, user.token, stream=True)
    await asyncio.wait_for(visitor.parts.get(), 5)
    visitor.leave()
    await asyncio.wait_for(visitor.served, 2)
    await let_go(platform.providers, provider)
    await until(lambda: not len(platform.ok.core.completion.drains))
    [event] = await events_of(platform.ok, user.id)
    [seen] = platform.providers.ledger(provider)
    assert seen.usage is not None
    names = ("input_tokens", "output_tokens") if provider == "anthropic" else ("prompt_tokens", "completion_tokens")
    assert counters(event) == tuple(seen.usage[name] for name in names)
    assert (event["outcome"], event["tokens_source"]) == ("client_gone", "reported")


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_has_not_begun_is_read_on_too(platform: Platform, user: User, stream: bool) -> None:
    platform.providers.break_provider("groq", "hold")
    platform.providers.set_usage("groq", prompt_tokens=1000, completion_tokens=50, total_tokens=1050)
    visitor = Visitor(platform.ok, user.token, stream=stream)
    drains = platform.ok.core.completion.drains
    await until(platform.providers.ledger)
    visitor.leave()
    await until(lambda: len(drains) == 1)
    await let_go(platform.providers)
    await asyncio.wait_for(visitor.served, 5)
    assert not len(drains)
    [event] = await events_of(platform.ok, user.id)
    assert (event["outcome"], event["tokens_source"], counters(event)) == ("client_gone", "reported", (1000, 50))
    assert visitor.parts.empty()


async def test_nobody_is_asked_instead_for_somebody_who_has_left(platform: Platform, user: User) -> None:
    """The chain ends with its client: the operator's key is not spent on it."""
    platform.providers.break_provider("groq", "hold", times=1)
    platform.providers.break_provider("groq", "unavailable")
    platform.providers.break_provider("groq", "hold")
    visitor = Visitor(platform.ok, user.token)
    drains = platform.ok.core.completion.drains
    await until(platform.providers.ledger)
    visitor.leave()
    await until(lambda: len(drains) == 1)
    await let_go(platform.providers)
    await asyncio.wait_for(visitor.served, 5)
    assert not len(drains)
    assert len(platform.providers.ledger()) == 1 == len(await events_of(platform.ok, user.id))


async def test_what_does_not_end_in_time_is_cut_and_estimated(
    platform: Platform, user: User, bounded: Callable[..., Drains]
) -> None:
    drains = bounded(seconds=0.3)
    platform.providers.break_provider("groq", "stream_hold", after_events=6)
    visitor = Visitor(platform.ok, user.token, stream=True)
    said = b""
    while said.count(b'"content":"') < 4:
        said += await asyncio.wait_for(visitor.parts.get(), 5)
    visitor.leave()
    await asyncio.wait_for(visitor.served, 2)
    await until(lambda: not len(drains))
    assert await asyncio.to_thread(platform.providers.wait_until_idle)
    assert platform.providers.ledger()[0].outcome == "client_left"
    [event] = await events_of(platform.ok, user.id)
    assert event["outcome"] == "client_gone"
    assert (event["tokens_source"], event["cost_source"]) == ("estimated", "estimated")
    taken, given = counters(event)
    assert taken == len(msgspec.json.encode(BODY | {"stream": True})) // 4
    spoken = sum(len(one.split(b'"')[0]) for one in said.split(b'"content":"')[1:])
    assert 1 <= given <= spoken
    usage = await platform.ok.usage.query(user.id)
    assert (usage.total.estimated_requests, usage.total.errors) == (1, 0)
    # The provider is not to blame, and the next request goes there.
    platform.providers.fix("groq")
    await asyncio.wait_for(Visitor(platform.ok, user.token).served, 5)
    assert [one.provider for one in platform.providers.ledger()] == ["groq", "groq"]


async def test_what_is_too_long_to_be_read_for_nobody_is_estimated(
    platform: Platform, user: User, bounded: Callable[..., Drains]
) -> None:
    drains = bounded(max_bytes=100)
    platform.providers.break_provider("groq", "stream_hold", after_events=3)
    visitor = Visitor(platform.ok, user.token, stream=True)
    await asyncio.wait_for(visitor.parts.get(), 5)
    visitor.leave()
    await asyncio.wait_for(visitor.served, 2)
    await until(lambda: platform.providers.release("groq") >= 0 and not len(drains))
    [event] = await events_of(platform.ok, user.id)
    assert (event["outcome"], event["tokens_source"]) == ("client_gone", "estimated")
    base_url = platform.ok.core.catalog["groq"].base_url
    assert platform.ok.core.router.health.provider_down_until(base_url) is None


async def test_no_more_than_so_many_are_read_on(platform: Platform, user: User, bounded: Callable[..., Drains]) -> None:
    drains = bounded(limit=2)
    platform.providers.break_provider("groq", "stream_hold", after_events=3)
    visitors = [Visitor(platform.ok, user.token, stream=True) for _ in range(5)]
    for visitor in visitors:
        await asyncio.wait_for(visitor.parts.get(), 5)
        visitor.leave()
    await asyncio.gather(*(asyncio.wait_for(visitor.served, 2) for visitor in visitors))
    assert len(drains) == 2
    assert [one["tokens_source"] for one in await events_of(platform.ok, user.id)] == ["estimated"] * 3
    await let_go(platform.providers, held=2)
    await until(lambda: not len(drains))
    events = await events_of(platform.ok, user.id)
    assert sorted(one["tokens_source"] for one in events) == ["estimated"] * 3 + ["reported"] * 2
    assert len({one["id"] for one in events}) == 5 == len(platform.providers.ledger())


@pytest.mark.parametrize("bounds", [{"limit": 0}, {"seconds": 0}, {"max_bytes": 0}])
@pytest.mark.parametrize("stream", [True, False])
async def test_where_nothing_is_read_on_it_is_cut_at_once(
    platform: Platform, user: User, bounded: Callable[..., Drains], bounds: dict[str, int], stream: bool
) -> None:
    drains = bounded(**bounds)
    platform.providers.break_provider("groq", "hold")
    visitor = Visitor(platform.ok, user.token, stream=stream)
    await until(platform.providers.ledger)
    visitor.leave()
    await asyncio.wait_for(visitor.served, 2)
    assert await asyncio.to_thread(platform.providers.wait_until_idle, 5)
    assert platform.providers.ledger()[0].outcome == "client_left"
    await until(lambda: not len(drains))
    [event] = await events_of(platform.ok, user.id)
    assert (event["outcome"], event["tokens_source"], event["output_text"]) == ("client_gone", "estimated", 0)


async def test_at_the_end_of_the_server_everything_is_cut_and_on_the_books(
    private_dir: Path, providers: SimulatedProviders
) -> None:
    providers.break_provider("groq", "stream_hold", after_events=3, times=2)
    config = Config(data_dir=private_dir, catalog=providers.write_catalog(private_dir / "catalog.toml"))
    async with Ownkey.open(config, environ=SHARED) as ok:
        await ok.manager.load_user_settings("ann")
        await ok.settings.add_credential("ann", "groq", "gsk_leaves_0000000000001")
        token = (await ok.tokens.create("ann", "test")).text
        visitors = [Visitor(ok, token, stream=True) for _ in range(2)]
        for visitor in visitors:
            await asyncio.wait_for(visitor.parts.get(), 5)
        providers.break_provider("groq", "hold")
        visitors.append(Visitor(ok, token))
        await until(lambda: len(providers.ledger()) == 3)
        for visitor in visitors:
            visitor.leave()
        await until(lambda: len(ok.core.completion.drains) == 3)
    async with Ownkey.open(config, environ=SHARED) as ok:
        events = await events_of(ok, "ann")
    assert [(one["outcome"], one["tokens_source"]) for one in events] == [("client_gone", "estimated")] * 3
    assert all(one["cost_microdollars"] > 0 for one in events)


async def test_a_stream_that_breaks_is_estimated_from_what_came(platform: Platform, user: User) -> None:
    """It is the provider who left: nobody will ever say what it used."""
    platform.providers.break_provider("groq", "stream_cut", after_events=5)
    await asyncio.wait_for(Visitor(platform.ok, user.token, stream=True).served, 5)
    [event] = await events_of(platform.ok, user.id)
    assert (event["outcome"], event["tokens_source"]) == ("stream_broken", "estimated")
    assert min(counters(event)) > 0


async def test_what_anthropic_counted_before_its_stream_was_cut_is_kept(platform: Platform) -> None:
    """The input is counted first; of the answer, what came is estimated."""
    user = await platform.user(anthropic="sk-ant-leaves-00000000001")
    platform.providers.break_provider("anthropic", "stream_cut", after_events=8)
    platform.providers.set_usage("anthropic", input_tokens=4321, cache_read_input_tokens=7)
    await asyncio.wait_for(Visitor(platform.ok, user.token, stream=True).served, 5)
    [event] = await events_of(platform.ok, user.id)
    assert (event["input_uncached"], event["cache_read"], event["tokens_source"]) == (4321, 7, "estimated")
    assert event["output_text"] >= 1
