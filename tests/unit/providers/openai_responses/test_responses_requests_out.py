"""What a provider of `/responses` is asked, checked with the SDK's types; what it cannot carry is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter
from responses_reading import BASE_URL, OPENAI

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
from ownkey.providers.openai_responses.models import fit_effort, reasons, takes_breakpoints, takes_sampling
from ownkey.providers.openai_responses.outbound import ResponsesOutbound

PARAMS: TypeAdapter[ResponseCreateParamsNonStreaming] = TypeAdapter(ResponseCreateParamsNonStreaming)
HI = [Turn(role="user", parts=[Text(text="Hi")])]
SEAL = Seal(Dialect.OPENAI_RESPONSES, "gAAA", "rs_1")
TOOLS = [
    Tool(name="f", description="F.", schema={"type": "object", "properties": {"a": {"type": "string"}}}, strict=True),
    Tool(name="g"),
    Tool(name="p", freeform=True, grammar=Grammar("regex", "x+")),
]


def build(conversation: Conversation, model: str = "gpt-5.6-sol", *, stream: bool = False) -> dict[str, Any]:
    call = Call(operation="chat", body=b"{}", model=model, stream=stream)
    request = ResponsesOutbound().write_request(OPENAI, BASE_URL, call, conversation)
    assert isinstance(request.body, bytes)
    body: dict[str, Any] = json.loads(request.body)
    return body


def build_turns(*turns: Turn, **more: Any) -> list[dict[str, Any]]:
    body = build(Conversation(turns=list(turns), **more))
    list(PARAMS.validate_python(body)["input"])
    items: list[dict[str, Any]] = body["input"]
    return items


def refused(conversation: Conversation, model: str = "gpt-5.6-sol") -> str | None:
    with pytest.raises(RequestError) as caught:
        build(conversation, model)
    return caught.value.param


def test_where_it_goes() -> None:
    call = Call(operation="chat", body=b"{}", model="gpt-5", stream=True)
    request = ResponsesOutbound().write_request(OPENAI, BASE_URL, call, Conversation(turns=HI))

    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1/responses")
    assert dict(request.headers)["accept"] == "text/event-stream"
    assert request.auth_header == ("authorization", "Bearer ")


def test_nothing_is_stored_and_reasoning_comes_back_sealed() -> None:
    assert build(Conversation(turns=HI), stream=True) == {
        "model": "gpt-5.6-sol",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
    }


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-4o-mini", "openai/gpt-4o", "gpt-3.5-turbo", "gpt-5-chat-latest"])
def test_a_model_that_does_not_reason_is_not_asked_for_it(model: str) -> None:
    """OpenAI refuses the whole request: "Encrypted content is not supported with this model"."""
    assert "include" not in build(Conversation(turns=HI), model)
    assert "reasoning" not in build(Conversation(turns=HI, reasoning=Reasoning(effort="none")), model)
    assert refused(Conversation(turns=HI, reasoning=Reasoning(effort="low")), model) == "reasoning"


def test_every_field() -> None:
    body = build(
        Conversation(
            turns=HI,
            instructions=[Text(text="Be brief.")],
            tools=TOOLS,
            tool_choice=ToolChoice(mode="required", names=("f", "p")),
            parallel_tool_calls=False,
            output=OutputFormat(kind="json_schema", name="n", schema={"type": "object"}, strict=True, description="d"),
            reasoning=Reasoning(effort="low", show=True),
            max_output_tokens=16,
            temperature=0.5,
            top_p=0.25,
            logprobs=2,
            user="u",
            service_tier="flex",
            prompt_cache_key="k",
            verbosity="low",
        )
    )
    PARAMS.validate_python(body)

    assert {name: value for name, value in body.items() if name not in ("input", "model", "store")} == {
        "instructions": "Be brief.",
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "tools": [
            {
                "type": "function",
                "name": "f",
                "description": "F.",
                "parameters": TOOLS[0].schema,
                "strict": True,
            },
            {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": False},
            {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "regex", "definition": "x+"}},
        ],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "p"}],
        },
        "parallel_tool_calls": False,
        "text": {
            "format": {
                "type": "json_schema",
                "name": "n",
                "schema": {"type": "object"},
                "description": "d",
                "strict": True,
            },
            "verbosity": "low",
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 16,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_logprobs": 2,
        "user": "u",
        "service_tier": "flex",
        "prompt_cache_key": "k",
    }


def test_a_conversation_with_tools() -> None:
    items = build_turns(
        Turn(role="user", parts=[Text(text="Look."), Media(kind="image", media_type="image/png", data="QQ==")]),
        Turn(
            role="assistant",
            parts=[
                Thinking(text="Hm.", seal=SEAL),
                Thinking(text="Open."),
                Thinking(text="Claude's.", seal=Seal(Dialect.ANTHROPIC_MESSAGES, "c2ln")),
                Text(text="I "),
                Text(text="look."),
                ToolCall(id="c1", name="f", arguments='{"a":"b"}'),
                ToolCall(id="c2", name="p", arguments="xx", freeform=True),
            ],
        ),
        Turn(
            role="user",
            parts=[
                ToolResult(call_id="c1", content=[Text(text="one")]),
                ToolResult(
                    call_id="c2", content=[Text(text="two"), Media(kind="image", url="https://x/y", detail="low")]
                ),
                Text(text="And?"),
            ],
        ),
        Turn(role="system", parts=[Text(text="Be quick.")]),
    )

    assert items == [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look."},
                {"type": "input_image", "image_url": "data:image/png;base64,QQ==", "detail": "auto"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "gAAA",
        },
        {"type": "message", "role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":"b"}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "p", "input": "xx"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [
                {"type": "input_text", "text": "two"},
                {"type": "input_image", "image_url": "https://x/y", "detail": "low"},
            ],
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And?"}]},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be quick."}]},
    ]


def test_a_refusal_stays_one() -> None:
    body = build(Conversation(turns=[Turn(role="assistant", parts=[Refusal(text="No.")]), *HI]))

    assert body["input"][0] == {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "No."}],
    }


@pytest.mark.parametrize(
    ("media", "part"),
    [
        (
            Media(kind="document", media_type="application/pdf", data="QQ==", name="a.pdf"),
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
        ),
        (
            Media(kind="document", media_type="text/plain", data="QQ=="),
            {"type": "input_file", "filename": "document.txt", "file_data": "data:text/plain;base64,QQ=="},
        ),
        (Media(kind="document", url="https://x/y.pdf"), {"type": "input_file", "file_url": "https://x/y.pdf"}),
    ],
)
def test_documents(media: Media, part: dict[str, Any]) -> None:
    assert build_turns(Turn(role="user", parts=[media]))[0]["content"] == [part]


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (ToolResult(call_id="c", content=[]), ""),
        (ToolResult(call_id="c", content=[], is_error=True), "Error: "),
        (ToolResult(call_id="c", content=[Text(text="No such file.")], is_error=True), "Error: No such file."),
        (ToolResult(call_id="c", content=[Text(text="error: 5")], is_error=True), "error: 5"),
        (
            ToolResult(call_id="c", content=[Text(text="a"), Text(text="b")]),
            [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
        ),
    ],
)
def test_outputs_of_tools(result: ToolResult, output: Any) -> None:
    items = build_turns(Turn(role="user", parts=[result]))

    assert items == [{"type": "function_call_output", "call_id": "c", "output": output}]


def test_several_instructions_stay_apart() -> None:
    texts = [Text(text="One."), Text(text="Two.", cache_ttl="5m")]
    items = build_turns(*HI, instructions=texts)

    assert items[0] == {
        "type": "message",
        "role": "developer",
        "content": [
            {"type": "input_text", "text": "One."},
            {"type": "input_text", "text": "Two.", "prompt_cache_breakpoint": {"mode": "explicit"}},
        ],
    }


def test_cache_marks_go_to_models_that_know_them() -> None:
    turns = [Turn(role="user", parts=[Text(text="Hi", cache_ttl="1h")])]

    marked = build(Conversation(turns=turns), "gpt-6-astra")["input"][0]["content"][0]
    assert marked["prompt_cache_breakpoint"] == {"mode": "explicit", "ttl": "12h"}
    assert build(Conversation(turns=turns), "gpt-5.5")["input"][0]["content"] == [{"type": "input_text", "text": "Hi"}]


def test_long_ids_of_calls_are_cut_alike() -> None:
    identifier = "x" * 100
    call, output = build_turns(
        Turn(role="assistant", parts=[ToolCall(id=identifier, name="f")]),
        Turn(role="user", parts=[ToolResult(call_id=identifier, content=[])]),
    )

    assert call["call_id"] == output["call_id"]
    assert len(call["call_id"]) <= 64


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (None, None),
        (ToolChoice(), "auto"),
        (ToolChoice(mode="none"), "none"),
        (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="named", names=("f",)), {"type": "function", "name": "f"}),
        (ToolChoice(mode="named", names=("p",)), {"type": "custom", "name": "p"}),
        (
            ToolChoice(mode="auto", names=("g",)),
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]},
        ),
    ],
)
def test_tool_choices(choice: ToolChoice | None, written: Any) -> None:
    body = build(Conversation(turns=HI, tools=TOOLS, tool_choice=choice))

    assert body.get("tool_choice") == written


@pytest.mark.parametrize(
    ("reasoning", "written"),
    [
        (Reasoning(effort="high"), {"effort": "high"}),
        (Reasoning(effort="none", show=True), {"effort": "none"}),
        (Reasoning(budget_tokens=0), {"effort": "none"}),
        (Reasoning(budget_tokens=1024), {"effort": "low"}),
        (Reasoning(budget_tokens=8192), {"effort": "medium"}),
        (Reasoning(budget_tokens=60_000, show=True), {"effort": "high", "summary": "auto"}),
        (Reasoning(adaptive=True), None),
        (Reasoning(adaptive=True, show=True), {"summary": "auto"}),
        (Reasoning(show=False), None),
    ],
)
def test_reasoning(reasoning: Reasoning, written: Any) -> None:
    assert build(Conversation(turns=HI, reasoning=reasoning)).get("reasoning") == written


@pytest.mark.parametrize(
    ("model", "effort", "fitting"),
    [
        ("o3", "none", "low"),
        ("openai/o4-mini", "max", "high"),
        ("gpt-5-mini", "none", "minimal"),
        ("gpt-5", "xhigh", "high"),
        ("gpt-5.1", "minimal", "low"),
        ("gpt-5.5", "max", "xhigh"),
        ("gpt-6-astra", "max", "max"),
        ("grok-5", "minimal", "minimal"),
    ],
)
def test_an_effort_is_one_that_the_model_knows(model: str, effort: str, fitting: str) -> None:
    assert fit_effort(model, effort) == fitting


def test_what_is_known_of_models() -> None:
    assert [takes_sampling(model) for model in ("o3", "gpt-5-mini", "gpt-5.1", "gpt-4o", "gpt-5-chat-latest", "x")] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]
    assert [takes_breakpoints(model) for model in ("gpt-5", "gpt-5.6-sol", "gpt-6", "gpt-41", "mistral")] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert [reasons(model) for model in ("o1", "gpt-5", "gpt-4.5", "gpt-41", "codex-mini-latest")] == [
        True,
        True,
        False,
        True,
        True,
    ]


def test_a_model_that_chooses_its_sampling() -> None:
    assert "temperature" not in build(Conversation(turns=HI, temperature=1, top_p=1), "gpt-5")
    assert refused(Conversation(turns=HI, temperature=0.5), "gpt-5") == "temperature"
    assert refused(Conversation(turns=HI, top_p=0.5), "o3") == "top_p"


ALL: dict[str, Any] = {"turns": HI}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"stop": ["x"]}, "stop"),
        ({"seed": 0}, "seed"),
        ({"top_k": 5}, "top_k"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -0.5}, "presence_penalty"),
        ({"logit_bias": {"1": 1.0}}, "logit_bias"),
        ({"choices": 2}, "n"),
        ({"max_output_tokens": 15}, "max_output_tokens"),
        ({"foreign": {"messages[0].audio": {}}}, "messages[0].audio"),
        ({"turns": []}, "messages"),
        ({"turns": [Turn(role="user", parts=[Media(kind="audio", media_type="audio/wav", data="QQ==")])]}, "messages"),
        ({"turns": [Turn(role="assistant", parts=[Media(kind="image", url="https://x")])]}, "messages"),
        (
            {
                "turns": [
                    Turn(role="user", name="a", parts=[Text(text="x")]),
                    Turn(role="user", name="b", parts=[Text(text="y")]),
                ]
            },
            "messages",
        ),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    assert refused(Conversation(**{**ALL, **more})) == param


def test_a_foreign_tool_is_named_by_its_type() -> None:
    with pytest.raises(RequestError) as caught:
        build(Conversation(turns=HI, foreign={"tools[2]": {"type": "web_search_20250305", "name": "web_search"}}))
    assert "`tools[2]` (web_search_20250305)" in caught.value.message


@pytest.mark.parametrize(
    "more", [{"stop": []}, {"frequency_penalty": 0.0}, {"logit_bias": {}}, {"choices": 1}, {"output": None}]
)
def test_values_that_say_what_happens_anyway(more: dict[str, Any]) -> None:
    assert build(Conversation(turns=HI, **more)) == build(Conversation(turns=HI))


def test_a_value_that_is_too_deep_to_be_written() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"a": schema}

    assert refused(Conversation(turns=HI, tools=[Tool(name="f", schema=schema)])) is None


def test_a_request_that_counts_says_nothing_of_the_answer() -> None:
    call = Call(operation="count_tokens", body=b"{}", model="gpt-5")
    conversation = Conversation(
        turns=HI, instructions=[Text(text="Be brief.")], tools=TOOLS, max_output_tokens=1, user="u"
    )
    request = ResponsesOutbound().write_request(OPENAI, BASE_URL, call, conversation)
    assert isinstance(request.body, bytes)

    assert request.url == "https://api.openai.com/v1/responses/input_tokens"
    assert sorted(json.loads(request.body)) == ["input", "instructions", "model", "tools"]


def test_only_conversations() -> None:
    call = Call(operation="embeddings", body=b"{}", model="m")
    with pytest.raises(RequestError):
        ResponsesOutbound().write_request(OPENAI, BASE_URL, call, Conversation(turns=HI))
