"""Conversations that Anthropic stores (`thread`): passed on to Anthropic, and never half of one to anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from ownkey.testing import Call, Reply
from tests.gateway.conftest import Platform, User
from tests.gateway.speaking_clients import anthropic_client
from tests.gateway.test_dialect_matrix import gateway

NEXT = {"type": "continue", "previous_message_id": "msg_01"}


@pytest.fixture
async def user(platform: Platform) -> User:
    return await platform.user(anthropic="sk-ant-threads-0000000001", gemini="AIza-threads-000000000001")


@pytest.fixture
async def client(platform: Platform, user: User) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"x-api-key": user.token, "anthropic-version": "2023-06-01"}
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20, headers=headers) as made:
        yield made


def body(model: str, thread: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": "And low water?"}]
    return {"model": model, "max_tokens": 100, "messages": messages, "thread": thread}


async def test_anthropic_gets_it_as_it_is(platform: Platform, client: httpx2.AsyncClient) -> None:
    platform.providers.reply("anthropic", Reply())
    answer = await client.post("/v1/messages", json=body("anthropic/claude-sonnet-5-5", NEXT))
    assert answer.status_code == 200
    [seen] = platform.providers.ledger()
    assert seen.body["thread"] == NEXT


@pytest.mark.parametrize("thread", [{"type": "create"}, NEXT])
async def test_another_provider_is_not_asked_for_what_anthropic_stores(
    platform: Platform, client: httpx2.AsyncClient, thread: dict[str, Any]
) -> None:
    """Nor is Anthropic asked in its place: the client says all of it to the model that it has chosen."""
    answer = await client.post("/v1/messages", json=body("gemini/gemini-3.8-flash", thread))
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (
        400,
        "invalid_request_error",
        "thread_unsupported_request",
    )
    assert error["details"] == {"error_code": "thread_unsupported_request"}
    assert platform.providers.ledger() == []


async def test_half_a_conversation_does_not_fall_to_the_next_provider(
    platform: Platform, client: httpx2.AsyncClient
) -> None:
    platform.providers.break_provider("anthropic", "unavailable")
    answer = await client.post("/v1/messages", json=body("anthropic/claude-sonnet-5-5", NEXT))
    assert answer.json()["error"]["code"] == "thread_unsupported_request"
    assert {entry.provider for entry in platform.providers.ledger()} == {"anthropic"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_anthropics_library_goes_on_by_itself(platform: Platform, user: User, stream: bool) -> None:
    """Its tool runner asks for a thread unless told not to."""
    tide = {"name": "tide", "description": "The tide", "input_schema": {"type": "object", "properties": {}}}
    platform.providers.reply("gemini", Reply(text=None, calls=(Call(name="tide"),)))
    platform.providers.reply("gemini", Reply(text="At noon."))
    async with anthropic_client(gateway(platform, user.token)) as library:
        thread = library.beta.messages.thread(
            model="gemini/gemini-3.8-flash",
            max_tokens=100,
            tools=[tide],  # type: ignore[list-item]
            unsupported_request_behavior="continue_unthreaded",
        )
        for words in ("When is high water?", "Thank you."):
            thread.append({"role": "user", "content": words})
            if stream:
                async with thread.stream() as answer:
                    said = await answer.get_final_message()
            else:
                said = await thread.send()
    assert said.content[0].type == "text" and said.content[0].text == "At noon."
    first, second = platform.providers.ledger()
    assert (first.provider, second.provider) == ("gemini", "gemini")
    assert len(first.body["contents"]) < len(second.body["contents"]) and "When is high water?" in str(second.body)
