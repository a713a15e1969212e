"""Wishes of which nothing would be left on the way to another dialect: they are refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound

CATALOG = load_catalog()
ROWS = {
    Dialect.OPENAI_CHAT: ("openai", "gpt-4o"),
    Dialect.OPENAI_RESPONSES: ("openai", "gpt-4o"),
    Dialect.ANTHROPIC_MESSAGES: ("anthropic", "claude-sonnet-4-5"),
    Dialect.GEMINI: ("gemini", "gemini-2.5-flash"),
}
CHAT_TOOL = {"type": "function", "function": {"name": "f"}}


def encode(client: Dialect, provider: Dialect, fields: dict[str, Any]) -> dict[str, Any]:
    name, model = ROWS[provider]
    call = Call(operation="chat", body=json.dumps(fields).encode(), model=model, dialect=client)
    body = get_adapter(client, provider).encode(CATALOG[name], CATALOG[name].base_url, call).body
    assert isinstance(body, bytes)
    read: dict[str, Any] = json.loads(body)
    return read


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "a"}], **fields}


@pytest.mark.parametrize("provider", [one for one in Dialect if one is not Dialect.OPENAI_CHAT])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_tool_to_be_called_where_there_is_none(provider: Dialect, choice: Any) -> None:
    with pytest.raises(RequestError) as caught:
        encode(Dialect.OPENAI_CHAT, provider, chat(tool_choice=choice))

    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_that_are_not_there(mode: str) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [other]}}

    with pytest.raises(RequestError) as caught:
        encode(Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, chat(tools=[CHAT_TOOL], tool_choice=choice))

    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize("provider", [one for one in Dialect if one is not Dialect.GEMINI])
@pytest.mark.parametrize(
    "config",
    [
        {"responseSchema": {"type": "OBJECT"}},
        {"responseJsonSchema": {"type": "object"}},
        {"responseMimeType": "text/plain", "responseSchema": {"type": "OBJECT"}},
        {"responseFormat": {"text": {"schema": {"type": "object"}}}},
    ],
)
def test_a_schema_without_its_type(provider: Dialect, config: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        encode(Dialect.GEMINI, provider, {"contents": [{"parts": [{"text": "a"}]}], "generationConfig": config})

    assert caught.value.param == "generationConfig.responseMimeType"


@pytest.mark.parametrize("content", [None, "b"])
def test_thoughts_of_one_place_keep_their_order(content: str | None) -> None:
    details = [
        {"type": "reasoning.text", "text": text, "signature": text, "format": "anthropic-claude-v1", "index": 0}
        for text in ("first", "second")
    ]
    said = {"role": "assistant", "content": content, "reasoning_details": details}
    body = json.dumps({"messages": [{"role": "user", "content": "a"}, said]}).encode()
    conversation = OpenAIChatInbound().read_request(Call(operation="chat", body=body, model="m"))
    texts = [getattr(part, "text", "") for part in conversation.turns[1].parts]

    assert texts == ["first", "second", *([content] if content else [])]
