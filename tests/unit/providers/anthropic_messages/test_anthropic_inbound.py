"""What a Claude client asks for, in the neutral form."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from claude_wire import claude_call

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError, ThreadUnsupported
from ownkey.providers.anthropic_messages.inbound import AnthropicInbound
from ownkey.providers.conversation import (
    Citation,
    Conversation,
    Media,
    OutputFormat,
    Part,
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
from ownkey.providers.translation import refuse_foreign

HELLO = {"role": "user", "content": "Hello"}
CACHED = {"type": "ephemeral"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}


def read(*messages: Any, **fields: Any) -> Conversation:
    body = {"model": "x", "max_tokens": 100, "messages": list(messages) or [HELLO], **fields}
    return AnthropicInbound().read_request(claude_call(json.dumps(body).encode()))


def parts(*content: Any, role: str = "user") -> list[Part]:
    return read({"role": role, "content": list(content)}).turns[0].parts


def refused(*messages: Any, **fields: Any) -> str | None:
    with pytest.raises(RequestError) as caught:
        read(*messages, **fields)
    return caught.value.param


def foreign(*messages: Any, **fields: Any) -> list[str]:
    """The fields that no other dialect has; refused by every writer."""
    conversation = read(*messages, **fields)
    if conversation.foreign:
        with pytest.raises(RequestError) as caught:
            refuse_foreign(conversation, "X")
        assert caught.value.param == next(iter(conversation.foreign))
    return list(conversation.foreign)


def test_the_smallest_request() -> None:
    assert read() == Conversation(turns=[Turn(role="user", parts=[Text(text="Hello")])], max_output_tokens=100)


def test_a_request_of_every_field() -> None:
    conversation = read(
        system=[{"type": "text", "text": "One.", "cache_control": CACHED}, {"type": "text", "text": "Two."}],
        stop_sequences=["END"],
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        metadata={"user_id": "u-1"},
        service_tier="standard_only",
        stream=True,
        tools=[{**TOOL, "type": "custom", "description": "Look.", "strict": True, "cache_control": CACHED}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        thinking={"type": "adaptive", "display": "summarized"},
        diagnostics={"previous_message_id": "m"},
    )

    assert conversation == Conversation(
        instructions=[Text(text="One.", cache_ttl="5m"), Text(text="Two.")],
        turns=[Turn(role="user", parts=[Text(text="Hello")])],
        tools=[
            Tool(name="look", description="Look.", schema={"type": "object"}, strict=True, cache_ttl="5m"),
        ],
        tool_choice=ToolChoice(mode="required"),
        parallel_tool_calls=False,
        output=OutputFormat(kind="json_schema", schema={"type": "object"}, strict=True),
        reasoning=Reasoning(effort="high", adaptive=True, show=True),
        max_output_tokens=100,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop=["END"],
        user="u-1",
        service_tier="default",
    )


def test_a_system_text() -> None:
    assert read(system="Be brief.").instructions == [Text(text="Be brief.")]
    assert read(system="").instructions == []
    assert refused(system=3) == "system"
    assert refused(system=[{"type": "image"}]) == "system[0]"


def test_text_images_and_documents() -> None:
    content = parts(
        {"type": "text", "text": "See", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a"}, "cache_control": CACHED},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            "title": "a.pdf",
            "citations": {"enabled": False},
        },
        {"type": "document", "source": {"type": "url", "url": "https://x.test/b.pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hiö"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "A"}]}},
        {"type": "document", "source": {"type": "content", "content": "B"}},
        {"type": "text", "text": ""},
    )

    assert content == [
        Text(text="See", cache_ttl="1h"),
        Media(kind="image", media_type="image/png", data="iVBO"),
        Media(kind="image", url="https://x.test/a", cache_ttl="5m"),
        Media(kind="document", media_type="application/pdf", data="JVBE", name="a.pdf"),
        Media(kind="document", media_type="application/pdf", url="https://x.test/b.pdf"),
        Media(kind="document", media_type="text/plain", data=base64.b64encode("Hiö".encode()).decode()),
        Text(text="A"),
        Text(text="B"),
    ]


def test_a_loop_of_tools() -> None:
    conversation = read(
        HELLO,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "EqQB"},
                {"type": "redacted_thinking", "data": "EmwK"},
                {
                    "type": "text",
                    "text": "I look.",
                    "citations": [
                        {"type": "web_search_result_location", "url": "https://a.test", "title": "A"},
                        {"type": "char_location", "cited_text": "x"},
                    ],
                },
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"n": 1}, "caller": {"type": "direct"}},
                {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "seen", "cache_control": CACHED},
                {
                    "type": "tool_result",
                    "tool_use_id": "t2",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "dark"},
                        {"type": "image", "source": {"type": "url", "url": "https://x.test/a"}},
                    ],
                },
                {"type": "tool_result", "tool_use_id": "t3"},
                {"type": "text", "text": "And?"},
            ],
        },
        {"role": "system", "content": "Be brief."},
    )

    assert conversation.turns[1:] == [
        Turn(
            role="assistant",
            parts=[
                Thinking(text="Hm", seal=Seal(Dialect.ANTHROPIC_MESSAGES, "EqQB")),
                Thinking(seal=Seal(Dialect.ANTHROPIC_MESSAGES, "EmwK", redacted=True)),
                Text(text="I look.", citations=[Citation(url="https://a.test", title="A")]),
                ToolCall(id="t1", name="look", arguments='{"n": 1}'),
                ToolCall(id="t2", name="look"),
            ],
        ),
        Turn(
            role="user",
            parts=[
                ToolResult(call_id="t1", name="look", content=[Text(text="seen")], cache_ttl="5m"),
                ToolResult(
                    call_id="t2",
                    name="look",
                    is_error=True,
                    content=[Text(text="dark"), Media(kind="image", url="https://x.test/a")],
                ),
                ToolResult(call_id="t3", content=[]),
                Text(text="And?"),
            ],
        ),
        Turn(role="system", parts=[Text(text="Be brief.")]),
    ]


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 2_000}, Reasoning(budget_tokens=2_000, show=True)),
        ({"type": "enabled", "budget_tokens": 2_000, "display": "omitted"}, Reasoning(budget_tokens=2_000, show=False)),
        ({"type": "adaptive"}, Reasoning(adaptive=True)),
        (
            {
                "type": "adaptive",
                "display": "updates",
                "block_binding": {"prefix_mismatch_behavior": "drop"},
            },
            Reasoning(adaptive=True, show=False),
        ),
        ({"type": "disabled"}, Reasoning(effort="none")),
        ({"type": "between_tools"}, Reasoning(effort="none")),
        (None, None),
    ],
)
def test_how_much_to_think(thinking: Any, expected: Reasoning | None) -> None:
    assert read(thinking=thinking).reasoning == expected


def test_an_effort_alone_and_beside_thinking() -> None:
    assert read(output_config={"effort": "low"}).reasoning == Reasoning(effort="low")
    both = read(output_config={"effort": "low"}, thinking={"type": "disabled"}).reasoning
    assert both == Reasoning(effort="none")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, ToolChoice(mode="auto")),
        ({"type": "any"}, ToolChoice(mode="required")),
        ({"type": "none"}, ToolChoice(mode="none")),
        ({"type": "tool", "name": "look"}, ToolChoice(mode="named", names=("look",))),
    ],
)
def test_the_choice_of_a_tool(choice: Any, expected: ToolChoice) -> None:
    conversation = read(tools=[TOOL], tool_choice={**choice, "disable_parallel_tool_use": False})

    assert (conversation.tool_choice, conversation.parallel_tool_calls) == (expected, None)


def test_the_bodys_own_mark_is_on_its_last_block() -> None:
    call = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
    turns = read(
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
        cache_control={"type": "ephemeral", "ttl": "1h"},
    ).turns

    assert [part.cache_ttl for turn in turns for part in turn.parts if isinstance(part, ToolCall | ToolResult)] == [
        None,
        "1h",
    ]
    assert read(cache_control=None).turns[0].parts == [Text(text="Hello")]


def test_what_says_what_happens_anyway_is_left_out() -> None:
    anyway = {
        "speed": "standard",
        "service_tier": "auto",
        "container": None,
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "tools": [{**TOOL, "allowed_callers": ["direct"], "defer_loading": True, "eager_input_streaming": True}],
    }

    assert foreign(**anyway) == []
    assert read(**anyway).service_tier is None


def test_what_anthropic_stores_is_no_whole_conversation() -> None:
    with pytest.raises(ThreadUnsupported) as refused:
        read(thread={"type": "continue", "previous_message_id": "msg_01"})
    assert (refused.value.code, refused.value.param) == ("thread_unsupported_request", "thread")
    assert read(thread=None).turns


def test_a_tool_that_would_be_found_later_is_there_at_once() -> None:
    """Claude Code searches among tools: only Claude's own API can hold back those that were not found yet."""
    found: dict[str, Any] = {"type": "tool_reference", "tool_name": "tide", "cache_control": {"type": "ephemeral"}}
    messages = [
        HELLO,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "ToolSearch", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [found]}]},
    ]
    conversation = read(*messages, tools=[{**TOOL, "defer_loading": True}])
    assert [tool.name for tool in conversation.tools] == [TOOL["name"]]
    [result] = conversation.turns[-1].parts
    assert isinstance(result, ToolResult)
    assert result.content == [Text(text="The tool tide can be called now.", cache_ttl="5m")]
    del found["tool_name"]
    with pytest.raises(RequestError, match="tool_name"):
        read(*messages)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"container": "c"}, ["container"]),
        ({"mcp_servers": [{"type": "url"}]}, ["mcp_servers"]),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, ["context_management"]),
        ({"inference_geo": "eu"}, ["inference_geo"]),
        ({"speed": "fast"}, ["speed"]),
        ({"fallbacks": "default"}, ["fallbacks"]),
        ({"max_tokens": 0}, ["max_tokens"]),
        ({"output_config": {"task_budget": {"type": "tokens", "total": 1}}}, ["output_config.task_budget"]),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}, TOOL]}, ["tools[0]"]),
        ({"tools": [{**TOOL, "allowed_callers": ["code_execution_20260521"]}]}, ["tools[0].allowed_callers"]),
        ({"tools": [{**TOOL, "input_examples": [{}]}]}, ["tools[0].input_examples"]),
        ({"a_field_of_tomorrow": 1}, ["a_field_of_tomorrow"]),
    ],
)
def test_fields_of_anthropic_alone(fields: dict[str, Any], names: list[str]) -> None:
    assert foreign(**fields) == names


