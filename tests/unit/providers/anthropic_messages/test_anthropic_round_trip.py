"""What a conversation says survives Anthropic's dialect, and any JSON is carried or refused by name."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from claude_wire import CLAUDE, NATIVE, PASSING, chat_call, claude_call
from hypothesis import given, settings
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.inbound import AnthropicInbound
from ownkey.providers.anthropic_messages.outbound import AnthropicOutbound
from ownkey.providers.anthropic_messages.peek import peek
from ownkey.providers.catalog import load_catalog
from ownkey.providers.conversation import (
    Conversation,
    Media,
    OutputFormat,
    Reasoning,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound
from ownkey.providers.openai_chat.outbound import OpenAIChatOutbound

OPENAI = load_catalog()["openai"]
# A model that takes everything: sampling, forced tools, and thinking with a budget.
MODEL = "claude-opus-4-6"
WORDS = st.text(min_size=1, max_size=8).filter(lambda text: bool(text.strip()))
TTL = st.sampled_from([None, "5m", "1h"])
DATA = st.binary(min_size=1, max_size=6).map(lambda data: base64.b64encode(data).decode())
TEXTS = st.builds(Text, text=WORDS, cache_ttl=TTL)
IMAGES = st.builds(Media, kind=st.just("image"), media_type=st.just("image/png"), data=DATA, cache_ttl=TTL) | st.builds(
    Media, kind=st.just("image"), url=st.just("https://x.test/a.png"), cache_ttl=TTL
)
DOCUMENTS = st.builds(
    Media,
    kind=st.just("document"),
    media_type=st.just("application/pdf"),
    data=DATA,
    name=st.none() | WORDS,
    cache_ttl=TTL,
) | st.builds(
    Media,
    kind=st.just("document"),
    media_type=st.just("text/plain"),
    data=WORDS.map(lambda text: base64.b64encode(text.encode()).decode()),
    cache_ttl=TTL,
)
SEALS = st.just(Seal(Dialect.ANTHROPIC_MESSAGES, "EmwK", redacted=True))
THOUGHTS = st.builds(
    Thinking, text=st.text(max_size=6), seal=WORDS.map(lambda data: Seal(Dialect.ANTHROPIC_MESSAGES, data))
) | st.builds(Thinking, seal=SEALS)
ARGUMENTS = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=3).map(
    lambda arguments: json.dumps(arguments, separators=(",", ":"))
)
TOOLS = st.builds(
    Tool,
    name=st.sampled_from(["look", "now"]),
    description=st.none() | WORDS,
    schema=st.sampled_from([{"type": "object"}, {"type": "object", "properties": {"a": {"type": "string"}}}]),
    strict=st.sampled_from([None, True]),
    cache_ttl=TTL,
)


@st.composite
def exchanges(draw: st.DrawFn) -> list[Turn]:
    """Users and the assistant in turns, with tools that are called and answered."""
    turns, number = [], 0
    user = st.lists(TEXTS | IMAGES | DOCUMENTS, min_size=1, max_size=3)
    turns.append(Turn(role="user", parts=draw(user)))
    for _ in range(draw(st.integers(0, 3))):
        said = draw(st.lists(THOUGHTS, max_size=2)) + draw(st.lists(TEXTS, min_size=1, max_size=2))
        results: list[Any] = []
        for _ in range(draw(st.integers(0, 2))):
            number += 1
            said.append(ToolCall(id=f"t-{number}", name="look", arguments=draw(ARGUMENTS), cache_ttl=draw(TTL)))
            content = draw(st.lists(TEXTS | IMAGES, max_size=2))
            results.append(
                ToolResult(
                    call_id=f"t-{number}",
                    name="look",
                    content=content,
                    is_error=draw(st.booleans()),
                    cache_ttl=draw(TTL),
                )
            )
        turns.append(Turn(role="assistant", parts=said))
        turns.append(Turn(role="user", parts=results or draw(user)))
    return turns


CONVERSATIONS = st.builds(
    Conversation,
    instructions=st.lists(TEXTS, max_size=2),
    turns=exchanges(),
    tools=st.lists(TOOLS, max_size=2).map(lambda tools: [*tools, Tool(name="look", schema={"type": "object"})]),
    tool_choice=st.sampled_from(
        [
            ToolChoice(mode="auto"),
            ToolChoice(mode="none"),
            ToolChoice(mode="required"),
            ToolChoice(mode="named", names=("look",)),
        ]
    ),
    output=st.none() | st.just(OutputFormat(kind="json_schema", schema={"type": "object"}, strict=True)),
    max_output_tokens=st.integers(2_000, 9_000),
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 100),
    stop=st.lists(WORDS, max_size=2),
    user=st.none() | WORDS,
    service_tier=st.sampled_from([None, "default"]),
)


def write(conversation: Conversation, model: str = MODEL) -> bytes:
    request = AnthropicOutbound().write_request(CLAUDE, CLAUDE.base_url, claude_call(model=model), conversation)
    assert isinstance(request.body, bytes)
    return request.body


@given(CONVERSATIONS)
def test_a_conversation_survives_the_dialect(conversation: Conversation) -> None:
    assert AnthropicInbound().read_request(claude_call(write(conversation))) == conversation


@given(
    exchanges(),
    st.sampled_from(
        [
            Reasoning(effort="low", adaptive=True),
            Reasoning(adaptive=True),
            Reasoning(budget_tokens=1_500, show=True),
            Reasoning(effort="max", adaptive=True),
        ]
    ),
)
def test_how_much_to_think_survives_the_dialect(turns: list[Turn], reasoning: Reasoning) -> None:
    conversation = Conversation(turns=turns, reasoning=reasoning)
    read = AnthropicInbound().read_request(claude_call(write(conversation)))

    if reasoning.budget_tokens and read.reasoning is None:
        assert isinstance(turns[-1].parts[0], ToolResult)
        assert not isinstance(turns[-2].parts[0], Thinking)
    else:
        assert read.reasoning == reasoning


@settings(max_examples=40)
@given(exchanges(), st.lists(TOOLS, min_size=1, max_size=2), st.lists(TEXTS, max_size=2))
def test_a_conversation_survives_the_way_through_the_chat_dialect(
    turns: list[Turn], tools: list[Tool], instructions: list[Text]
) -> None:
    """Claude's client, an OpenAI provider, and back: what both can say is the same."""
    turns[0].parts.append(Text(text="Hello"))
    for turn in turns:
        turn.parts = [part for part in turn.parts if not isinstance(part, Thinking) and not _is_text_document(part)]
        for part in turn.parts:
            part.cache_ttl = None  # type: ignore[union-attr]
            if isinstance(part, ToolResult):
                part.is_error = False
                part.content = [inner for inner in part.content if isinstance(inner, Text)]
                for inner in part.content:
                    inner.cache_ttl = None
    for said in (*tools, *instructions):
        said.cache_ttl = None
    conversation = Conversation(instructions=instructions, turns=turns, tools=tools)
    first = json.loads(write(conversation))
    request = OpenAIChatOutbound().write_request(
        OPENAI,
        OPENAI.base_url,
        claude_call(model="gpt-5.5"),
        AnthropicInbound().read_request(claude_call(write(conversation))),
    )
    body = request.body if isinstance(request.body, bytes) else b"".join(request.body)
    again = json.loads(write(OpenAIChatInbound().read_request(chat_call(body))))

    for message in (*first["messages"], *again["messages"]):
        message["content"] = _normal(message["content"], "" if message["role"] == "assistant" else "\n\n")
    assert again["messages"] == first["messages"]
    assert _normal(again.get("system", [])) == _normal(first.get("system", []))
    assert [tool["name"] for tool in again["tools"]] == [tool["name"] for tool in first["tools"]]


