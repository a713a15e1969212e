"""A conversation as a request for a provider of the chat dialect, with what each provider can bear."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from chat_wire import OUTBOUND, call_of, provider, read, write
from hypothesis import given, settings
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect, Quirk
from ownkey.errors import RequestError
from ownkey.providers.conversation import (
    Conversation,
    Grammar,
    Media,
    OutputFormat,
    Part,
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
from ownkey.providers.freeform import SCHEMA
from ownkey.providers.openai_chat.chat_seals import seal_text, seal_value

PICTURE = Media(kind="image", media_type="image/png", data="AAAA")


def user(*parts: Part, name: str | None = None) -> Turn:
    return Turn(role="user", parts=list(parts), name=name)


def assistant(*parts: Part) -> Turn:
    return Turn(role="assistant", parts=list(parts))


def talk(*turns: Turn, **fields: Any) -> Conversation:
    return Conversation(turns=list(turns) or [user(Text(text="Hello"))], **fields)


def result(call_id: str, *content: Text | Media, **fields: Any) -> ToolResult:
    return ToolResult(call_id=call_id, content=list(content), **fields)


def messages(*turns: Turn, quirks: tuple[Quirk, ...] = (), model: str = "the-model", **fields: Any) -> list[Any]:
    written: list[Any] = write(talk(*turns, **fields), *quirks, model=model)["messages"]
    return written


def test_where_it_goes() -> None:
    request = OUTBOUND.write_request(provider(), "https://some.test/v1/", call_of(stream=True), talk())

    assert (request.method, request.url) == ("POST", "https://some.test/v1/chat/completions")
    assert dict(request.headers) == {"content-type": "application/json", "accept": "text/event-stream"}
    assert request.auth_header == ("authorization", "Bearer ")
    with pytest.raises(RequestError):
        OUTBOUND.write_request(provider(), "https://a", Call(operation="images", body=b"", model="m"), talk())


def test_streams_ask_for_their_usage() -> None:
    assert write(talk(), stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in write(talk(), Quirk.NO_STREAM_OPTIONS, stream=True)
    assert "stream" not in write(talk())


def test_every_plain_field() -> None:
    conversation = talk(
        temperature=0.5,
        top_p=0.9,
        seed=3,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        logit_bias={"5": 1.0},
        stop=["END"],
        max_output_tokens=9,
        logprobs=2,
        service_tier="flex",
        output=OutputFormat(kind="json_object"),
    )

    assert write(conversation) == {
        "model": "the-model",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "logit_bias": {"5": 1.0},
        "stop": ["END"],
        "max_completion_tokens": 9,
        "logprobs": True,
        "top_logprobs": 2,
        "service_tier": "flex",
        "response_format": {"type": "json_object"},
    }
    assert write(conversation, Quirk.MAX_TOKENS_ONLY)["max_tokens"] == 9


def test_hints_go_only_to_those_that_take_them() -> None:
    hints = talk(user="u", prompt_cache_key="k", service_tier="default")

    assert set(write(hints)) == {"model", "messages"}
    known = write(hints, Quirk.OPENAI_FIELDS)
    assert (known["user"], known["prompt_cache_key"], known["service_tier"]) == ("u", "k", "default")
    assert write(talk(verbosity="low"), Quirk.OPENAI_FIELDS)["verbosity"] == "low"
    assert write(talk(top_k=4), Quirk.TOP_K)["top_k"] == 4


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_k": 4}, "top_k"),
        ({"verbosity": "low"}, "verbosity"),
        ({"choices": 2}, "n"),
        ({"service_tier": "express"}, "service_tier"),
        ({"foreign": {"previous_response_id": "x"}}, "previous_response_id"),
        ({"tool_choice": ToolChoice(mode="required")}, "tool_choice"),
        ({"tools": [Tool(name="f")], "tool_choice": ToolChoice(mode="named", names=("g",))}, "tool_choice"),
        ({"reasoning": Reasoning(effort="enormous")}, "reasoning_effort"),
        ({"turns": []}, "messages"),
        ({"turns": [user(Media(kind="video", url="https://a"))]}, "messages"),
        ({"turns": [user(Media(kind="document", url="https://a"))]}, "messages"),
        ({"turns": [user(Media(kind="audio", media_type="audio/ogg", data="A"))]}, "messages"),
        ({"turns": [user(Media(kind="document", media_type="text/plain", data="/w=="))]}, "messages"),
        ({"turns": [assistant(PICTURE)]}, "messages"),
    ],
)
def test_what_cannot_be_carried_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        write(Conversation(**{"turns": [user(Text(text="Hello"))], **fields}))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        ("gpt-5.4", Reasoning(effort="none"), "none"),
        ("gpt-5.4", Reasoning(effort="minimal"), "low"),
        ("gpt-5.4-mini", Reasoning(effort="max"), "xhigh"),
        ("gpt-5.1", Reasoning(effort="xhigh"), "high"),
        ("openai/gpt-6-luna", Reasoning(effort="max"), "max"),
        ("gpt-5-mini", Reasoning(effort="none"), "minimal"),
        ("gpt-4o", Reasoning(effort="none"), None),
        ("o3-mini", Reasoning(effort="minimal"), "low"),
        ("openai/gpt-oss-120b", Reasoning(effort="none"), "low"),
        ("openai.gpt-oss-120b-1:0", Reasoning(effort="xhigh"), "high"),
        ("gemini-2.5-flash", Reasoning(effort="none"), "none"),
        ("gemini-3.8-flash", Reasoning(effort="max"), "high"),
        ("deepseek-flash", Reasoning(effort="max"), "max"),
        ("mistral-medium-latest", Reasoning(effort="none"), None),
        ("mistral-medium-latest", Reasoning(effort="xhigh"), "high"),
        ("the-model", Reasoning(budget_tokens=1024), "low"),
        ("the-model", Reasoning(budget_tokens=10_000), "medium"),
        ("the-model", Reasoning(budget_tokens=32_000), "high"),
        ("the-model", Reasoning(effort="low", budget_tokens=32_000), "low"),
        ("the-model", Reasoning(adaptive=True), None),
        ("the-model", Reasoning(show=True), None),
    ],
)
def test_the_nearest_effort_that_the_model_takes(model: str, given: Reasoning, sent: str | None) -> None:
    assert write(talk(reasoning=given), model=model).get("reasoning_effort") == sent


def test_models_that_never_think_and_models_that_always_do() -> None:
    with pytest.raises(RequestError):
        write(talk(reasoning=Reasoning(effort="high")), model="gpt-4o")
    assert write(talk(reasoning=Reasoning(effort="none")), model="deepseek-flash")["thinking"] == {"type": "disabled"}


def test_instructions_are_one_message_and_later_ones_stay_where_they_are() -> None:
    turns = [user(Text(text="a")), Turn(role="system", parts=[Text(text="c")]), user(Text(text="b"))]

    assert messages(*turns, instructions=[Text(text="One."), Text(text="Two.")]) == [
        {"role": "system", "content": "One.\n\nTwo."},
        {"role": "user", "content": "a"},
        {"role": "system", "content": "c"},
        {"role": "user", "content": "b"},
    ]


def test_media_of_the_user() -> None:
    text = base64.b64encode("Größe: 3".encode()).decode()
    (message,) = messages(
        user(
            Text(text="Look:"),
            PICTURE,
            Media(kind="image", url="https://a.test/b.png", detail="low"),
            Media(kind="document", media_type="application/pdf", data="BBBB", name="a.pdf"),
            Media(kind="document", media_type="text/plain", data=text, name="a.txt"),
            Media(kind="document", media_type="application/json", data="e30="),
            Media(kind="document", media_type="application/rtf", data="BBBB"),
            Media(kind="audio", media_type="audio/x-wav", data="CCCC"),
            name="ann",
        )
    )

    assert message["name"] == "ann"
    assert message["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://a.test/b.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
        {"type": "text", "text": "a.txt:\n\nGröße: 3"},
        {"type": "text", "text": "{}"},
        {"type": "file", "file": {"filename": "document.rtf", "file_data": "data:application/rtf;base64,BBBB"}},
        {"type": "input_audio", "input_audio": {"data": "CCCC", "format": "wav"}},
    ]


def test_results_come_right_after_their_calls_and_their_pictures_after_them() -> None:
    got = messages(
        user(Text(text="Go")),
        assistant(ToolCall(id="a", name="shot"), ToolCall(id="b", name="look"), ToolCall(id="c", name="fail")),
        user(result("a", PICTURE, name="shot")),
        user(
            Text(text="Well?"),
            result("b", Text(text="seen"), Text(text="it"), PICTURE),
            result("c", Text(text="no"), is_error=True),
        ),
    )

    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert [message["role"] for message in got] == ["user", "assistant", "tool", "tool", "tool", "user"]
    assert [message["content"] for message in got[2:5]] == [
        "The result follows in a message of the user.",
        "seen\nit",
        "Error: no",
    ]
    assert [message["tool_call_id"] for message in got[2:5]] == ["a", "b", "c"]
    assert got[5]["content"] == [
        {"type": "text", "text": "Result of shot:"},
        picture,
        {"type": "text", "text": "Result of b:"},
        picture,
        {"type": "text", "text": "Well?"},
    ]


def test_a_picture_of_a_result_waits_for_the_last_result_and_no_longer() -> None:
    got = messages(
        assistant(ToolCall(id="a", name="shot"), ToolCall(id="b", name="look")),
        user(result("a", PICTURE)),
        user(result("b", Text(text="seen"))),
        assistant(Text(text="Nice.")),
    )

    assert [message["role"] for message in got] == ["assistant", "tool", "tool", "user", "assistant"]
    assert messages(user(result("a", PICTURE)))[-1]["role"] == "user"


def test_calls_of_one_answer_are_one_message() -> None:
    got = messages(
        assistant(Text(text="I look"), Text(text=" twice.")),
        assistant(ToolCall(id="a", name="f", arguments='{"x":1}')),
        assistant(ToolCall(id="b", name="shell", arguments="ls", freeform=True), Text(text="There.")),
        user(result("a", Text(text="1"))),
        assistant(Text(text="One.")),
        assistant(Text(text="Two."), Refusal(text=" No.")),
    )

    assert [message["role"] for message in got] == ["assistant", "tool", "assistant"]
    assert got[0]["content"] == "I look twice.\n\nThere."
    assert [call["function"] for call in got[0]["tool_calls"]] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "shell", "arguments": '{"input":"ls"}'},
    ]
    assert got[2]["content"] == "One.\n\nTwo. No."


def test_what_one_says_in_a_row_is_one_message() -> None:
    (first, second) = messages(
        user(Text(text="a")), user(PICTURE), user(Text(text="b")), user(Text(text="c"), name="ann")
    )

    assert [part["type"] for part in first["content"]] == ["text", "image_url", "text"]
    assert second == {"role": "user", "name": "ann", "content": "c"}
    assert messages(user(Text(text="a")), user(Text(text="b"))) == [{"role": "user", "content": "a\n\nb"}]


def test_mistral_is_answered_before_the_user_speaks_again() -> None:
    turns = [assistant(ToolCall(id="a", name="f")), user(result("a", Text(text="1")), Text(text="And?"))]

    roles = ["assistant", "tool", "assistant", "user"]
    for model in ("mistral-medium-latest", "mistralai/Devstral-Small-2", "magistral-small", "pixtral-12b"):
        assert [message["role"] for message in messages(*turns, model=model)] == roles
    assert [message["role"] for message in messages(*turns)] == ["assistant", "tool", "user"]


def test_deepseek_finds_a_thought_with_each_call() -> None:
    turns = [assistant(ToolCall(id="a", name="f")), user(result("a", Text(text="1"))), assistant(Text(text="One."))]

    (first, _, last) = messages(*turns, model="deepseek-flash")
    assert first["reasoning_content"] == ""
    assert "reasoning_content" not in last
    assert "reasoning_content" not in messages(*turns)[0]


def test_reasoning_goes_back_only_to_the_model_that_it_came_from() -> None:
    details = [{"type": "reasoning.text", "text": "Hm.", "signature": "s"}]
    turn = assistant(
        Thinking(text="Hm.", seal=seal_text("reasoning_content", "the-model")),
        Thinking(text="Hm.", seal=seal_value(details, "the-model")),
        Thinking(text="secret"),
        Thinking(text="other", seal=Seal(Dialect.ANTHROPIC_MESSAGES, "sig")),
        ToolCall(id="a", name="f", seal=seal_value({"google": {"thought_signature": "s"}}, "the-model")),
    )

    (message,) = messages(turn)
    assert message["reasoning_content"] == "Hm."
    assert message["reasoning_details"] == details
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}
    (message,) = messages(turn, model="another")
    assert set(message) == {"role", "content", "tool_calls"}
    assert set(message["tool_calls"][0]) == {"id", "type", "function"}
    # DeepSeek wants it with calls only, and others refuse it.
    (message,) = messages(assistant(turn.parts[0], Text(text="Yes")))
    assert set(message) == {"role", "content"}
    assert messages(user(Text(text="a")), assistant(Thinking(text="alone")))[1:] == []


@pytest.mark.parametrize("data", ["", "[", "[3]", "{", '{"a":', "reasoning_other", "[[[[", "null"])
def test_a_seal_that_a_client_has_changed_is_left_out(data: str) -> None:
    seal = Seal(Dialect.OPENAI_CHAT, data, id="the-model")
    (message,) = messages(assistant(Thinking(text="x", seal=seal), ToolCall(id="a", name="f", seal=seal)))

    assert set(message) == {"role", "content", "tool_calls"}
    assert set(message["tool_calls"][0]) == {"id", "type", "function"}


def test_cache_marks_where_they_are_known() -> None:
    conversation = talk(
        user(Text(text="a", cache_ttl="1h"), Text(text="b")),
        assistant(Text(text="c", cache_ttl="5m"), ToolCall(id="a", name="f")),
        user(result("a", Text(text="d"), cache_ttl="5m")),
        instructions=[Text(text="s", cache_ttl="5m")],
        tools=[Tool(name="f", cache_ttl="5m")],
    )

    marked = write(conversation, Quirk.CACHE_CONTROL)
    mark = {"type": "ephemeral"}
    assert marked["messages"][0]["content"] == [{"type": "text", "text": "s", "cache_control": mark}]
    assert marked["messages"][1]["content"][0]["cache_control"] == {**mark, "ttl": "1h"}
    assert marked["messages"][3]["content"] == [{"type": "text", "text": "d", "cache_control": mark}]
    assert marked["tools"][0]["cache_control"] == mark
    assert "cache_control" not in json.dumps(write(conversation))


def test_tools_and_how_they_may_be_called() -> None:
    conversation = talk(
        tools=[
            Tool(name="f", description="d", schema={"type": "object"}, strict=True),
            Tool(name="g"),
            Tool(name="patch", description="Edits.", freeform=True, grammar=Grammar("regex", "a+")),
        ],
        tool_choice=ToolChoice(mode="named", names=("patch",)),
        parallel_tool_calls=False,
    )

    body = write(conversation)
    assert [tool["function"] for tool in body["tools"]] == [
        {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        {"name": "g"},
        {
            "name": "patch",
            "description": "Edits.\n\nThe input must match this regex grammar:\na+",
            "parameters": SCHEMA,
        },
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    assert body["parallel_tool_calls"] is False
    conversation.tool_choice = ToolChoice(mode="required", names=("g", "f"))
    narrowed = write(conversation)
    assert [tool["function"]["name"] for tool in narrowed["tools"]] == ["f", "g"]
    assert narrowed["tool_choice"] == "required"


def test_parallel_calls_without_tools_are_not_spoken_of() -> None:
    assert "parallel_tool_calls" not in write(talk(parallel_tool_calls=True, tool_choice=ToolChoice(mode="none")))


def test_a_schema_for_the_answer() -> None:
    output = OutputFormat(kind="json_schema", name="n", description="d", schema={"type": "object"}, strict=True)

    assert write(talk(output=output))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True},
    }


def test_what_is_too_deep_to_be_written_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5_000):
        schema = {"items": schema}
    with pytest.raises(RequestError):
        write(talk(tools=[Tool(name="f", schema=schema)]))


IDS = st.text(alphabet="abc123_-", min_size=1, max_size=8)
TEXTS = st.text(min_size=1, max_size=12)
ASSISTANT = st.builds(
    lambda text, calls: {
        "role": "assistant",
        "content": text,
        **({"tool_calls": calls} if calls else {}),
    },
    TEXTS,
    st.lists(
        st.builds(
            lambda call_id, name, arguments: {
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": json.dumps({"a": arguments})},
            },
            IDS,
            IDS,
            TEXTS,
        ),
        max_size=3,
    ),
)
USER = st.builds(lambda text: {"role": "user", "content": text}, TEXTS)
EXCHANGES = st.lists(st.tuples(USER, ASSISTANT), min_size=1, max_size=3)


@settings(deadline=None)
@given(EXCHANGES, st.lists(TEXTS, max_size=1))
def test_what_chat_says_survives_the_neutral_form(exchanges: list[Any], instructions: list[str]) -> None:
    given_messages: list[dict[str, Any]] = [{"role": "system", "content": text} for text in instructions]
    for said, answered in exchanges:
        given_messages += [said, answered]
        given_messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in answered.get("tool_calls", ())
        ]

    assert write(read(given_messages))["messages"] == given_messages