@pytest.mark.parametrize(
    ("role", "block", "name"),
    [
        ("user", {"type": "image", "source": {"type": "file", "file_id": "f"}}, ""),
        ("user", {"type": "document", "source": {"type": "file", "file_id": "f"}}, ""),
        ("user", {"type": "container_upload", "file_id": "f"}, ""),
        ("user", {"type": "search_result", "source": "a", "title": "b", "content": []}, ""),
        ("assistant", {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, ""),
        ("user", {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"type": "e"}}, ""),
        (
            "user",
            {
                "type": "document",
                "source": {"type": "url", "url": "https://a.test"},
                "citations": {"enabled": True},
            },
            ".citations",
        ),
        ("user", {"type": "document", "source": {"type": "url", "url": "https://a.test"}, "context": "c"}, ".context"),
        ("user", {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "search_result"}]}, ".content[0]"),
        ("assistant", {"type": "tool_use", "id": "t", "name": "n", "input": {}, "toolset_name": "b"}, ".toolset_name"),
        (
            "assistant",
            {"type": "tool_use", "id": "t", "name": "n", "input": {}, "caller": {"type": "code_execution_20260120"}},
            ".caller",
        ),
    ],
)
def test_blocks_of_anthropic_alone(role: str, block: dict[str, Any], name: str) -> None:
    assert foreign(HELLO, {"role": role, "content": [block]}) == [f"messages[1].content[0]{name}"]