def _is_text_document(part: Any) -> bool:
    return isinstance(part, Media) and part.media_type == "text/plain"


def _normal(content: Any, between: str = "\n\n") -> list[Any]:
    """Texts side by side are one text for a chat client's provider; a document has no title there."""
    normal: list[Any] = []
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if block["type"] == "tool_result":
            block["content"] = _normal(block.get("content", []), "\n")
        block.pop("title", None)
        if normal and block["type"] == normal[-1]["type"] == "text":
            normal[-1]["text"] += between + block["text"]
        else:
            normal.append(block)
    return normal


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    words = st.sampled_from(["type", "text", "name", "input", "source", "schema", "url", "id", "content", "signature"])
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=4), inner, max_size=4),
        max_leaves=8,
    )


LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(["auto", "any", "tool", "enabled", "adaptive", "ephemeral", "base64", "url", "ownkey1.", "1h"])
)
VALUE = nested(LEAF)
BLOCK = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "server_tool_use"]
        )
        | LEAF
    },
    optional=dict.fromkeys(
        (
            "text",
            "source",
            "content",
            "citations",
            "cache_control",
            "title",
            "thinking",
            "signature",
            "data",
            "id",
            "name",
            "input",
            "caller",
            "tool_use_id",
            "is_error",
        ),
        VALUE,
    ),
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]) | st.text(max_size=4),
        "content": st.text(max_size=8) | st.lists(BLOCK, max_size=3) | VALUE,
    }
)
FIELD = st.sampled_from(
    [
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "max_tokens",
        "stop_sequences",
        "temperature",
        "top_k",
        "metadata",
        "service_tier",
        "cache_control",
        "context_management",
        "stream",
    ]
) | st.text(max_size=5)
BODY = st.dictionaries(FIELD, VALUE, max_size=4).flatmap(
    lambda fields: st.lists(MESSAGE, max_size=3).map(lambda messages: {**fields, "messages": messages})
)


