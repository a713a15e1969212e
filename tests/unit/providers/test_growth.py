"""Requests that are long in unusual ways: the time that they take grows with their size and not with its square."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest

from ownkey.domain.provider import Dialect
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.conversation import Seal
from ownkey.providers.dialect import Call
from ownkey.providers.gemini.fields import camel
from ownkey.providers.seals import write_seal

CATALOG = load_catalog()
MODEL = "gpt-4o"
LONG = "x" * 500
SMALL, LARGE = 3_000, 12_000
Fields = dict[str, Any]


def chat(**fields: Any) -> Fields:
    return {"messages": [{"role": "user", "content": "a"}], **fields}


def claude(messages: list[Fields]) -> Fields:
    return {"max_tokens": 9, "messages": messages}


def gemini(parts: list[Fields], *answers: Fields) -> Fields:
    return {"contents": [{"parts": [{"text": "a"}]}, {"role": "model", "parts": parts}, *answers]}


def sealed(data: str) -> str:
    return write_seal(Seal(Dialect.OPENAI_CHAT, data, id=MODEL), Dialect.ANTHROPIC_MESSAGES)


def thinking(data: str, count: int) -> Fields:
    block = {"type": "thinking", "thinking": LONG, "signature": sealed(data)}
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    return claude([{"role": "user", "content": "a"}, {"role": "assistant", "content": [block] * count + [call]}])


def allowed(count: int) -> Fields:
    tools = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(count)]
    return chat(
        tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
    )


def answers_from_the_last(count: int) -> Fields:
    calls = [{"functionCall": {"id": f"c{number}", "name": "f"}} for number in range(count)]
    answers = [
        {"functionResponse": {"id": f"c{number}", "name": "f", "response": {"output": "r"}}}
        for number in reversed(range(count))
    ]
    return gemini(calls, {"role": "user", "parts": answers})


def reasoning(count: int) -> Fields:
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}
    return {"input": [{"role": "user", "content": "a"}, *[item] * count]}


def later_tools(count: int) -> Fields:
    items = [
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": f"f{number}"}]}
        for number in range(count)
    ]
    return {"input": [{"role": "user", "content": "a"}, *items]}


CASES: dict[str, tuple[Dialect, Dialect, Callable[[int], Fields]]] = {
    "one role's texts": (
        Dialect.ANTHROPIC_MESSAGES,
        Dialect.OPENAI_CHAT,
        lambda count: claude([{"role": "user", "content": LONG}] * count),
    ),
    "one role's answers": (
        Dialect.ANTHROPIC_MESSAGES,
        Dialect.OPENAI_CHAT,
        lambda count: claude([{"role": "user", "content": "a"}, *[{"role": "assistant", "content": LONG}] * count]),
    ),
    "thoughts with a field": (
        Dialect.ANTHROPIC_MESSAGES,
        Dialect.OPENAI_CHAT,
        lambda count: thinking("reasoning_content", count),
    ),
    "pieces of a text": (Dialect.GEMINI, Dialect.OPENAI_CHAT, lambda count: gemini([{"text": LONG}] * count)),
    "pieces of a thought": (
        Dialect.GEMINI,
        Dialect.OPENAI_CHAT,
        lambda count: gemini([*[{"text": LONG, "thought": True}] * count, {"text": "a"}]),
    ),
    "answers from the last": (Dialect.GEMINI, Dialect.OPENAI_CHAT, answers_from_the_last),
    "reasoning": (Dialect.OPENAI_RESPONSES, Dialect.OPENAI_CHAT, reasoning),
    "later tools": (Dialect.OPENAI_RESPONSES, Dialect.OPENAI_CHAT, later_tools),
    "allowed tools": (Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, allowed),
}


def measure(client: Dialect, provider: Dialect, fields: Fields) -> float:
    """The seconds that the request takes at its best of three."""
    row = CATALOG["anthropic" if provider is Dialect.ANTHROPIC_MESSAGES else "openai"]
    model = "claude-sonnet-4-5" if provider is Dialect.ANTHROPIC_MESSAGES else MODEL
    call = Call(operation="chat", body=json.dumps(fields).encode(), model=model, dialect=client)
    adapter, taken = get_adapter(client, provider), []
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            begun = process_time()
            adapter.encode(row, row.base_url, call)
            taken.append(process_time() - begun)
    finally:
        gc.enable()
    return min(taken)


@pytest.mark.parametrize("name", CASES)
def test_the_time_grows_with_the_size(name: str) -> None:
    client, provider, make = CASES[name]

    small, large = measure(client, provider, make(SMALL)), measure(client, provider, make(LARGE))

    # Four times the size takes about four times as long; the square would be sixteen times.
    assert large < 10 * small + 0.05


def test_a_long_name_that_a_client_makes_up_is_not_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(20):
            camel(f"made_up_{number}_" + "x" * 1_000_000)
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()
    assert camel("inline_data") == "inlineData"
