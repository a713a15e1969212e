"""A chat completion becomes the Messages request that means the same, or is refused by name."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from claude_wire import CHAT as ADAPTER
from claude_wire import CLAUDE, chat_call

from ownkey.domain.provider import Dialect, Provider
from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.outbound import AnthropicOutbound
from ownkey.providers.conversation import Conversation, Media, Text, Turn
from ownkey.providers.dialect import Call

HELLO = [{"role": "user", "content": "Hello"}]
BODY = {"messages": HELLO}
OLD, NEW, NEWEST = "claude-haiku-4-5", "claude-sonnet-5", "claude-sonnet-5-5"
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
    for wrong in (1.5, "5", True):
        assert refused(max_tokens=wrong) == "max_tokens"
    for wrong in (0, -1):
        assert refused(max_tokens=wrong) == "max_completion_tokens"


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
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}]},
            "messages",
        ),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x.test/a"}}]}, "messages"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
            "messages[0].content[0].file.file_id",
        ),
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
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "other", "custom": {"name": "f"}}]},
            "messages[0].tool_calls[0]",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]},
            "messages",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[]"}}]},
            "messages",
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

    assert refused(messages=[anna, ben]) == "messages"
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
    assert (refused(tools=[tool]) or "").startswith("tools[0]")


def test_other_choices_are_refused() -> None:
    for choice in ("some", {"type": "allowed_tools"}, {"type": "function"}, 3):
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
        ADAPTER.encode(CLAUDE, CLAUDE.base_url, Call(operation="embeddings", body=json.dumps(BODY).encode(), model=NEW))


@pytest.mark.parametrize("model", [NEWEST, "claude-opus-5-5", "claude-fable-5-1", "claude-mythos-5-2"])
def test_models_that_cannot_be_made_to_call_a_tool(model: str) -> None:
    assert refused(model, tools=[TOOL], tool_choice="required") == "tool_choice"
    assert refused(model, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "look"}}) == "tool_choice"
    assert build(model, tools=[TOOL], tool_choice="auto")["tool_choice"] == {"type": "auto"}
    assert build("claude-haiku-5-5", tools=[TOOL], tool_choice="required")["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("claude-opus-4-8", None),
        ("claude-opus-5", {"type": "disabled"}),
        ("claude-haiku-5-5", {"type": "disabled"}),
        (NEWEST, {"type": "between_tools"}),
    ],
)
def test_turning_thinking_off(model: str, thinking: dict[str, Any] | None) -> None:
    assert build(model, reasoning_effort="none").get("thinking") == thinking


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-fable-5", "claude-mythos-5-1"])
def test_models_that_always_think(model: str) -> None:
    assert refused(model, reasoning_effort="none") == "reasoning_effort"


@pytest.mark.parametrize(
    ("model", "budget", "thinking", "effort"),
    [
        ("claude-sonnet-4-6", 5_000, {"type": "enabled", "budget_tokens": 5_000}, None),
        ("claude-opus-4-7", 2_000, {"type": "adaptive"}, "low"),
        (NEW, 8_000, {"type": "adaptive"}, "medium"),
        (NEW, 20_000, {"type": "adaptive"}, "high"),
        (NEWEST, 60_000, {"type": "adaptive"}, "xhigh"),
        ("kimi-k3", 7, {"type": "enabled", "budget_tokens": 7}, None),
    ],
)
def test_a_budget_for_models_of_every_age(
    model: str, budget: int, thinking: dict[str, Any], effort: str | None
) -> None:
    request = build(model, thinking={"type": "enabled", "budget_tokens": budget})

    assert request["thinking"] == thinking
    assert request.get("output_config", {}).get("effort") == effort


def test_adaptive_thinking_for_models_of_every_age() -> None:
    own = {"type": "adaptive"}

    assert build(OLD, thinking=own)["thinking"] == {"type": "enabled", "budget_tokens": 8_192}
    assert build(NEW, thinking=own)["thinking"] == own
    assert build("kimi-k3", thinking=own)["thinking"] == own
    assert "output_config" not in build(NEW, thinking=own)


def test_the_highest_levels_where_they_are_not_known() -> None:
    assert build("claude-opus-4-6", reasoning_effort="xhigh")["output_config"] == {"effort": "high"}
    assert build("claude-opus-4-6", reasoning_effort="max")["output_config"] == {"effort": "max"}
    assert build("claude-opus-4-7", reasoning_effort="xhigh")["output_config"] == {"effort": "xhigh"}


def test_seeing_the_thoughts() -> None:
    shown = {"effort": "low", "exclude": False}

    assert build(NEW, reasoning=shown)["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert build(NEW, include_reasoning=True)["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert build(NEW, reasoning={"effort": "low", "exclude": True})["thinking"] == {"type": "adaptive"}
    assert "thinking" not in build("claude-opus-4-8", include_reasoning=True)
    # Before 4.7 thoughts are shown unless told otherwise.
    assert build("claude-opus-4-6", reasoning=shown)["thinking"] == {"type": "adaptive"}


def test_sampling_while_thinking() -> None:
    assert refused(OLD, reasoning_effort="low", temperature=0.5) == "temperature"
    assert refused("claude-sonnet-4-6", reasoning_effort="low", top_k=5) == "top_k"
    assert refused("claude-sonnet-4-6", reasoning_effort="low", top_p=0.5) == "top_p"
    assert build(OLD, reasoning_effort="low", temperature=1, top_p=0.97)["top_p"] == 0.97


def test_stops_of_white_space_are_refused() -> None:
    assert refused(stop=["END", "\n\n"]) == "stop"


def test_only_the_allowed_tools_are_offered() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    chosen = {"type": "function", "function": {"name": "look"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [chosen]}}
    request = build(tools=[TOOL, other], tool_choice=allowed)

    assert [tool["name"] for tool in request["tools"]] == ["look"]
    assert request["tool_choice"] == {"type": "any"}


def test_a_choice_without_tools() -> None:
    assert "tool_choice" not in build(tool_choice="auto")
    assert "tool_choice" not in build(tool_choice="none")


def test_a_tool_that_takes_any_text_is_a_function_with_one() -> None:
    custom = {"type": "custom", "custom": {"name": "patch", "description": "Patch."}}
    call = {"id": "c", "type": "custom", "custom": {"name": "patch", "input": 'say "hi"\n'}}
    request = build(
        tools=[custom],
        messages=[
            *HELLO,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "ok"},
        ],
    )

    assert request["tools"][0]["input_schema"]["required"] == ["input"]
    assert request["messages"][1]["content"][0]["input"] == {"input": 'say "hi"\n'}


def test_an_instruction_in_mid_conversation_stays_there_where_it_may() -> None:
    rule = {"role": "developer", "content": "Be brief."}
    answer = {"role": "assistant", "content": "Hi"}
    in_place = {"role": "system", "content": "Be brief."}

    assert build(NEWEST, messages=[*HELLO, rule])["messages"] == [*HELLO, in_place]
    assert build("claude-opus-4-8", messages=[*HELLO, rule, answer, *HELLO])["messages"] == [
        *HELLO,
        in_place,
        answer,
        *HELLO,
    ]
    # Claude takes it neither before a user's message nor after the assistant's, and Sonnet 5 nowhere.
    for model, messages in (
        (NEWEST, [*HELLO, rule, *HELLO]),
        (NEWEST, [*HELLO, answer, rule, *HELLO]),
        (NEW, [*HELLO, rule]),
    ):
        request = build(model, messages=messages)
        assert request["system"] == [{"type": "text", "text": "Be brief."}]
        assert all(message["role"] != "system" for message in request["messages"])


def test_two_instructions_in_a_row_are_one() -> None:
    rules = [{"role": "system", "content": "One."}, {"role": "developer", "content": "Two."}]
    message = build(NEWEST, messages=[*HELLO, *rules])["messages"][-1]

    assert message == {
        "role": "system",
        "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}],
    }


def test_how_long_a_prefix_is_cached() -> None:
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    tool = {**TOOL, "cache_control": {"type": "ephemeral"}}
    request = build(messages=[{"role": "user", "content": [part]}], tools=[tool])

    assert request["messages"][0]["content"] == [part]
    assert request["tools"][0]["cache_control"] == {"type": "ephemeral"}


def test_text_documents() -> None:
    def content(data: str) -> list[dict[str, Any]]:
        return [{"type": "file", "file": {"filename": "a.md", "file_data": f"data:text/markdown;base64,{data}"}}]

    assert turns({"role": "user", "content": content("SGnDtg==")})[0]["content"] == [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "Hiö"},
            "title": "a.md",
        }
    ]
    assert refused(messages=[{"role": "user", "content": content("/w==")}]) == "messages"


def test_counting_tokens_says_nothing_of_the_answer() -> None:
    body = json.dumps({"messages": HELLO, "tools": [TOOL], "stop": "x", "user": "u", "max_tokens": 5}).encode()
    request = ADAPTER.encode(CLAUDE, "https://b.test/v1", Call(operation="count_tokens", body=body, model=NEW))

    assert request.url == "https://b.test/v1/messages/count_tokens"
    assert set(json.loads(request.body)) == {"model", "messages", "tools"}


def test_the_results_of_tools_come_first() -> None:
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "look", "arguments": "{}"}} for n in (1, 2)]
    conversation = turns(
        *HELLO,
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "user", "content": "Wait."},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
    )

    assert conversation[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
        {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
        {"type": "text", "text": "Wait."},
    ]


def test_a_schema_without_a_type_gets_it() -> None:
    properties = {"a": {"type": "string"}}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"properties": properties}}}

    assert build(tools=[tool])["tools"][0]["input_schema"] == {"type": "object", "properties": properties}


@pytest.mark.parametrize("depth", range(300, 1_100, 100))
def test_a_schema_of_any_depth_is_carried_or_refused(depth: int) -> None:
    schema = b'{"a":' * depth + b"1" + b"}" * depth
    tool = b'{"type":"function","function":{"name":"f","parameters":%b}}' % schema
    body = b'{"messages":[{"role":"user","content":"a"}],"tools":[%b]}' % tool
    call = Call(operation="chat", body=body, model=NEW)

    with suppress(RequestError):
        assert ADAPTER.encode(CLAUDE, CLAUDE.base_url, call).body


def test_what_has_no_place_where_it_stands() -> None:
    """Other dialects may say what Claude's API has no place for."""
    for role, part in (
        ("assistant", Media(kind="image", url="https://x.test/a")),
        ("user", Media(kind="video", url="https://x.test/a")),
        ("user", Media(kind="image", data="iVBO")),
        ("system", Media(kind="image", url="https://x.test/a")),
    ):
        conversation = Conversation(turns=[Turn(role="user", parts=[Text(text="a")]), Turn(role=role, parts=[part])])  # type: ignore[arg-type]
        with pytest.raises(RequestError) as caught:
            AnthropicOutbound().write_request(CLAUDE, CLAUDE.base_url, chat_call(model=NEW), conversation)
        assert caught.value.param == "messages"