def try_everything(body: bytes) -> None:
    call = claude_call(body, model="claude-haiku-4-5")
    for attempt in (NATIVE, PASSING):
        with suppress(RequestError):
            request = attempt.encode(CLAUDE, CLAUDE.base_url, call)
            assert isinstance(request.body, bytes)
            json.loads(request.body)
    with suppress(RequestError):
        peek(body)


@given(body=BODY)
def test_any_json_is_carried_or_refused(body: Any) -> None:
    try_everything(json.dumps(body).encode())


@given(body=BODY, place=st.integers(0, 10_000), junk=st.binary(min_size=1, max_size=3))
def test_any_damaged_bytes_are_carried_or_refused(body: Any, place: int, junk: bytes) -> None:
    text = json.dumps(body).encode()
    place %= len(text)

    with suppress(UnicodeDecodeError, json.JSONDecodeError):
        # A pass-through leaves the rest for the provider to judge.
        try_everything(text[:place] + junk + text[place + len(junk) :])


@given(st.lists(BLOCK, max_size=4), VALUE)
def test_any_answer_is_read_or_is_none(content: list[Any], usage: Any) -> None:
    body = json.dumps({"type": "message", "content": content, "usage": usage, "stop_reason": "end_turn"}).encode()
    for attempt in (NATIVE, PASSING):
        with suppress(ValueError):
            assert attempt.decode(body, claude_call()).body


@pytest.mark.parametrize("kind", ["content_block_start", "content_block_delta", "message_delta", "message_start"])
@given(value=VALUE | BLOCK, index=st.integers(-3, 3) | LEAF)
def test_events_of_any_content(kind: str, value: Any, index: Any) -> None:
    document = {"type": kind, "index": index, "delta": value, "content_block": value, "message": value, "usage": value}
    for attempt in (NATIVE, PASSING):
        decoder = attempt.stream_decoder(CLAUDE, claude_call(stream=True))
        for _ in range(2):
            decoder.feed(b"data: " + json.dumps(document).encode() + b"\n\n")
        decoder.feed(b'data: {"type":"message_stop"}\n\n')
        decoder.finish()
