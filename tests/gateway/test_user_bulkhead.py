"""One user's trouble is that user's: a storm, a flood and a broken provider, counted at the providers."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ownkey import Config, Ownkey
from ownkey.errors import TooManyAtOnce
from ownkey.services.bulkhead import Bulkhead
from ownkey.testing import SimulatedProviders
from tests.gateway.conftest import SHARED, Platform, User, serve

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


async def ask(user: User, **fields: Any) -> Any:
    return await user.client.chat.completions.with_raw_response.create(model="auto", messages=HELLO, **fields)


@pytest.mark.parametrize("kind", ["bad_key", "no_permission", "rate_limited", "daily_quota", "no_credit"])
async def test_a_storm_of_refusals_for_one_user_opens_no_breaker_for_another(platform: Platform, kind: Any) -> None:
    stormy_key = f"gsk_stormy_{kind}_00000000001"
    stormy, calm = await platform.user(groq=stormy_key), await platform.user(groq=f"gsk_calm_{kind}_0000000000001")
    platform.providers.break_provider("groq", kind, key=stormy_key)

    async def storm() -> None:
        # Each request finds the key unblocked, as it is when somebody enters it anew again and again.
        for credential in await platform.ok.settings.list_credentials(stormy.id):
            platform.ok.core.router.health.forgive(credential.id)
        await ask(stormy)

    answers: list[Any] = []
    for _ in range(10):
        *_, answer = await asyncio.gather(storm(), storm(), storm(), ask(calm))
        answers.append(answer)
    assert {(one.headers["x-ownkey-provider"], one.headers["x-ownkey-credential"]) for one in answers} == {
        ("groq", "own")
    }
    assert {one.headers["x-ownkey-attempts"] for one in answers} == {"1"}
    groq = platform.ok.core.catalog["groq"].base_url
    assert platform.ok.core.router.health.find_down_until(groq) is None


@pytest.mark.parametrize("kind", ["unavailable", "server_error", "overloaded", "reset", "not_json"])
async def test_a_broken_provider_is_left_alone_after_ten_requests(platform: Platform, kind: Any) -> None:
    users = [await platform.user(mistral=f"mistral-{kind}-{n}-0000001", groq=f"gsk_{kind}_{n}_00001") for n in range(3)]
    platform.providers.break_provider("mistral", kind)
    try:
        served = [(await ask(users[number % 3])).headers["x-ownkey-provider"] for number in range(30)]
    finally:
        mistral = platform.ok.core.catalog["mistral"].base_url
        platform.ok.core.router.health.note_success(mistral, "nobody")
    calls = Counter(entry.provider for entry in platform.providers.ledger())
    assert set(served) == {"groq"}
    assert calls["groq"] == 30, "whoever is healthy sees each request once"
    assert calls["mistral"] <= 10


async def test_second_tries_add_a_fifth_at_most(platform: Platform) -> None:
    """Two hundred at once, so that no breaker spares the provider any of them."""
    keys = [(f"mistral-at-once-{n}-0000001", f"gsk_at_once_{n}_00000001") for n in range(4)]
    users = [await platform.user(mistral=mistral, groq=groq) for mistral, groq in keys]
    platform.providers.break_provider("mistral", "unavailable")
    try:
        answers = await asyncio.gather(*(ask(users[number % 4]) for number in range(200)))
    finally:
        mistral = platform.ok.core.catalog["mistral"].base_url
        platform.ok.core.router.health.note_success(mistral, "nobody")
    elsewhere = [answer.headers for answer in answers if answer.headers["x-ownkey-provider"] != "groq"]
    assert not elsewhere, [await log(platform, users) for _ in elsewhere[:1]]
    calls = Counter(entry.provider for entry in platform.providers.ledger())
    assert calls["mistral"] <= 1.2 * 200
    assert calls["groq"] == 200


async def log(platform: Platform, users: list[User]) -> list[object]:
    """What the request log says of those who fell through to a third provider."""
    await platform.ok.core.metering.flush()
    pages = [await platform.ok.core.request_log.list_requests(user.id) for user in users]
    return [request.attempts for page in pages for request in page if len(request.attempts) > 2]


async def test_a_user_with_too_much_at_once_waits_and_others_do_not(
    private_dir: Path, providers: SimulatedProviders
) -> None:
    config = Config(
        data_dir=private_dir, catalog=providers.write_catalog(private_dir / "catalog.toml"), user_concurrency=3
    )
    async with Ownkey.open(config, environ=SHARED) as ok, serve(ok.asgi()) as url:
        platform = Platform(ok, url, providers)
        busy_key = "gsk_busy_0000000000000001"
        busy, other = await platform.user(groq=busy_key), await platform.user(groq="gsk_other_000000000000001")
        providers.break_provider("groq", "hold", key=busy_key)
        async with httpx2.AsyncClient(base_url=url, timeout=30) as client:

            async def post(user: User, path: str = "/v1/chat/completions", **fields: Any) -> httpx2.Response:
                headers = {"Authorization": f"Bearer {user.token}"}
                body = {"model": "auto", "max_tokens": 9, "messages": HELLO, **fields}
                return await client.post(path, headers=headers, json=body)

            held = [asyncio.create_task(post(busy, stream=stream)) for stream in (False, True, False)]
            await asyncio.to_thread(providers.wait_for_requests, 3)
            for path, name in (("/v1/chat/completions", "rate_limit_error"), ("/v1/messages", "rate_limit_error")):
                refused = await post(busy, path)
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
                error = refused.json()["error"]
                assert (error["code"], error["type"]) == ("too_many_at_once", name)
            assert (await post(other)).status_code == 200
            assert [entry.key for entry in providers.ledger("groq")].count(busy_key) == 3
            waiting = asyncio.create_task(post(busy))
            while not ok.asgi().gateway.waiting:
                await asyncio.sleep(0)
            providers.fix("groq")
            assert {(await one).status_code for one in (*held, waiting)} == {200}


async def test_places_are_given_in_order_and_none_is_lost() -> None:
    bulkhead = Bulkhead(2, wait_seconds=5)
    order: list[int] = []
    running = peak = 0

    async def work(number: int) -> None:
        nonlocal running, peak
        if not bulkhead.enter("ada"):
            await bulkhead.wait("ada")
        running += 1
        peak = max(peak, running)
        order.append(number)
        await asyncio.sleep(0)
        running -= 1
        bulkhead.leave("ada")

    tasks = [asyncio.create_task(work(number)) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[5:20:5]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [number for number in range(20) if number < 5 or number % 5]
    assert peak == 2
    assert (bulkhead.enter("ada"), bulkhead.enter("ada"), bulkhead.enter("ada")) == (True, True, False)
    assert bulkhead.enter("bob")
    assert bulkhead.waiting == 0


async def test_who_waits_for_too_long_gives_its_place_up() -> None:
    bulkhead = Bulkhead(1, wait_seconds=0.01)
    assert bulkhead.enter("ada")
    for _ in range(2):
        with pytest.raises(TooManyAtOnce):
            await bulkhead.wait("ada")
    bulkhead.leave("ada")
    assert bulkhead.enter("ada")
    assert all(Bulkhead(0).enter("ada") for _ in range(10))
