"""Providers that lie, repeat keys, stay broken for a while, or answer too late."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import openai
import pytest

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.routing import RouteRequest
from ownkey.domain.usage import Outcome
from ownkey.http.in_process import InProcessTransport
from ownkey.providers.adapters import get_outbound
from tests.gateway.conftest import Platform, User

HELLO: list[Any] = [{"role": "user", "content": "hi"}]


async def ask(user: User, **fields: Any) -> Any:
    return await user.client.chat.completions.with_raw_response.create(**{"model": "auto", "messages": HELLO, **fields})


async def test_a_healed_provider_is_not_starved_by_who_never_calls_it(platform: Platform) -> None:
    """OpenAI stands at the end of everybody's chain: being listed must not use up the one try it is given."""
    openai_only = await platform.user(openai="sk-only-0000000000000001")
    groq_first = await platform.user(groq="gsk_first_000000000000001")
    url = platform.ok.core.catalog["openai"].base_url
    board = platform.ok.core.router.health
    for _ in range(5):
        board.note_failure(url, "x", Failure(outcome=Outcome.OVERLOADED, message=""))
    until = board.find_down_until(url)
    assert until is not None
    async with asyncio.timeout((until - datetime.now(UTC) + timedelta(seconds=5)).total_seconds()):
        while board.find_down_until(url) is not None:
            await ask(groq_first)
    for _ in range(3):
        await ask(groq_first)
        await platform.ok.settings.preview_route(groq_first.id, RouteRequest(model="auto"))
    assert (await ask(openai_only)).headers["x-ownkey-provider"] == "openai"


async def test_a_late_refusal_of_an_old_key_does_not_touch_the_new_one(platform: Platform) -> None:
    user = await platform.user(groq="gsk_old_00000000000000001")
    await platform.ok.settings.update_settings(user.id, payer="own_only")
    [credential] = await platform.ok.settings.list_credentials(user.id)
    platform.providers.break_provider("groq", "hold", times=1)
    late = asyncio.create_task(ask(user))
    await asyncio.to_thread(platform.providers.wait_for_requests, 1)
    await platform.ok.settings.replace_credential(user.id, credential.id, "gsk_new_00000000000000001")
    platform.providers.accept_keys("groq", "gsk_new_00000000000000001")
    platform.providers.release("groq")
    await asyncio.gather(late, return_exceptions=True)
    await platform.ok.core.credential_health.flush()
    assert (await ask(user)).headers["x-ownkey-credential"] == "own"
    [credential] = await platform.ok.settings.list_credentials(user.id)
    assert credential.status != "invalid"


async def test_a_refused_stream_never_repeats_the_key(platform: Platform) -> None:
    key = "a-very-secret-key-without-any-prefix-0001"
    user = await platform.user(groq=key)
    platform.providers.break_provider("groq", "echo_key")
    platform.providers.break_provider("openai", "unavailable")
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(user, stream=True, extra_headers={"X-Ownkey-Fallback": "off"})
    assert key not in caught.value.response.text


async def test_what_no_provider_can_carry_is_the_callers_mistake(platform: Platform) -> None:
    user = await platform.user(anthropic="sk-ant-carry-00000000001")
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(user, n=3, extra_headers={"X-Ownkey-Fallback": "off"})
    assert caught.value.status_code == 400
    assert "n" in caught.value.message
    assert platform.providers.ledger() == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":"x"}],"z":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"messages":[{"role":"user","content":"x"}],"reasoning_effort":[]}',
        b'{"messages":[{"role":"user","content":"x"}],"user":"\xff"}',
        b'{"messages":[{"role":"user","content":"x"}],"seed":1e999}',
        b'{"messages":[{"role":7}]}',
    ],
)
@pytest.mark.parametrize("provider", ["groq", "anthropic"])
async def test_wrong_input_is_never_our_fault(platform: Platform, body: bytes, provider: str) -> None:
    user = await platform.user(**{provider: f"key-{provider}-00000000001"})
    async with httpx2.AsyncClient(base_url=platform.url) as client:
        answer = await client.post(
            "/v1/chat/completions", headers={"Authorization": f"Bearer {user.token}"}, content=body
        )
    assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/nothing"])
async def test_an_unread_answer_in_process_can_be_closed(platform: Platform, path: str) -> None:
    user = await platform.user(groq="gsk_unread_00000000000001")
    transport = InProcessTransport(platform.ok.asgi().gateway, user_id=user.id)
    for stream in (False, True):
        request = httpx2.Request(
            "POST", f"http://x{path}", content=json.dumps({"model": "auto", "messages": HELLO, "stream": stream})
        )
        answer = await transport.handle_async_request(request)
        await asyncio.wait_for(answer.stream.aclose(), 5)  # type: ignore[union-attr]


async def test_a_stream_that_breaks_in_process_does_not_look_complete(platform: Platform) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: half\n\n", "more_body": True})
        raise RuntimeError("broke")

    answer = await InProcessTransport(broken, user_id="u").handle_async_request(
        httpx2.Request("POST", "http://x/", content=b"{}")
    )
    with pytest.raises(httpx2.ReadError):
        _ = [chunk async for chunk in answer.stream]  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fault_of_ours_in_reading_one_answer_does_not_keep_the_next_from_answering(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """No answer is known that a reader stumbles over; so one is made to."""

    def stumble(*_: Any) -> Any:
        raise KeyError("a fault of ours")

    user = await platform.user(anthropic="sk-ant-stumble-000000001", groq="gsk_stumble_0000000000001")
    outbound = get_outbound(Dialect.ANTHROPIC_MESSAGES)
    monkeypatch.setattr(type(outbound), "read_answer", stumble)
    monkeypatch.setattr(type(outbound), "stream_reader", stumble)
    answer = await ask(user, stream=stream)
    assert answer.headers["x-ownkey-provider"] == "groq"