def test_a_system_message_that_goes_away_again() -> None:
    assert foreign(HELLO, {"role": "system", "content": "x", "clear_at": "next_user_message"}) == [
        "messages[1].clear_at"
    ]
    assert foreign(HELLO, {"role": "system", "content": "x", "clear_at": "never"}) == []
    assert foreign(HELLO, {"role": "system", "content": "x", "output_config": {"effort": "low"}}) == [
        "messages[1].output_config"
    ]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x"}, "messages[0].role"),
        ({"content": "x"}, "messages[0]"),
        ({"role": "user", "content": 3}, "messages[0].content"),
        ({"role": "user", "content": [3]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": 3}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": "image"}]}, "messages[0].content[0].source"),
        ({"role": "user", "content": [{"type": "image", "source": {"type": "x"}}]}, "messages[0].content[0].source"),
        (
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": 3}}]},
            "messages[0].content[0].source.url",
        ),
        ({"role": "user", "content": [{"type": "tool_use"}]}, "messages[0].content[0]"),
        ({"role": "assistant", "content": [{"type": "image"}]}, "messages[0].content[0]"),
        ({"role": "assistant", "content": [{"type": "tool_use", "input": {}}]}, "messages[0].content[0]"),
        (
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": []}]},
            "messages[0].content[0].input",
        ),
        ({"role": "assistant", "content": [{"type": "thinking"}]}, "messages[0].content[0].thinking"),
        ({"role": "assistant", "content": [{"type": "redacted_thinking"}]}, "messages[0].content[0].data"),
        ({"role": "user", "content": [{"type": "tool_result"}]}, "messages[0].content[0].tool_use_id"),
        (
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}]},
            "messages[0].content[0].content[0].text",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "x"}}]},
            "messages[0].content[0].cache_control",
        ),
    ],
)
def test_a_message_that_cannot_be_read_is_named(message: dict[str, Any], param: str) -> None:
    assert refused(message) == param


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("max_tokens", -1, "max_tokens"),
        ("max_tokens", True, "max_tokens"),
        ("temperature", 1.5, "temperature"),
        ("stop_sequences", "x", "stop_sequences"),
        ("metadata", {"user_id": 3}, "metadata.user_id"),
        ("metadata", 3, "metadata"),
        ("service_tier", "flex", "service_tier"),
        ("thinking", {"type": "enabled"}, "thinking.budget_tokens"),
        ("thinking", {"type": "much"}, "thinking.type"),
        ("output_config", {"effort": "huge"}, "output_config.effort"),
        ("output_config", {"format": {"type": "json_schema"}}, "output_config.format"),
        ("tools", {}, "tools"),
        ("tools", [3], "tools[0]"),
        ("tools", [{"input_schema": {}}], "tools[0].name"),
        ("tools", [{"name": "x"}], "tools[0].input_schema"),
        ("tools", [{**TOOL, "description": 3}], "tools[0].description"),
        ("tool_choice", {"type": "tool"}, "tool_choice"),
        ("tool_choice", "auto", "tool_choice"),
        ("context_management", {"edits": 3}, "context_management.edits"),
        ("cache_control", {"type": "ephemeral", "ttl": "2h"}, "cache_control"),
        ("messages", [], "messages"),
        ("messages", "Hello", "messages"),
        ("messages", [{"role": "user", "content": ""}], "messages"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(field: str, value: Any, param: str) -> None:
    assert refused(**{field: value}) == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"messages":',
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":[{"role":"user","content":%b}]}' % (b"[" * 100_000 + b"]" * 100_000),
        b'{"messages":[{"role":"user","content":"a"}],"system":%b}' % (b"[" * 100_000 + b"]" * 100_000),
        b'{"messages":[{"role":"user","content":"a"}],"system":[{"type":"text","text":"\xff"}]}',
        b'{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"b","input":{"a":%b}}]}]}'
        % (b"[" * 100_000 + b"]" * 100_000),
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        AnthropicInbound().read_request(claude_call(body))
