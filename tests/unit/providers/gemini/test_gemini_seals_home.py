"""Gemini's signatures go out through every client's dialect and come back to where they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from gemini_wire import BASE_URL, MODEL, PROVIDER, SIGNATURE

from ownkey.domain.provider import Dialect
from ownkey.providers.adapters import get_adapter
from ownkey.providers.dialect import Call
from ownkey.providers.gemini.signatures import UNSIGNED

OF_TEXT = "AAAA"
PARTS: list[dict[str, Any]] = [
    {"text": "Hm.", "thought": True},
    {"text": "So:", "thoughtSignature": OF_TEXT},
    {"functionCall": {"id": "x1", "name": "f", "args": {"a": 1}}, "thoughtSignature": SIGNATURE},
    {"functionCall": {"id": "x2", "name": "f", "args": {}}},
]
ANSWER = {
    "candidates": [{"content": {"parts": PARTS, "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2},
}
Asked = dict[str, Any]


def _chat(asked: Asked, answer: Asked) -> Asked:
    results = [{"role": "tool", "tool_call_id": name, "content": "1"} for name in ("x1", "x2")]
    return {**asked, "messages": [*asked["messages"], answer["choices"][0]["message"], *results]}


def _forgetful_chat(asked: Asked, answer: Asked) -> Asked:
    message = answer["choices"][0]["message"]
    for name in ("reasoning_details", "reasoning_content"):
        message.pop(name, None)
    return _chat(asked, answer)


def _claude(asked: Asked, answer: Asked) -> Asked:
    results = [{"type": "tool_result", "tool_use_id": name, "content": "1"} for name in ("x1", "x2")]
    said = [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": results}]
    return {**asked, "messages": [*asked["messages"], *said]}


def _responses(asked: Asked, answer: Asked) -> Asked:
    results = [{"type": "function_call_output", "call_id": name, "output": "1"} for name in ("x1", "x2")]
    return {**asked, "input": [*asked["input"], *answer["output"], *results]}


HI = [{"role": "user", "content": "Hi"}]
CHAT: Asked = {"model": "m", "messages": HI}
CLAUDE: Asked = {
    "model": "m",
    "max_tokens": 9,
    "messages": HI,
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
}
RESPONSES: Asked = {"model": "m", "input": HI, "store": False, "include": ["reasoning.encrypted_content"]}


@pytest.mark.parametrize(
    ("dialect", "asked", "go_on", "text", "call"),
    [
        (Dialect.OPENAI_CHAT, CHAT, _chat, OF_TEXT, SIGNATURE),
        (Dialect.OPENAI_CHAT, CHAT, _forgetful_chat, None, UNSIGNED),
        (Dialect.ANTHROPIC_MESSAGES, CLAUDE, _claude, OF_TEXT, SIGNATURE),
        (Dialect.OPENAI_RESPONSES, RESPONSES, _responses, OF_TEXT, SIGNATURE),
    ],
)
def test_there_and_back(
    dialect: Dialect, asked: Asked, go_on: Callable[[Asked, Asked], Asked], text: str | None, call: str
) -> None:
    adapter = get_adapter(dialect, Dialect.GEMINI)

    def make_call(body: Asked) -> Call:
        return Call(operation="chat", body=json.dumps(body).encode(), model=MODEL, dialect=dialect)

    answer = json.loads(adapter.decode(json.dumps(ANSWER).encode(), make_call(asked)).body)
    request = adapter.encode(PROVIDER, BASE_URL, make_call(go_on(asked, answer)))
    _, said, results = json.loads(request.body)["contents"]
    assert [(part.get("text"), part.get("functionCall"), part.get("thoughtSignature")) for part in said["parts"]] == [
        ("So:", None, text),
        (None, PARTS[2]["functionCall"], call),
        (None, PARTS[3]["functionCall"], None),
    ]
    assert [part["functionResponse"]["id"] for part in results["parts"]] == ["x1", "x2"]
