"""What a client of `/responses` asks for, in the neutral form; what only OpenAI can do is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_reading import accumulate, events_of, make_answer, part_events, write, write_events

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
from ownkey.providers.dialect import Call
from ownkey.providers.openai_responses.inbound import ResponsesInbound
from ownkey.providers.seals import write_seal


def read(body: dict[str, Any] | bytes) -> Conversation:
    raw = body if isinstance(body, bytes) else json.dumps({"input": "Hi", **body}).encode()
    call = Call(operation="chat", body=raw, model="m", dialect=Dialect.OPENAI_RESPONSES)
    return ResponsesInbound().read_request(call)


def refused(body: dict[str, Any] | bytes) -> str | None:
    with pytest.raises(RequestError) as caught:
        read(body)
    return caught.value.param


def test_a_text_is_a_turn_of_the_user() -> None:
    assert read({"input": "Hi"}) == Conversation(turns=[Turn(role="user", parts=[Text(text="Hi")])])


def test_a_coding_agents_request() -> None:
    """Instructions, context, reasoning, parallel calls of both kinds and their outputs, as Codex sends them."""
    sealed = write_seal(Seal(Dialect.ANTHROPIC_MESSAGES, "c2ln"), Dialect.OPENAI_RESPONSES)
    conversation = read(
        {
            "model": "gpt-5",
            "instructions": "You are a coding agent.",
            "input": [
                {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandboxed."}]},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}]},
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "Hm."}],
                    "encrypted_content": sealed,
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "I look."}],
                    "phase": "commentary",
                },
                {"type": "function_call", "name": "shell", "arguments": '{"cmd":"ls"}', "call_id": "c1"},
                {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin", "call_id": "c2"},
                {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
                {
                    "type": "custom_tool_call_output",
                    "call_id": "c2",
                    "output": [
                        {"type": "input_text", "text": "Done."},
                        {"type": "input_image", "image_url": "data:image/png;base64,QUJD"},
                    ],
                },
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go on."}]},
            ],
            "tools": [
                {"type": "function", "name": "shell", "description": "Run.", "strict": False, "parameters": {"a": 1}},
                {
                    "type": "custom",
                    "name": "apply_patch",
                    "description": "Edit.",
                    "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
                },
            ],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "reasoning": {"effort": "high", "summary": "auto"},
            "store": False,
            "stream": True,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "thread",
            "text": {"verbosity": "low"},
            "client_metadata": {"x-codex-installation-id": "1"},
        }
    )

    assert conversation == Conversation(
        instructions=[Text(text="You are a coding agent."), Text(text="Sandboxed.")],
        turns=[
            Turn(role="user", parts=[Text(text="Fix it.")]),
            Turn(
                role="assistant",
                parts=[
                    Thinking(text="Hm.", seal=Seal(Dialect.ANTHROPIC_MESSAGES, "c2ln")),
                    Text(text="I look."),
                    ToolCall(id="c1", name="shell", arguments='{"cmd":"ls"}'),
                    ToolCall(id="c2", name="apply_patch", arguments="*** Begin", freeform=True),
                ],
            ),
            Turn(
                role="user",
                parts=[
                    ToolResult(call_id="c1", name="shell", content=[Text(text="a.txt")]),
                    ToolResult(
                        call_id="c2",
                        name="apply_patch",
                        content=[Text(text="Done."), Media(kind="image", media_type="image/png", data="QUJD")],
                    ),
                ],
            ),
            Turn(role="user", parts=[Text(text="Go on.")]),
        ],
        tools=[
            Tool(name="shell", description="Run.", schema={"a": 1}, strict=False),
            Tool(name="apply_patch", description="Edit.", freeform=True, grammar=Grammar("lark", "start: x")),
        ],
        tool_choice=ToolChoice(),
        parallel_tool_calls=True,
        reasoning=Reasoning(effort="high", show=True),
        prompt_cache_key="thread",
        verbosity="low",
    )


NAMESPACED: dict[str, Any] = {
    "tools": [
        {
            "type": "namespace",
            "name": "multi_agent_v1",
            "description": "Sub-agents.",
            "tools": [
                {"type": "function", "name": "spawn_agent", "description": "Spawn.", "parameters": {"a": 1}},
                {"type": "custom", "name": "note"},
            ],
        },
        {"type": "function", "name": "shell"},
    ],
}


def test_namespaced_tools_have_one_name() -> None:
    later = {"type": "namespace", "name": "mcp__files", "tools": [{"type": "function", "name": "read"}]}
    conversation = read(
        {
            **NAMESPACED,
            "input": [
                {
                    "type": "additional_tools",
                    "role": "developer",
                    "tools": [later, {"type": "function", "name": "shell"}],
                },
                {
                    "type": "function_call",
                    "call_id": "c",
                    "namespace": "multi_agent_v1",
                    "name": "spawn_agent",
                    "arguments": "{}",
                },
                {"type": "function_call_output", "call_id": "c", "output": "ok", "namespace": "multi_agent_v1"},
            ],
        }
    )

    assert {tool.name: tool.description for tool in conversation.tools} == {
        "mcp__files__read": None,
        "shell": None,
        "multi_agent_v1__spawn_agent": "Sub-agents.\n\nSpawn.",
        "multi_agent_v1__note": None,
    }
    assert len(conversation.tools) == 4
    assert conversation.turns[0].parts == [ToolCall(id="c", name="multi_agent_v1__spawn_agent")]
    assert conversation.foreign == {}


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_namespaced_tools_name_both(stream: bool) -> None:
    calls = [
        ToolCall(id="c1", name="multi_agent_v1__spawn_agent", arguments='{"a":1}'),
        ToolCall(id="c2", name="multi_agent_v1__note", arguments='{"input":"x"}'),
        ToolCall(id="c3", name="shell"),
    ]
    if stream:
        parts = [
            part_events(index, "tool_call", call.arguments, call_id=call.id, name=call.name)
            for index, call in enumerate(calls)
        ]
        answer = accumulate(write_events(events_of(*parts, finish="tool_calls"), NAMESPACED))
    else:
        answer = write(make_answer(*calls), NAMESPACED)

    assert [(item.type, getattr(item, "namespace", None), getattr(item, "name", None)) for item in answer.output] == [
        ("function_call", "multi_agent_v1", "spawn_agent"),
        ("custom_tool_call", "multi_agent_v1", "note"),
        ("function_call", None, "shell"),
    ]
    items = [item.model_dump(exclude_none=True) for item in answer.output]
    turn = read({"input": items}).turns[0]
    assert [part.name for part in turn.parts if isinstance(part, ToolCall)] == [call.name for call in calls]


@pytest.mark.parametrize(
    ("part", "media"),
    [
        (
            {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "high"},
            Media(kind="image", url="https://example.org/a.png", detail="high"),
        ),
        (
            {"type": "input_image", "image_url": "data:image/JPEG;base64,QQ=="},
            Media(kind="image", media_type="image/jpeg", data="QQ=="),
        ),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
            Media(kind="document", media_type="application/pdf", data="QQ==", name="a.pdf"),
        ),
        (
            {"type": "input_file", "file_url": "https://example.org/a.pdf"},
            Media(kind="document", url="https://example.org/a.pdf"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
            Media(kind="audio", media_type="audio/wav", data="QQ=="),
        ),
        (
            {"type": "input_image", "image_url": "https://x/y", "prompt_cache_breakpoint": {"mode": "explicit"}},
            Media(kind="image", url="https://x/y", cache_ttl="5m"),
        ),
        (
            {"type": "input_text", "text": "T", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
            Text(text="T", cache_ttl="1h"),
        ),
    ],
)
def test_content_parts(part: dict[str, Any], media: Media | Text) -> None:
    assert read({"input": [{"role": "user", "content": [part]}]}).turns[0].parts == [media]


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("max_output_tokens", 5, "max_output_tokens", 5),
        ("temperature", 1.5, "temperature", 1.5),
        ("top_p", 0, "top_p", 0),
        ("parallel_tool_calls", False, "parallel_tool_calls", False),
        ("prompt_cache_key", "k", "prompt_cache_key", "k"),
        ("user", "u", "user", "u"),
        ("safety_identifier", "s", "user", "s"),
        ("service_tier", "flex", "service_tier", "flex"),
        ("service_tier", "auto", "service_tier", None),
        ("top_logprobs", 3, "logprobs", 3),
        ("top_logprobs", 0, "logprobs", None),
        ("include", ["message.output_text.logprobs"], "logprobs", 0),
        ("text", {"format": {"type": "text"}}, "output", None),
        ("text", {"format": {"type": "json_object"}}, "output", OutputFormat(kind="json_object")),
        (
            "text",
            {"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True, "description": "d"}},
            "output",
            OutputFormat(kind="json_schema", name="n", schema={"a": 1}, strict=True, description="d"),
        ),
        ("reasoning", {"effort": "none"}, "reasoning", Reasoning(effort="none")),
        ("reasoning", {"generate_summary": "concise"}, "reasoning", Reasoning(show=True)),
        ("reasoning", {"context": "auto", "mode": "standard", "effort": None}, "reasoning", None),
        ("reasoning", {"context": "all_turns"}, "reasoning", None),
        ("tool_choice", "none", "tool_choice", ToolChoice(mode="none")),
        ("tool_choice", {"type": "function", "name": "f"}, "tool_choice", ToolChoice(mode="named", names=("f",))),
        ("tool_choice", {"type": "custom", "name": "f"}, "tool_choice", ToolChoice(mode="named", names=("f",))),
        (
            "tool_choice",
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            "tool_choice",
            ToolChoice(mode="required", names=("f",)),
        ),
    ],
)
def test_fields(field: str, value: Any, attribute: str, expected: Any) -> None:
    assert getattr(read({field: value}), attribute) == expected


@pytest.mark.parametrize(
    "advice",
    [
        {"store": True},
        {"store": False, "metadata": {"a": "b"}},
        {"background": False, "truncation": "disabled", "max_tool_calls": 4},
        {"previous_response_id": None, "conversation": None, "prompt": None, "context_management": []},
        {"prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "implicit"}},
        {"stream_options": {"include_obfuscation": False}, "include": ["reasoning.encrypted_content"]},
        {"service_tier": "default"},
    ],
)
def test_what_only_advises_is_left_out(advice: dict[str, Any]) -> None:
    assert read(advice) == read({})


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({"background": True}, ["background"]),
        ({"previous_response_id": "resp_1"}, ["previous_response_id"]),
        ({"conversation": "conv_1"}, ["conversation"]),
        ({"prompt": {"id": "pmpt_1"}}, ["prompt"]),
        ({"truncation": "auto"}, ["truncation"]),
        ({"prompt_cache_options": {"prewarm": True}}, ["prompt_cache_options.prewarm"]),
        ({"include": ["reasoning.encrypted_content", "file_search_call.results"]}, ["include[1]"]),
        ({"reasoning": {"mode": "pro", "context": "of tomorrow"}}, ["reasoning.context", "reasoning.mode"]),
        ({"text": {"tone": "warm"}}, ["text.tone"]),
        ({"new_field": 1}, ["new_field"]),
        ({"tools": [{"type": "web_search"}, {"type": "function", "name": "f"}]}, ["tools[0]"]),
        ({"tools": [{"type": "mcp", "server_label": "s"}, {"type": "local_shell"}]}, ["tools[0]", "tools[1]"]),
        ({"tools": [{"type": "function", "name": "f", "defer_loading": True}]}, ["tools[0].defer_loading"]),
        ({"tools": [{"type": "custom", "name": "f", "async": True}]}, ["tools[0].async"]),
        (
            {"tools": [{"type": "function", "name": "f", "allowed_callers": ["programmatic"]}]},
            ["tools[0].allowed_callers"],
        ),
        ({"tool_choice": {"type": "web_search_preview"}}, ["tool_choice"]),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
            ["tool_choice.tools[0]"],
        ),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, ["input[0]"]),
        ({"input": [{"id": "msg_1"}]}, ["input[0]"]),
        ({"input": [{"role": "user", "content": "Hi"}, {"type": "web_search_call", "id": "ws"}]}, ["input[1]"]),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
            ["input[0].content[0]"],
        ),
        (
            {"tools": [{"type": "namespace", "name": "n", "description": "", "tools": [{"type": "mcp"}]}]},
            ["tools[0].tools[0]"],
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "async": True}]},
            ["input[0].async"],
        ),
    ],
)
def test_what_only_openai_can_do_is_foreign(body: dict[str, Any], places: list[str]) -> None:
    assert sorted(read(body).foreign) == places


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"[]", None),
        (b"nothing", None),
        (b'{"input":' + b"[" * 100_000, None),
        (b"{}", "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": "narrator", "content": "Hi"}]}, "input[0].role"),
        ({"input": [{"type": "novel"}]}, "input[0].type"),
        ({"input": [{"type": ["x"]}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [5]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "smell"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": [{"type": "reasoning", "summary": "s"}]}, "input[0].summary"),
        ({"input": [{"type": "item_reference", "id": "msg_ownkey1_m_0"}]}, "input[0]"),
        ({"instructions": ["x"]}, "instructions"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
        ({"tools": [{"type": "custom", "name": "f", "format": {"type": "ebnf"}}]}, "tools[0].format.type"),
        ({"tools": [{"type": "namespace", "name": "n"}]}, "tools[0].tools"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}, "tools[0].tools[0].name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"effort": ["low"]}}, "reasoning.effort"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"include": "x"}, "include"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any] | bytes, place: str | None) -> None:
    assert refused(body) == place


@pytest.mark.parametrize(
    ("items", "turns"),
    [
        # Two messages are two turns, unless calls wait for their outputs.
        (["a", "b"], [["a"], ["b"]]),
        (["r", "a", "c1", "b"], [["r", "a", "c1", "b"]]),
        (["r", "r", "c1", "c2"], [["r", "r", "c1", "c2"]]),
        (["a", "r", "b"], [["a"], ["r", "b"]]),
        (["c1", "o1", "b"], [["c1"], ["o1"], ["b"]]),
        (["c1", "c2", "o1", "o2", "a"], [["c1", "c2"], ["o1", "o2"], ["a"]]),
    ],
)
def test_items_are_grouped_into_turns(items: list[str], turns: list[list[str]]) -> None:
    def write(word: str) -> dict[str, Any]:
        match word[0]:
            case "r":
                return {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "s"}
            case "c":
                return {"type": "function_call", "call_id": word[1], "name": "f", "arguments": "{}"}
            case "o":
                return {"type": "function_call_output", "call_id": word[1], "output": "x"}
        return {"role": "assistant", "content": word}

    def name(part: Any) -> str:
        match part:
            case Thinking():
                return "r"
            case ToolCall():
                return f"c{part.id}"
            case ToolResult():
                return f"o{part.call_id}"
        return str(part.text)

    read_turns = read({"input": [write(item) for item in items]}).turns

    assert [[name(part) for part in turn.parts] for turn in read_turns] == turns


def test_instructions_in_mid_conversation_stay_there() -> None:
    items = [{"role": role, "content": role} for role in ("system", "developer", "user", "developer")]
    conversation = read({"input": items})

    assert [text.text for text in conversation.instructions] == ["system", "developer"]
    assert [turn.role for turn in conversation.turns] == ["user", "system"]


def test_openais_own_seal_keeps_the_items_id() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}

    assert read({"input": [item]}).turns[0].parts == [Thinking(seal=Seal(Dialect.OPENAI_RESPONSES, "gAAA", "rs_1"))]


def test_what_a_client_was_given_comes_back() -> None:
    """Seals of thinking and of calls, freeform calls, refusals and pictures survive a client that keeps items."""
    call_seal = Seal(Dialect.GEMINI, "QUJD")
    parts = [
        Thinking(text="Hm.", seal=Seal(Dialect.ANTHROPIC_MESSAGES, "c2ln")),
        Thinking(seal=Seal(Dialect.ANTHROPIC_MESSAGES, "cmVk", redacted=True)),
        Thinking(text="Open."),
        Refusal(text="No."),
        Text(text="Hi"),
        ToolCall(id="c1", name="f", arguments='{"a":1}', seal=call_seal),
        ToolCall(id="c2", name="p", arguments="x", freeform=True),
    ]
    answer = write(make_answer(*parts))
    for drop_ids in (False, True):
        items = [item.model_dump(exclude_none=True) for item in answer.output]
        for item in items if drop_ids else []:
            item.pop("id")
        assert read({"input": items}).turns == [Turn(role="assistant", parts=parts)]


def test_a_picture_that_a_model_drew_comes_back() -> None:
    picture = Media(kind="image", media_type="image/webp", data="QUJD")
    items = [item.model_dump(exclude_none=True) for item in write(make_answer(picture)).output]

    assert read({"input": items}).turns == [Turn(role="assistant", parts=[picture])]
    assert sorted(read({"input": [{**items[0], "id": "ig_1"}]}).foreign) == ["input[0]"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "reasoning",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "user",
    "prompt_cache_options",
    "service_tier",
]
KINDS = [
    "additional_tools",
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "compaction",
    "x",
]
items = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(KINDS),
        "role": st.sampled_from(["user", "assistant", "developer", "x"]),
        **dict.fromkeys(
            ["content", "summary", "output", "call_id", "name", "arguments", "input", "id", "tools", "namespace"],
            json_values,
        ),
    },
)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.sampled_from(NAMES), json_values) | st.fixed_dictionaries({"input": st.lists(items, max_size=4)})
)
def test_no_json_breaks_the_reader(body: dict[str, Any]) -> None:
    try:
        conversation = read(json.dumps(body).encode())
    except RequestError as error:
        assert error.message
    else:
        assert isinstance(conversation, Conversation)
