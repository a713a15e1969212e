"""Open WebUI brings gigabytes with it, so it is not installed here: this asks what version 0.12.4 was seen to ask.

With its own HTTP library and its own headers, at the addresses and with the keys and models of the page.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ownkey.testing import Reply
from tests.gateway.clients.page import read_program
from tests.gateway.clients.programs import run_shell
from tests.gateway.conftest import Platform

KEYS = {"anthropic": "sk-ant-webui-000000000001", "openai": "sk-proj-webui-0000000001", "groq": "gsk_webui_0000000001"}


@pytest.fixture
async def settings(platform: Platform, tmp_path: Path) -> dict[str, str]:
    """The page's variables, as a shell reads them."""
    user = await platform.user(**KEYS)
    program = read_program("open-webui", "sh", platform.url, user.token)
    printed = await run_shell(f"set -a\n{program}\nenv -0", tmp_path)
    return dict(entry.split("=", 1) for entry in printed.split("\0") if entry)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(trust_env=True) as made:
        yield made


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}


async def post(session: aiohttp.ClientSession, settings: dict[str, str], kind: str, path: str, body: Any) -> Any:
    """A request of one of Open WebUI's connections: what is read of the answer."""
    base, key = settings[f"{kind}OPENAI_API_BASE_URL"], settings[f"{kind}OPENAI_API_KEY"]
    async with session.post(f"{base}{path}", data=json.dumps(body), headers=headers(key)) as answer:
        answer.raise_for_status()
        return await (answer.json() if answer.content_type == "application/json" else answer.read())


async def test_its_models_and_a_chat(
    platform: Platform, settings: dict[str, str], session: aiohttp.ClientSession
) -> None:
    base = settings["OPENAI_API_BASE_URL"]
    async with session.get(f"{base}/models", headers=headers(settings["OPENAI_API_KEY"])) as answer:
        models = [model["id"] for model in (await answer.json())["data"]]
    assert {"auto", "task:coding", "anthropic/claude-sonnet-5-5", settings["TASK_MODEL_EXTERNAL"]} <= set(models)
    platform.providers.reply("anthropic", Reply(text="At noon.", thinking="The moon."))
    asked = {"messages": [{"role": "user", "content": "When is high water?"}], "stream": True}
    stream = await post(session, settings, "", "/chat/completions", {"model": "anthropic/claude-sonnet-5-5", **asked})
    chunks = [json.loads(line[6:]) for line in stream.decode().split("\n\n") if line.startswith("data: {")]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "At noon."
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "The moon."
    # The title of the chat, asked for in the background.
    platform.providers.reply("anthropic", Reply(text='{"title": "Tides"}'))
    asked |= {"stream": False, "max_completion_tokens": 1000}
    title = await post(session, settings, "", "/chat/completions", {"model": settings["TASK_MODEL_EXTERNAL"], **asked})
    assert title["choices"][0]["message"]["content"] == '{"title": "Tides"}'
    assert [entry.key for entry in platform.providers.ledger() if entry.body] == [KEYS["anthropic"]] * 2


async def test_its_documents_speech_and_pictures(
    platform: Platform, settings: dict[str, str], session: aiohttp.ClientSession
) -> None:
    words = {"input": ["High water is at noon."], "model": settings["RAG_EMBEDDING_MODEL"]}
    found = await post(session, settings, "RAG_", "/embeddings", words)
    assert len(found["data"]) == 1
    said = {"input": "High water.", "voice": "alloy", "model": settings["AUDIO_TTS_MODEL"]}
    sound = await post(session, settings, "AUDIO_TTS_", "/audio/speech", said)
    assert sound.startswith(b"RIFF")
    form = aiohttp.FormData({"model": settings["AUDIO_STT_MODEL"]})
    form.add_field("file", sound, filename="water.wav", content_type="audio/wav")
    base, key = settings["AUDIO_STT_OPENAI_API_BASE_URL"], settings["AUDIO_STT_OPENAI_API_KEY"]
    bearer = {"Authorization": f"Bearer {key}"}
    async with session.post(f"{base}/audio/transcriptions", data=form, headers=bearer) as answer:
        assert "water.wav" in (await answer.json())["text"]
    model, size = settings["IMAGE_GENERATION_MODEL"], settings["IMAGE_SIZE"]
    drawn = {"model": model, "prompt": "A lighthouse", "n": 1, "size": size}
    picture = await post(session, settings, "IMAGES_", "/images/generations", drawn)
    assert picture["data"][0]["b64_json"]
    seen = platform.providers.ledger()
    assert [(entry.provider, entry.model) for entry in seen if entry.provider != "groq"] == [
        ("openai", "text-embedding-3-small"),
        ("openai", "gpt-4o-mini-tts"),
        ("openai", "gpt-image-2"),
    ]
    assert {entry.key for entry in seen} == {KEYS["openai"], KEYS["groq"]}
