"""Counting tokens: the endpoints of those who have one, and an estimate for everybody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownkey.domain.provider import Dialect
from ownkey.providers.adapters import get_inbound
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call
from ownkey.providers.token_count import build_count_request, choose_count_dialect, read_counted, write_counted
from ownkey.providers.token_estimate import count_text, estimate

CATALOG = load_catalog()
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}
BODIES: dict[Dialect, dict[str, Any]] = {
    Dialect.ANTHROPIC_MESSAGES: {
        "model": "auto",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "How is the weather in Paris?"}],
        "tools": [{"name": "weather", "input_schema": TOOL}],
    },
    Dialect.OPENAI_RESPONSES: {
        "model": "auto",
        "instructions": "Be brief.",
        "input": "How is the weather in Paris?",
        "tools": [{"type": "function", "name": "weather", "parameters": TOOL, "strict": False}],
    },
    Dialect.GEMINI: {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "How is the weather in Paris?"}]}],
        "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": TOOL}]}],
    },
}
PATHS = {
    "anthropic": "/messages/count_tokens",
    "openai": "/responses/input_tokens",
    "gemini": "/models/m:countTokens",
}


def call(dialect: Dialect, body: object = None) -> Call:
    raw = json.dumps(body if body is not None else BODIES[dialect]).encode()
    return Call(operation="chat", body=raw, model="m", dialect=dialect)


@pytest.mark.parametrize("client", list(BODIES))
@pytest.mark.parametrize("provider", list(PATHS))
def test_every_client_has_its_request_counted_everywhere(client: Dialect, provider: str) -> None:
    row = CATALOG[provider]
    dialect = choose_count_dialect(row)
    assert dialect is not None
    request = build_count_request(row, row.base_url, call(client), dialect)

    assert request.url == row.base_url + PATHS[provider]
    body = json.loads(request.body)  # type: ignore[arg-type]
    text = json.dumps(body)
    for word in ("Be brief.", "How is the weather in Paris?", "weather", "city"):
        assert word in text
    # Nothing that says how to answer: these endpoints refuse it.
    for word in ("max_tokens", "max_output_tokens", "stream", "store", "include"):
        assert word not in body
    inner = body.get("generateContentRequest", body)
    assert inner.get("model", "models/m") in ("m", "models/m")


def test_googles_wrapper_is_looked_into() -> None:
    wrapped = {"generateContentRequest": {"model": "models/auto", **BODIES[Dialect.GEMINI]}}
    row = CATALOG["openai"]
    request = build_count_request(row, row.base_url, call(Dialect.GEMINI, wrapped), Dialect.OPENAI_RESPONSES)
    assert "How is the weather" in json.dumps(json.loads(request.body))  # type: ignore[arg-type]
    google = CATALOG["gemini"]
    passed = build_count_request(google, google.base_url, call(Dialect.GEMINI, wrapped), Dialect.GEMINI)
    assert json.loads(passed.body)["generateContentRequest"]["model"] == "models/m"  # type: ignore[arg-type]


def test_who_has_no_endpoint() -> None:
    counting = {row.id for row in CATALOG.values() if choose_count_dialect(row) is not None}
    assert counting == set(PATHS)


@pytest.mark.parametrize(("body", "tokens"), [(b'{"input_tokens":14}', 14), (b'{"totalTokens":7,"x":[]}', 7)])
def test_answers(body: bytes, tokens: int) -> None:
    assert read_counted(body) == tokens
    for wrong in (b"{}", b"[]", b"<html>", b'{"input_tokens":"x"}'):
        with pytest.raises(ValueError, match="count"):
            read_counted(wrong)


def test_answers_in_each_form() -> None:
    assert json.loads(write_counted(5, Dialect.ANTHROPIC_MESSAGES)) == {"input_tokens": 5}
    assert json.loads(write_counted(5, Dialect.GEMINI)) == {"totalTokens": 5}
    assert json.loads(write_counted(5, Dialect.OPENAI_RESPONSES))["object"] == "response.input_tokens"


@pytest.mark.parametrize("client", list(BODIES))
def test_an_estimate_is_in_the_right_region(client: Dialect) -> None:
    found = estimate(get_inbound(client).read_request(call(client)))
    assert 20 <= found <= 80


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The quick brown fox jumps over the lazy dog", 8, 12),
        ("敏捷的棕色狐狸跳过了那只懒惰的狗", 8, 17),
        ("def add(a, b):\n    return a + b", 6, 16),
        ("", 0, 0),
    ],
)
def test_a_text_is_estimated_by_its_script(text: str, least: int, most: int) -> None:
    assert least <= count_text(text) <= most


def test_pictures_documents_and_tools_count() -> None:
    picture = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 90_000}},
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 140_000},
                    },
                ],
            },
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b" * 400}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "c" * 400}]},
        ]
    }
    conversation = get_inbound(Dialect.ANTHROPIC_MESSAGES).read_request(call(Dialect.ANTHROPIC_MESSAGES, picture))
    assert 3_000 <= estimate(conversation) <= 3_500
