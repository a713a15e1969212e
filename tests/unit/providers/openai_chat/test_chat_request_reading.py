"""A chat completion request in the neutral form: what is carried, what is left out, what is refused and where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_wire import HELLO, INBOUND, call_of, read
from hypothesis import given, settings
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.conversation import (
    Conversation,
    Grammar,
    Media,
    OutputFormat,
    Reasoning,
    Refusal,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

FUNCTION = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def turns(*messages: dict[str, Any]) -> list[Turn]:
    return read([*HELLO, *messages]).turns[1:]


@pytest.mark.parametrize(
    ("field", "value", "attribute", "read_value"),
    [
        ("temperature", 0.3, "temperature", 0.3),
        ("top_p", 1, "top_p", 1.0),
        ("top_k", 40, "top_k", 40),
        ("max_tokens", 5, "max_output_tokens", 5),
        ("max_completion_tokens", 5, "max_output_tokens", 5),
        ("stop", "END", "stop", ["END"]),
        ("stop", ["A", "B"], "stop", ["A", "B"]),
        ("seed", 7, "seed", 7),
        ("frequency_penalty", 0.5, "frequency_penalty", 0.5),
        ("presence_penalty", -0.5, "presence_penalty", -0.5),
        ("logit_bias", {"50256": -100}, "logit_bias", {"50256": -100.0}),
        ("n", 2, "choices", 2),
        ("user", "u-1", "user", "u-1"),
        ("safety_identifier", "u-2", "user", "u-2"),
        ("service_tier", "flex", "service_tier", "flex"),
        ("service_tier", "default", "service_tier", "default"),
        ("prompt_cache_key", "k", "prompt_cache_key", "k"),
        ("verbosity", "low", "verbosity", "low"),
        ("parallel_tool_calls", False, "parallel_tool_calls", False),
        ("logprobs", True, "logprobs", 0),
        ("reasoning_effort", "high", "reasoning", Reasoning(effort="high")),
        ("thinking", {"type": "enabled", "budget_tokens": 2048}, "reasoning", Reasoning(budget_tokens=2048)),
        ("thinking", {"type": "adaptive"}, "reasoning", Reasoning(adaptive=True)),
        ("thinking", {"type": "enabled"}, "reasoning", Reasoning(adaptive=True)),
        ("thinking", {"type": "disabled"}, "reasoning", Reasoning(effort="none")),
        ("reasoning", {"effort": "low", "exclude": True}, "reasoning", Reasoning(effort="low", show=False)),
        ("reasoning", {"max_tokens": 900}, "reasoning", Reasoning(budget_tokens=900)),
        ("reasoning", {"enabled": False}, "reasoning", Reasoning(effort="none")),
        ("include_reasoning", True, "reasoning", Reasoning(show=True)),
        ("response_format", {"type": "json_object"}, "output", OutputFormat(kind="json_object")),
        ("tool_choice", "required", "tool_choice", ToolChoice(mode="required")),
        ("tool_choice", "any", "tool_choice", ToolChoice(mode="required")),
        (
            "tool_choice",
            {"type": "function", "function": {"name": "f"}},
            "tool_choice",
            ToolChoice(mode="named", names=("f",)),
        ),
        (
            "tool_choice",
            {"type": "custom", "custom": {"name": "c"}},
            "tool_choice",
            ToolChoice(mode="named", names=("c",)),
        ),
        (
            "tool_choice",
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"}}]}},
            "tool_choice",
            ToolChoice(mode="auto", names=("f",)),
        ),
    ],
)
def test_a_field_has_its_place(field: str, value: object, attribute: str, read_value: object) -> None:
    conversation = read(**{field: value})

    assert getattr(conversation, attribute) == read_value
    expected = Conversation(turns=conversation.turns)
    setattr(expected, attribute, read_value)
    assert conversation == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"store": True, "metadata": {"a": "b"}, "prediction": {"type": "content", "content": "x"}},
        {"prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "implicit"}},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "modalities": ["text"]},
        {
            "service_tier": "auto",
            "verbosity": "medium",
            "tools": [],
            "functions": [],
            "response_format": {"type": "text"},
        },
        {"temperature": None, "tools": None, "audio": None, "future": None, "logprobs": None, "top_logprobs": None},
        {"logprobs": False, "top_logprobs": 0},
    ],
)
def test_what_changes_nothing_is_left_out(fields: dict[str, Any]) -> None:
    assert read(**fields) == read()


@pytest.mark.parametrize(
    "field", ["web_search_options", "audio", "moderation", "min_p", "modalities", "a_future_field"]
)
def test_what_nobody_else_knows_is_kept_by_name(field: str) -> None:
    assert read(**{field: {"x": 1}}).foreign == {field: {"x": 1}}


def test_the_newer_limit_goes_before_the_older() -> None:
    assert read(max_tokens=5, max_completion_tokens=7).max_output_tokens == 7
    assert read(max_completion_tokens=7, max_tokens=5).max_output_tokens == 7
    assert read(safety_identifier="new", user="old").user == read(user="old", safety_identifier="new").user == "old"
    assert read(logprobs=True, top_logprobs=4).logprobs == 4


def test_several_fields_may_speak_of_reasoning() -> None:
    assert read(reasoning_effort="low", include_reasoning=False).reasoning == Reasoning(effort="low", show=False)


def test_tools_of_both_kinds() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    conversation = read(
        tools=[
            {**FUNCTION, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "function", "function": {"name": "g", "strict": True}},
            {"type": "custom", "custom": {"name": "patch", "description": "Edits.", "format": grammar}},
            {"type": "custom", "custom": {"name": "shell", "format": {"type": "text"}}},
            {"type": "web_search"},
        ]
    )

    assert conversation.tools == [
        Tool(name="f", description="d", schema={"type": "object"}, cache_ttl="1h"),
        Tool(name="g", strict=True),
        Tool(name="patch", description="Edits.", freeform=True, grammar=Grammar("lark", "start: A")),
        Tool(name="shell", freeform=True),
    ]
    assert list(conversation.foreign) == ["tools[4]"]


def test_a_schema_for_the_answer() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    given = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}

    assert read(response_format=given).output == OutputFormat(kind="json_schema", name="n", schema=schema, strict=True)


def test_instructions_come_first_and_may_come_later() -> None:
    conversation = read(
        [
            {"role": "system", "content": "One."},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}, {"type": "text", "text": ""}]},
            *HELLO,
            {"role": "system", "content": "Three."},
        ]
    )

    assert conversation.instructions == [Text(text="One."), Text(text="Two.")]
    assert conversation.turns[1] == Turn(role="system", parts=[Text(text="Three.")])


def test_every_kind_of_part() -> None:
    content = [
        {"type": "text", "text": "Look:", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://a.test/b.jpg", "detail": "auto"}},
        {"type": "image_url", "image_url": "https://a.test/c.jpg"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,BBBB", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "https://a.test/d.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "CCCC", "format": "mp3"}},
        {"type": "text", "text": "end", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
    ]
    (turn,) = turns({"role": "user", "content": content, "name": "ann"})

    assert turn == Turn(
        role="user",
        name="ann",
        parts=[
            Text(text="Look:", cache_ttl="5m"),
            Media(kind="image", media_type="image/png", data="AAAA", detail="low"),
            Media(kind="image", url="https://a.test/b.jpg"),
            Media(kind="image", url="https://a.test/c.jpg"),
            Media(kind="document", media_type="application/pdf", data="BBBB", name="a.pdf"),
            Media(kind="document", url="https://a.test/d.pdf"),
            Media(kind="audio", media_type="audio/mpeg", data="CCCC"),
            Text(text="end", cache_ttl="1h"),
        ],
    )


def test_calls_and_their_results() -> None:
    got = turns(
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
                {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {
            "role": "tool",
            "tool_call_id": "b",
            "content": [{"type": "text", "text": "two"}],
            "cache_control": {"type": "ephemeral"},
        },
        {"role": "tool", "tool_call_id": "other", "content": ""},
    )

    assert got == [
        Turn(
            role="assistant",
            parts=[
                Text(text="I look."),
                ToolCall(id="a", name="f", arguments='{"x": 1}'),
                ToolCall(id="b", name="g", arguments="{}"),
                ToolCall(id="c", name="shell", arguments="ls -l", freeform=True),
            ],
        ),
        Turn(role="user", parts=[ToolResult(call_id="a", content=[Text(text="one")], name="f")]),
        Turn(role="user", parts=[ToolResult(call_id="b", content=[Text(text="two")], name="g", cache_ttl="5m")]),
        Turn(role="user", parts=[ToolResult(call_id="other", content=[])]),
    ]


def test_refusals_and_thinking_of_the_assistant() -> None:
    (first, second, third) = turns(
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}], "reasoning_content": "Hm."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "So"}]},
                {"type": "text", "text": "Yes"},
            ],
        },
    )

    assert first.parts == [Refusal(text="No.")]
    assert second.parts == [Thinking(text="Hm."), Refusal(text="Never.")]
    assert third.parts == [Thinking(text="So"), Text(text="Yes")]


def test_seals_of_others_are_found_and_those_of_the_chat_dialect_stay_there() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.summary", "summary": "In short"},
        {"type": "reasoning.encrypted", "data": "xyz", "id": "other"},
        {"type": "reasoning.text"},
        "nonsense",
    ]
    (turn,) = turns({"role": "assistant", "content": "Yes", "reasoning": "Hm.", "reasoning_details": details})

    assert turn.parts == [
        Thinking(text="Hm.", seal=Seal(Dialect.OPENAI_CHAT, "sig")),
        Thinking(text="In short"),
        Thinking(seal=Seal(Dialect.OPENAI_CHAT, "xyz")),
        Text(text="Yes"),
    ]


def test_a_signature_beside_a_call_is_geminis() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    (turn,) = turns(
        {
            "role": "assistant",
            "tool_calls": [{**call, "extra_content": {"google": {"thought_signature": "c2ln"}}}],
        }
    )

    assert turn.parts == [ToolCall(id="a", name="f", seal=Seal(Dialect.GEMINI, "c2ln"))]


def test_what_only_chat_has_in_messages_is_kept_by_name() -> None:
    conversation = read(
        [
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
            {"role": "assistant", "content": "x", "audio": {"id": "a1"}},
            {"role": "assistant", "content": "y", "prefix": True},
        ]
    )

    assert list(conversation.foreign) == [
        "messages[0].content[0].file.file_id",
        "messages[1].audio",
        "messages[2].prefix",
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [3]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "ghost", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "https://a"}]}]},
            "messages[0].content[0]",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "file:///etc"}]}]},
            "messages[0].content[0].image_url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "AAAA"}}]}]},
            "messages[0].content[0].file.file_data",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": ""}}]},
            "messages[0].function_call",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "odd"}]}]},
            "messages[0].tool_calls[0]",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{"type": "function"}]}]}, "messages[0].tool_calls[0]"),
        ({"temperature": "warm"}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop": [1]}, "stop[0]"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"function": {"name": "f"}}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        (
            {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar"}}}]},
            "tools[0].custom.format",
        ),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": []}}}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"thinking": {"type": "sometimes"}}, "thinking.type"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(**{"messages": HELLO, **fields})

    assert caught.value.param == param
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null", b'{"model":"x"}'])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        INBOUND.read_request(call_of(body))


@pytest.mark.parametrize("place", ['"messages":%b', '"messages":[],"tools":%b', '"messages":[],"future":%b'])
def test_nesting_without_end_is_refused(place: str) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(RequestError):
        INBOUND.read_request(call_of(b"{" + place.encode() % deep + b"}"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "tools",
        "tool_choice",
        "response_format",
        "stop",
        "thinking",
        "reasoning",
        "logprobs",
        "top_logprobs",
        "user",
        "n",
    ]
)
MESSAGE_NAMES = st.sampled_from(
    [
        "content",
        "tool_calls",
        "tool_call_id",
        "name",
        "refusal",
        "reasoning_details",
        "reasoning",
        "audio",
        "type",
        "text",
    ]
)
MESSAGES = st.lists(
    st.dictionaries(MESSAGE_NAMES, VALUES | st.lists(st.dictionaries(MESSAGE_NAMES, VALUES, max_size=3), max_size=2)),
    max_size=3,
)


@settings(deadline=None)
@given(MESSAGES, st.sampled_from(["user", "assistant", "tool", "system"]), st.dictionaries(NAMES, VALUES, max_size=3))
def test_no_json_breaks_the_reader(messages: list[dict[str, Any]], role: str, fields: dict[str, Any]) -> None:
    body = json.dumps({"messages": [{"role": role, **message} for message in messages], **fields}).encode()
    try:
        INBOUND.read_request(call_of(body))
    except RequestError as error:
        assert error.status == 400
