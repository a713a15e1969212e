"""The official Node clients, every dialect in and out, against the same clients straight at a provider."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ownkey.domain.provider import Dialect
from ownkey.testing import Call, Reply
from tests.gateway.conftest import Platform
from tests.gateway.speaking_clients import Asked, join_chunks, plain
from tests.gateway.test_dialect_matrix import (
    DIALECTS,
    MODELS,
    PROVIDERS,
    STRAIGHT_KEY,
    gateway,
    straight,
    without_seals,
)

NODE = Path(__file__).parents[1] / "node"
REPLY = Reply(
    text="I look it up.",
    calls=(Call(name="tide", arguments={"port": "Emden"}), Call(name="tide", arguments={"port": "Ems 🌊"})),
    thinking="The moon is full.",
    cache_read=3,
    output_reasoning=4,
)


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed")
async def test_every_dialect_through_the_official_node_clients(platform: Platform) -> None:
    jobs: list[tuple[str, dict[str, Any]]] = []
    user = await platform.user(**dict.fromkeys(PROVIDERS.values(), "key-of-this-user-0001"))
    for stream in (False, True):
        for client in DIALECTS:
            jobs.append((f"{client} straight", job(client, straight(platform, client), MODELS[client], stream)))
            for provider in DIALECTS:
                model = f"{PROVIDERS[provider]}/{MODELS[provider]}"
                jobs.append((f"{client} to {provider}", job(client, gateway(platform, user.token), model, stream)))
    for name in PROVIDERS.values():
        platform.providers.reply(name, REPLY, times=10)
    process = await asyncio.create_subprocess_exec(
        "node", "speaking_clients.mjs", cwd=NODE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate("".join(json.dumps(one) + "\n" for _, one in jobs).encode())
    outcomes = [json.loads(line) for line in output.splitlines()]
    assert [(name, one["error"]) for (name, _), one in zip(jobs, outcomes, strict=True) if "error" in one] == []
    wanted: Any = None
    for (name, asked), outcome in zip(jobs, outcomes, strict=True):
        answer = outcome["answer"]
        if asked["dialect"] == Dialect.GEMINI and asked["stream"]:
            answer = join_chunks(answer)
        answer = without_seals(plain(answer))
        if name.endswith("straight"):
            wanted = answer
        else:
            assert answer == wanted, (name, asked["stream"])
    assert len({entry.key for entry in platform.providers.ledger()}) == 2  # the user's, and the straight ones


def job(client: Dialect, at: Asked, model: str, stream: bool) -> dict[str, Any]:
    return {
        "dialect": client,
        "openai": at.openai,
        "anthropic": at.anthropic,
        "google": at.google,
        # Left to the client where it asks the gateway, which serves either version.
        "version": "v1beta" if at.key == STRAIGHT_KEY else None,
        "key": at.key,
        "model": model,
        "stream": stream,
    }
