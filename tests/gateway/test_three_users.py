"""The three users of the mission, through the official Python client and the official Node client."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.gateway.conftest import Platform, User

NODE = Path(__file__).parents[1] / "node"
HELLO: list[Any] = [{"role": "user", "content": "Say hello"}]
# One red pixel.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
WEATHER: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
GROQ, MISTRAL, CLAUDE, OPENAI = (
    "gsk_developer_0000000001",
    "mistral-developer-000000001",
    "sk-ant-developer-0000000001",
    "sk-business-000000000000001",
)


async def developer(platform: Platform) -> User:
    user = await platform.user(groq=GROQ, mistral=MISTRAL, anthropic=CLAUDE)
    for task, provider in (("coding", "groq"), ("research", "mistral"), ("writing", "anthropic")):
        await platform.ok.settings.put_task_override(user.id, task, provider)
    return user


async def business_user(platform: Platform) -> User:
    return await platform.user(openai=OPENAI)


async def power_user(platform: Platform) -> User:
    keys = {name: f"key-power-{name}-0001" for name in ("mistral", "groq", "openai", "anthropic", "gemini", "xai")}
    user = await platform.user(**keys)
    await platform.ok.settings.put_task_override(user.id, "coding", "xai", model="grok-special")
    await platform.ok.settings.put_task_override(user.id, "legal", "gemini")
    return user


@pytest.mark.parametrize(
    ("task", "provider", "key"),
    [("coding", "groq", GROQ), ("research", "mistral", MISTRAL), ("writing", "anthropic", CLAUDE)],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_developers_tasks_go_to_their_own_providers(
    platform: Platform, task: str, provider: str, key: str, stream: bool
) -> None:
    user = await developer(platform)
    text, headers = await say(user.client, f"task:{task}", stream=stream)
    assert text
    assert headers["x-ownkey-provider"] == provider
    assert headers["x-ownkey-credential"] == "own"
    assert headers["x-ownkey-attempts"] == "1"
    [seen] = platform.providers.ledger()
    assert (seen.provider, seen.key, seen.model) == (provider, key, headers["x-ownkey-model"])
    assert seen.stream is stream


async def test_a_developers_task_may_come_as_a_header(platform: Platform) -> None:
    user = await developer(platform)
    answer = await user.client.chat.completions.with_raw_response.create(
        model="auto", messages=HELLO, extra_headers={"X-Ownkey-Task": "research"}
    )
    assert answer.headers["x-ownkey-provider"] == "mistral"


async def test_a_developer_falls_back_to_the_next_provider_with_its_own_model(platform: Platform) -> None:
    user = await developer(platform)
    platform.providers.break_provider("groq", "unavailable")
    _, headers = await say(user.client, "task:coding")
    assert headers["x-ownkey-provider"] == "mistral"
    assert int(headers["x-ownkey-attempts"]) >= 2
    seen = platform.providers.ledger("mistral")
    assert [entry.key for entry in seen] == [MISTRAL]
    assert seen[0].model == platform.ok.core.catalog["mistral"].default_model("coding")


async def test_a_business_user_has_the_operators_key_behind_their_own(platform: Platform) -> None:
    user = await business_user(platform)
    for model in ("gpt-4o-mini", "auto", "task:coding", "task:writing"):
        _, headers = await say(user.client, model)
        assert (headers["x-ownkey-provider"], headers["x-ownkey-credential"]) == ("openai", "own")
    platform.providers.break_provider("openai", "bad_key", key=OPENAI)
    _, headers = await say(user.client, "gpt-4o-mini")
    assert (headers["x-ownkey-provider"], headers["x-ownkey-credential"]) == ("openai", "shared")
    assert [entry.key for entry in platform.providers.ledger("openai")][-2:] == [OPENAI, "sk-operator-openai-0001"]


async def test_a_power_users_priorities_and_tasks(platform: Platform) -> None:
    user = await power_user(platform)
    _, headers = await say(user.client, "auto")
    assert headers["x-ownkey-provider"] == "mistral"
    _, headers = await say(user.client, "task:coding")
    assert (headers["x-ownkey-provider"], headers["x-ownkey-model"]) == ("xai", "grok-special")
    _, headers = await say(user.client, "task:legal")
    assert headers["x-ownkey-provider"] == "gemini"
    _, headers = await say(user.client, "anthropic/claude-some-model")
    assert (headers["x-ownkey-provider"], headers["x-ownkey-model"]) == ("anthropic", "claude-some-model")
    assert all(entry.key == f"key-power-{entry.provider}-0001" for entry in platform.providers.ledger())


@pytest.mark.parametrize("model", ["task:coding", "task:writing"])
@pytest.mark.parametrize("stream", [False, True])
async def test_tools_and_images_reach_both_dialects(platform: Platform, model: str, stream: bool) -> None:
    user = await developer(platform)
    await platform.ok.settings.put_task_override(user.id, "coding", "groq", model="meta-llama/some-vision-model")
    messages: list[Any] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is the weather here?"},
                {"type": "image_url", "image_url": {"url": PICTURE}},
            ],
        }
    ]
    call = await first_tool_call(user.client, model, messages, stream=stream)
    assert call["name"] == "get_weather"
    assert "city" in json.loads(call["arguments"])
    [seen] = platform.providers.ledger()
    sent = json.dumps(seen.body)
    assert "iVBORw0KGgo" in sent and "get_weather" in sent
    messages += [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": call["arguments"]},
                }
            ],
        },
        {"role": "tool", "tool_call_id": call["id"], "content": "Sunny"},
    ]
    answer = await user.client.chat.completions.create(model=model, messages=messages, tools=WEATHER)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_node_client_is_served_alike(platform: Platform, stream: bool) -> None:
    assert shutil.which("node"), "Node 20 runs the official client"
    user = await developer(platform)
    script = (
        "import OpenAI from 'openai';"
        "const client = new OpenAI({baseURL: process.env.URL, apiKey: process.env.TOKEN, maxRetries: 0});"
        "const answers = [];"
        "for (const task of ['coding', 'research', 'writing']) {"
        "  const stream = process.env.STREAM === 'yes';"
        "  const {data, response} = await client.chat.completions.create({model: 'task:' + task, stream,"
        "    messages: [{role: 'user', content: 'Say hello'}]}).withResponse();"
        "  let text = '';"
        "  if (stream) { for await (const part of data) text += part.choices[0]?.delta?.content ?? ''; }"
        "  else text = data.choices[0].message.content;"
        "  answers.push([task, response.headers.get('x-ownkey-provider'), text.length > 0]);"
        "}"
        "console.log(JSON.stringify(answers));"
    )
    process = await asyncio.create_subprocess_exec(
        "node",
        "--input-type=module",
        "--eval",
        script,
        cwd=NODE,
        env={
            "URL": f"{platform.url}/v1",
            "TOKEN": user.token,
            "STREAM": "yes" if stream else "no",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert json.loads(output) == [
        ["coding", "groq", True],
        ["research", "mistral", True],
        ["writing", "anthropic", True],
    ]
    assert [entry.key for entry in platform.providers.ledger()] == [GROQ, MISTRAL, CLAUDE]


async def test_the_same_client_works_in_process(platform: Platform) -> None:
    user = await developer(platform)
    client = platform.ok.openai_client(user.id)
    for stream in (False, True):
        text, headers = await say(client, "task:writing", stream=stream)
        assert text and headers["x-ownkey-provider"] == "anthropic"
    reply = await platform.ok.manager.chat(user.id, task="coding", messages=HELLO)
    assert reply.text and reply.provider == "groq" and reply.credential == "own"
    events = [data async for data in platform.ok.manager.stream_chat(user.id, task="research", messages=HELLO)]
    assert b"".join(events).endswith(b"data: [DONE]\n\n")


async def test_embeddings_go_out_with_the_users_key(platform: Platform) -> None:
    user = await business_user(platform)
    answer = await user.client.embeddings.with_raw_response.create(model="text-embedding-3-small", input="hello")
    assert answer.headers["x-ownkey-provider"] == "openai"
    assert len(answer.parse().data[0].embedding) > 0
    [seen] = platform.providers.ledger()
    assert (seen.key, seen.path.rsplit("/", 1)[1]) == (OPENAI, "embeddings")


async def test_the_model_list_is_the_users_own(platform: Platform) -> None:
    user = await developer(platform)
    names = [model.id async for model in user.client.models.list()]
    assert {"auto", "task:coding", "task:research", "task:writing"} <= set(names)
    owners = {name.split("/")[0] for name in names if "/" in name}
    assert {"groq", "mistral", "anthropic"} <= owners <= {"groq", "mistral", "anthropic", "openai"}
    one = await user.client.models.retrieve(next(name for name in names if name.startswith("mistral/")))
    assert one.owned_by == "mistral"


async def say(client: AsyncOpenAI, model: str, *, stream: bool = False) -> tuple[str, Any]:
    """The answer's text and headers."""
    if not stream:
        answer = await client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
        return answer.parse().choices[0].message.content or "", answer.headers
    raw = await client.chat.completions.with_raw_response.create(model=model, messages=HELLO, stream=True)
    parts = [part.choices[0].delta.content or "" async for part in raw.parse() if part.choices]
    return "".join(parts), raw.headers


async def first_tool_call(client: AsyncOpenAI, model: str, messages: list[Any], *, stream: bool) -> dict[str, str]:
    """Id, name and arguments of the tool call that the model makes."""
    if not stream:
        answer = await client.chat.completions.create(model=model, messages=messages, tools=WEATHER)
        assert answer.choices[0].finish_reason == "tool_calls"
        [call] = answer.choices[0].message.tool_calls or []
        return {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}  # type: ignore[union-attr]
    found = {"id": "", "name": "", "arguments": ""}
    finish = None
    parts = await client.chat.completions.create(model=model, messages=messages, tools=WEATHER, stream=True)
    async for part in parts:
        finish = part.choices[0].finish_reason or finish if part.choices else finish
        for delta in (part.choices[0].delta.tool_calls or []) if part.choices else []:
            found["id"] += delta.id or ""
            found["name"] += (delta.function.name or "") if delta.function else ""
            found["arguments"] += (delta.function.arguments or "") if delta.function else ""
    assert finish == "tool_calls"
    return found
