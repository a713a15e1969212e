"""Wire formats by somebody else's hand: the official clients read what we write, and a mock of the providers
writes what we read."""

from __future__ import annotations

import json
from typing import Any

import anthropic.types.message_create_params as message_params
import httpx2
import openai
import pytest
from llmock.chaos import ChaosSettings
from llmock.main import create_app
from llmock.simulation import MockResponseSettings
from msgspec.structs import replace
from openai.types.chat import ChatCompletion
from pydantic import TypeAdapter
from stream_reading import decode, decoder_for, sample

from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.usage import Outcome
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call

CATALOG = load_catalog()
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
MOCKED = {
    "openai": "/v1",
    "groq": "/groq/openai/v1",
    "mistral": "/mistral/v1",
    "xai": "/xai/v1",
    "together": "/together/v1",
    "anthropic": "/anthropic/v1",
}


def official_client(answer: bytes, content_type: str) -> openai.AsyncOpenAI:
    """OpenAI's own client, whose every request gets this answer."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=answer)

    transport = httpx2.MockTransport(respond)
    return openai.AsyncOpenAI(api_key="sk-none", http_client=httpx2.AsyncClient(transport=transport))


async def read_stream(output: bytes) -> list[Any]:
    client = official_client(output, "text/event-stream")
    async with client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True
        )
        return [chunk async for chunk in stream]


@pytest.mark.parametrize("name", ["openai", "crlf", "gemini", "deepseek", "openrouter", "no_done", "anthropic"])
async def test_openais_client_reads_our_streams(name: str) -> None:
    read = await read_stream(decode(decoder_for(name, wants_usage=True), [sample(name)]))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in read if chunk.choices).startswith("H")
    assert [choice.finish_reason for chunk in read for choice in chunk.choices if choice.finish_reason] in (
        ["stop"],
        ["length"],
    )
    if name not in ("no_done", "openrouter", "gemini", "deepseek"):
        assert read[-1].usage.completion_tokens == 10
        assert read[-1].usage.prompt_tokens_details.cached_tokens == 4


@pytest.mark.parametrize("name", ["openai_tools", "anthropic_tools"])
async def test_openais_client_puts_tool_calls_together(name: str) -> None:
    read = await read_stream(decode(decoder_for(name), [sample(name)]))
    arguments: dict[int, str] = {}
    for chunk in read:
        for call in chunk.choices[0].delta.tool_calls or ():
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")

    assert json.loads(arguments[0]) == {"city": "Paris"}
    assert all(json.loads(text) is not None for text in arguments.values())
    assert read[-1].choices[0].finish_reason == "tool_calls"


def test_openais_types_take_claudes_answer() -> None:
    body = {
        "id": "msg_1",
        "type": "message",
        "model": "claude-sonnet-5-5",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t", "name": "get_weather", "input": {"city": "Paris"}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "output_tokens": 7},
    }
    call = Call(operation="chat", body=b'{"messages":[{"role":"user","content":"hi"}]}', model="m")
    decoded = get_adapter(Dialect.OPENAI_CHAT, CATALOG["anthropic"].dialect).decode(json.dumps(body).encode(), call)

    completion = ChatCompletion.model_validate_json(decoded.body, strict=True)

    assert completion.choices[0].message.tool_calls
    assert completion.usage is not None
    assert completion.usage.total_tokens == 12


def test_anthropics_types_take_our_request() -> None:
    call_id = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    body = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, image("https://x.test/a.png"), image(PNG)]},
            {"role": "assistant", "tool_calls": [call_id]},
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
        ],
        "tools": [TOOL],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "stop": ["END"],
        "user": "u",
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "max_completion_tokens": 100,
        "stream": True,
    }
    request = get_adapter(Dialect.OPENAI_CHAT, CATALOG["anthropic"].dialect).encode(
        CATALOG["anthropic"],
        "https://x.test",
        Call(operation="chat", body=json.dumps(body).encode(), model="claude-opus-5-5", stream=True),
    )
    made = json.loads(request.body)
    types = TypeAdapter(message_params.MessageCreateParamsStreaming)

    accepted = types.validate_python(made)

    assert set(made) <= set(message_params.MessageCreateParamsStreaming.__annotations__) | set(
        message_params.MessageCreateParamsBase.__annotations__
    )
    assert accepted["stream"] is True


PNG = "data:image/png;base64,iVBORw0KGgo="


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def mock_provider(name: str) -> Provider:
    return replace(CATALOG[name], base_url=f"http://mock{MOCKED[name]}", local=True)


async def post(provider: Provider, call: Call, **settings: Any) -> httpx2.Response:
    """Send our request to the mock of a provider."""
    request = get_adapter(Dialect.OPENAI_CHAT, provider.dialect).encode(provider, provider.base_url, call)
    headers = dict(request.headers)
    if request.auth_header is not None:
        headers[request.auth_header[0]] = request.auth_header[1] + "sk-some-key"
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(create_app(**settings))) as client:
        return await client.post(request.url, content=request.body, headers=headers)


def chat(*, stream: bool, **fields: Any) -> Call:
    body = {"messages": [{"role": "user", "content": "What is the weather?"}], "max_tokens": 500, **fields}
    if stream:
        body["stream"] = True
    return Call(operation="chat", body=json.dumps(body).encode(), model="claude-sonnet-4-6", stream=stream)


@pytest.mark.parametrize("name", MOCKED)
async def test_a_mocked_providers_answer_is_read(name: str) -> None:
    provider, call = mock_provider(name), chat(stream=False)
    response = await post(provider, call, responses=MockResponseSettings(response_style="hello"))
    assert response.status_code == 200, response.text

    decoded = get_adapter(Dialect.OPENAI_CHAT, provider.dialect).decode(response.content, call)
    async with official_client(decoded.body, "application/json") as client:
        completion = await client.chat.completions.create(model="m", messages=[])

    assert "Hello!" in (completion.choices[0].message.content or "")
    assert decoded.finish_reason == ("eos" if name == "together" else "stop")
    assert decoded.tokens is not None
    assert decoded.tokens.input_uncached > 0
    assert decoded.tokens.output_text > 0


@pytest.mark.parametrize("name", MOCKED)
async def test_a_mocked_providers_stream_is_read(name: str) -> None:
    provider, call = mock_provider(name), chat(stream=True)
    response = await post(provider, call, responses=MockResponseSettings(response_style="hello"))
    assert response.status_code == 200, response.text
    decoder = get_adapter(Dialect.OPENAI_CHAT, provider.dialect).stream_decoder(provider, call)

    output = decode(decoder, [response.content])
    read = await read_stream(output)

    assert decoder.complete
    assert decoder.failure is None
    if name != "mistral":  # the mock reports usage on request only; Mistral refuses the request and reports it anyway
        assert decoder.tokens is not None
        assert decoder.tokens.output_text > 0
    assert "Hello!" in "".join(chunk.choices[0].delta.content or "" for chunk in read if chunk.choices)


@pytest.mark.parametrize("name", MOCKED)
@pytest.mark.parametrize(
    ("status", "outcomes"),
    [
        (401, {Outcome.AUTH_INVALID}),
        (403, {Outcome.AUTH_SCOPE}),
        (404, {Outcome.MODEL_UNAVAILABLE}),
        (429, {Outcome.RATE_LIMITED}),
        (500, {Outcome.OVERLOADED}),
        (503, {Outcome.OVERLOADED}),
    ],
)
async def test_a_mocked_providers_errors_are_read(name: str, status: int, outcomes: set[Outcome]) -> None:
    provider = mock_provider(name)
    response = await post(provider, chat(stream=False), chaos=ChaosSettings(error_rates={status: 1.0}))
    assert response.status_code == status

    failure = get_adapter(Dialect.OPENAI_CHAT, provider.dialect).read_failure(
        status, dict(response.headers), response.content
    )

    assert failure.outcome in outcomes, response.text
    assert failure.message
