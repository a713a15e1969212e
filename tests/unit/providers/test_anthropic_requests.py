"""A chat completion becomes the Messages request that means the same, or is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownkey.domain.provider import Dialect, Provider
from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.adapter import AnthropicMessages
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call

ADAPTER = AnthropicMessages()
CLAUDE = load_catalog()["anthropic"]
HELLO = [{"role": "user", "content": "Hello"}]
OLD, NEW = "claude-haiku-4-5", "claude-sonnet-5-5"
TOOL = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}


def build(model: str = NEW, *, messages: Any = HELLO, **fields: Any) -> dict[str, Any]:
    body = json.dumps({"model": "x", "messages": messages, **fields}).encode()
    request = ADAPTER.encode(CLAUDE, CLAUDE.base_url, Call(operation="chat", body=body, model=model))
    return json.loads(request.body)


def refused(model: str = NEW, **fields: Any) -> str | None:
    with pytest.raises(RequestError) as caught:
        build(model, **fields)
    return caught.value.param


def turns(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return build(messages=list(messages))["messages"]


def test_the_smallest_request() -> None:
    assert build() == {"model": NEW, "max_tokens": 64_000, "messages": HELLO}


def test_the_envelope() -> None:
    call = Call(operation="chat", body=json.dumps({"messages": HELLO, "stream": True}).encode(), model=NEW, stream=True)
    request = ADAPTER.encode(CLAUDE, "https://b.test/v1", call)

    assert (request.method, request.url) == ("POST", "https://b.test/v1/messages")
    assert dict(request.headers) == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "anthropic-version": "2023-06-01",
    }
    assert request.auth_header == ("x-api-key", "")
    assert json.loads(request.body)["stream"] is True


def test_a_row_without_the_version_header_gets_one() -> None:
    bare = Provider(id="p", label="P", dialect=Dialect.ANTHROPIC_MESSAGES, base_url="https://p.test")
    request = ADAPTER.encode(
        bare, bare.base_url, Call(operation="chat", body=b'{"messages":[{"role":"user","content":"a"}]}', model="m")
    )

    assert ("anthropic-version", "2023-06-01") in request.headers
    assert request.auth_header == ("authorization", "Bearer ")


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-3-haiku-20240307", 4_096),
        ("claude-3-opus-latest", 4_096),
        ("claude-3-5-haiku-latest", 8_192),
        ("claude-3-7-sonnet-20250219", 64_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-opus-4-5", 64_000),
        ("claude-opus-5-5", 64_000),
        ("kimi-k3", 8_192),
    ],
)
def test_a_request_without_a_limit_gets_what_the_model_has(model: str, limit: int) -> None:
    assert build(model)["max_tokens"] == limit


def test_the_clients_limit_is_kept() -> None:
    assert build(max_tokens=5)["max_tokens"] == 5
    assert build(max_completion_tokens=6)["max_tokens"] == 6
    assert build(max_tokens=5, max_completion_tokens=6)["max_tokens"] == 6
    assert build(max_completion_tokens=6, max_tokens=5)["max_tokens"] == 6
    assert build(max_tokens=None)["max_tokens"] == 64_000
    for wrong in (0, -1, 1.5, "5", True):
        assert refused(max_tokens=wrong) == "max_tokens"


def test_system_and_developer_messages_become_the_system_text() -> None:
    request = build(
        messages=[
            {"role": "system", "content": "One."},
            {"role": "user", "content": "Hello"},
            {
                "role": "developer",
                "content": [{"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}}],
            },
        ]
    )

    assert request["system"] == [
        {"type": "text", "text": "One."},
        {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}},
    ]
    assert request["messages"] == HELLO


def test_neighbours_of_one_role_are_merged() -> None:
    assert turns(
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e"},
    ) == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
        {"role": "user", "content": "e"},
    ]


def test_parallel_tool_calls_and_their_results() -> None:
    calls = [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "look", "arguments": '{"at": "caf\\u00e9", "n": 1e2}'},
        },
        {"id": "functions.look:1", "type": "function", "function": {"name": "look", "arguments": ""}},
    ]
    conversation = turns(
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "seen"},
        {"role": "tool", "tool_call_id": "functions.look:1", "content": [{"type": "text", "text": "nothing"}]},
        {"role": "user", "content": "And?"},
    )

    assert conversation[1] == {
        "role": "assistant",
        "content": [
            {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "café", "n": 100.0}},
            {"type": "tool_use", "id": "functions_look_1", "name": "look", "input": {}},
        ],
    }
    assert conversation[2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "seen"},
            {"type": "tool_result", "tool_use_id": "functions_look_1", "content": "nothing"},
            {"type": "text", "text": "And?"},
        ],
    }


def test_text_before_a_tool_call_stays_before_it() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    conversation = turns(
        {"role": "user", "content": "Look"}, {"role": "assistant", "content": "I look.", "tool_calls": [call]}
    )

    assert [block["type"] for block in conversation[1]["content"]] == ["text", "tool_use"]


def test_an_empty_tool_result_is_a_result() -> None:
    assert turns({"role": "tool", "tool_call_id": "c", "content": ""})[0]["content"] == [
        {"type": "tool_result", "tool_use_id": "c"}
    ]


def test_images_by_url_and_by_data() -> None:
    content = [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,iVBORw0KGgo="}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]

    assert turns({"role": "user", "content": content})[0]["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "a.pdf",
        },
    ]


def test_an_image_in_a_tool_result() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    block = turns({"role": "tool", "tool_call_id": "c", "content": [part]})[0]["content"][0]

    assert block["content"] == [{"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}]


def test_what_says_nothing_is_not_sent() -> None:
    assert turns(
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "b"}]},
    ) == [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x.test/a"}}]},
            "messages[0].content[0].image_url",
        ),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "video"}]}, "messages[0].content[0]"),
        (
            {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a"}}]},
            "messages[0].content[0]",
        ),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "function", "content": "x"}, "messages[0].role"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "messages[0].function_call"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]},
            "messages[0].tool_calls[0]",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[]"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"role": "user", "content": 3}, "messages[0].content"),
        ({"content": "x"}, "messages[0]"),
    ],
)
def test_a_message_that_cannot_be_translated_is_named(message: dict[str, Any], param: str) -> None:
    assert refused(messages=[message]) == param


def test_a_conversation_of_nothing_is_refused() -> None:
    assert refused(messages=[]) == "messages"
    assert refused(messages=[{"role": "system", "content": "x"}]) == "messages"
    assert refused(messages="hello") == "messages"


def test_several_speakers_are_refused_but_one_is_fine() -> None:
    anna, ben = {"role": "user", "content": "a", "name": "anna"}, {"role": "user", "content": "b", "name": "ben"}

    assert refused(messages=[anna, ben]) == "messages[0].name"
    assert build(messages=[anna, {"role": "assistant", "content": "x", "name": "bot"}])["messages"]


def test_tools() -> None:
    strict = {"type": "function", "function": {"name": "now", "strict": True}}
    request = build(tools=[TOOL, strict])

    assert request["tools"] == [
        {"name": "look", "input_schema": {"type": "object"}, "description": "Look."},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}, "strict": True},
    ]
    assert "tool_choice" not in request
    assert "tools" not in build(tools=[])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "look"}}, {"type": "tool", "name": "look"}),
    ],
)
def test_the_choice_of_a_tool(given: Any, expected: dict[str, Any]) -> None:
    assert build(tools=[TOOL], tool_choice=given)["tool_choice"] == expected

    alone = build(tools=[TOOL], tool_choice=given, parallel_tool_calls=False)["tool_choice"]
    assert alone == (expected if given == "none" else {**expected, "disable_parallel_tool_use": True})


def test_one_tool_at_a_time_without_a_choice() -> None:
    assert build(tools=[TOOL], parallel_tool_calls=False)["tool_choice"] == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }
    assert "tool_choice" not in build(parallel_tool_calls=False)
    assert "tool_choice" not in build(tools=[TOOL], parallel_tool_calls=True)


@pytest.mark.parametrize("tool", [{"type": "custom"}, {"type": "function"}, {"type": "function", "function": {}}, 3])
def test_other_tools_are_refused(tool: Any) -> None:
    assert refused(tools=[tool]) == "tools[0]"


def test_other_choices_are_refused() -> None:
    for choice in ("any", {"type": "allowed_tools"}, {"type": "function"}, 3):
        assert refused(tools=[TOOL], tool_choice=choice) == "tool_choice"


def test_stop_user_and_advice() -> None:
    assert build(stop="END")["stop_sequences"] == ["END"]
    assert build(stop=["a", "b"])["stop_sequences"] == ["a", "b"]
    assert "stop_sequences" not in build(stop=[])
    assert refused(stop=3) == "stop"
    assert build(user="u-1")["metadata"] == {"user_id": "u-1"}
    advice = {"store": True, "metadata": {"a": "b"}, "prompt_cache_key": "k", "prediction": {"type": "content"}}
    assert build(**advice) == build()


def test_sampling_where_the_model_has_it() -> None:
    request = build(OLD, temperature=0.2, top_p=0.9, top_k=5)

    assert (request["temperature"], request["top_p"], request["top_k"]) == (0.2, 0.9, 5)
    assert refused(OLD, temperature=1.5) == "temperature"
    assert refused(OLD, temperature="hot") == "temperature"
    assert refused(OLD, temperature=-1) == "temperature"
    assert refused(OLD, top_p=2) == "top_p"


@pytest.mark.parametrize("model", ["claude-opus-4-7", "claude-opus-4-8", NEW, "claude-fable-5", "claude-haiku-5-5"])
def test_sampling_is_refused_by_models_that_lost_it(model: str) -> None:
    assert refused(model, temperature=0.2) == "temperature"
    assert refused(model, top_p=0.9) == "top_p"
    assert refused(model, top_k=5) == "top_k"
    # The default says what happens anyway.
    assert build(model, temperature=1, top_p=1.0) == build(model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"50256": -100}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -0.5),
        ("seed", 7),
        ("audio", {"voice": "alloy"}),
        ("modalities", ["text", "audio"]),
        ("functions", [{"name": "f"}]),
        ("function_call", "auto"),
        ("web_search_options", {}),
        ("service_tier", "flex"),
        ("verbosity", "low"),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema"}),
        ("a_field_of_tomorrow", 1),
    ],
)
def test_what_claude_cannot_do_is_refused_by_name(field: str, value: Any) -> None:
    assert refused(**{field: value}) == field


def test_values_that_change_nothing_are_accepted() -> None:
    defaults = {
        "n": 1,
        "logprobs": False,
        "logit_bias": {},
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "seed": None,
        "modalities": ["text"],
        "service_tier": "auto",
        "verbosity": "medium",
        "response_format": {"type": "text"},
        "audio": None,
    }

    assert build(**defaults) == build()


def test_a_json_schema_is_passed_on() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    request = build(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    )

    assert request["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize(("given", "expected"), [("minimal", "low"), ("low", "low"), ("high", "high"), ("max", "max")])
def test_effort_for_models_that_think_adaptively(given: str, expected: str) -> None:
    request = build(reasoning_effort=given)

    assert request["thinking"] == {"type": "adaptive"}
    assert request["output_config"] == {"effort": expected}


def test_effort_and_a_schema_share_their_place() -> None:
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}

    assert set(build(reasoning_effort="low", response_format=wanted)["output_config"]) == {"effort", "format"}


def test_effort_for_models_with_a_budget() -> None:
    assert build(OLD, reasoning_effort="medium")["thinking"] == {"type": "enabled", "budget_tokens": 8_192}
    assert build(OLD, reasoning_effort="high", max_tokens=4_000)["thinking"]["budget_tokens"] == 3_999
    assert refused(OLD, reasoning_effort="low", max_tokens=1_024) == "max_completion_tokens"
    assert refused(OLD, reasoning_effort="low", tools=[TOOL], tool_choice="required") == "tool_choice"


def test_a_budget_waits_while_tools_are_answered() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    loop = [*HELLO, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "x"}]

    assert "thinking" not in build(OLD, messages=loop, reasoning_effort="low", tools=[TOOL])
    after = [*loop, {"role": "assistant", "content": "Done."}, *HELLO]
    assert "thinking" in build(OLD, messages=after, reasoning_effort="low", tools=[TOOL])


def test_no_effort() -> None:
    assert "thinking" not in build(OLD, reasoning_effort="none")
    assert build(reasoning_effort="none")["thinking"] == {"type": "disabled"}
    assert refused(reasoning_effort="huge") == "reasoning_effort"
    assert refused("claude-3-5-haiku-latest", reasoning_effort="low") == "reasoning_effort"
    assert refused("kimi-k3", reasoning_effort="low") == "reasoning_effort"


def test_claudes_own_field_wins() -> None:
    own = {"type": "enabled", "budget_tokens": 2_000}

    assert build(OLD, thinking=own, reasoning_effort="high")["thinking"] == own
    assert build(OLD, reasoning_effort="high", thinking=own)["thinking"] == own


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"messages":'])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        ADAPTER.encode(CLAUDE, CLAUDE.base_url, Call(operation="chat", body=body, model=NEW))


def test_embeddings_are_refused() -> None:
    with pytest.raises(RequestError):
        ADAPTER.encode(CLAUDE, CLAUDE.base_url, Call(operation="embeddings", body=b'{"input":"a"}', model=NEW))
