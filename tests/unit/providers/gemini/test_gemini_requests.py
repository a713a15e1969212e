"""What a Gemini provider is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gemini_wire import BASE_URL, MODEL, PROVIDER, SEAL, SIGNATURE, ask, make_call, write

from ownkey.domain.provider import Dialect
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
from ownkey.providers.gemini.outbound import GeminiOutbound
from ownkey.providers.gemini.signatures import UNSIGNED

OTHERS = Seal(Dialect.ANTHROPIC_MESSAGES, "ErUB")
SCHEMA = {"type": "object", "properties": {"city": {"type": ["string", "null"]}}, "additionalProperties": False}
CALL = ToolCall(id="call_1", name="weather", arguments='{"city": "Bern"}')
RESULT = ToolResult(call_id="call_1", content=[Text(text="sunny")])


def contents(*turns: Turn, model: str = MODEL) -> list[dict[str, Any]]:
    body = write(Conversation(turns=list(turns)), model)
    return body["contents"]


def user(*parts: Part) -> Turn:
    return Turn(role="user", parts=list(parts))


def assistant(*parts: Part) -> Turn:
    return Turn(role="assistant", parts=list(parts))


def refused(conversation: Conversation, model: str = MODEL) -> RequestError:
    with pytest.raises(RequestError) as caught:
        write(conversation, model)
    return caught.value


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-3.8-flash", False, "/models/gemini-3.8-flash:generateContent"),
        ("models/gemini-2.5-pro", True, "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
        ("tunedModels/mine-1", False, "/tunedModels/mine-1:generateContent"),
        ("a/../b?key=x#y", False, "/models/a%2F..%2Fb%3Fkey%3Dx%23y:generateContent"),
    ],
)
def test_the_model_and_the_method_are_in_the_address_and_the_key_in_a_header(
    model: str, stream: bool, path: str
) -> None:
    request = GeminiOutbound().write_request(PROVIDER, BASE_URL, make_call(model=model, stream=stream), ask())
    assert request.url == BASE_URL + path
    assert request.auth_header == ("x-goog-api-key", "")
    assert dict(request.headers)["accept"] == ("text/event-stream" if stream else "application/json")
    assert "model" not in json.loads(request.body)


def test_instructions_and_turns() -> None:
    body = write(
        Conversation(
            instructions=[Text(text="Be brief."), Text(text="")],
            turns=[
                user(Text(text="Hi")),
                user(Text(text="there")),
                assistant(Text(text="Hello"), Refusal(text="But no.")),
                Turn(role="system", parts=[Text(text="It is late.")]),
                user(Text(text=""), Text(text="And?")),
            ],
        )
    )
    assert body == {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]},
            {"role": "model", "parts": [{"text": "Hello"}, {"text": "But no."}]},
            {"role": "user", "parts": [{"text": "And?"}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "It is late."}]},
    }


def test_nothing_to_answer_is_refused() -> None:
    assert refused(Conversation()).param == "messages"
    assert refused(ask(Text(text=""))).param == "messages"


def test_media() -> None:
    assert contents(
        user(
            Media(kind="image", media_type="image/webp", data="AAAA", detail="high"),
            Media(kind="document", name="notes.txt", data="BBBB"),
            Media(kind="audio", media_type="audio/mp3", data="CCCC"),
            Media(kind="image", url="https://example.com/a.png?x=1"),
            Media(kind="video", media_type="video/mp4", url="https://youtu.be/abc"),
            Media(kind="document", url="https://example.com/a"),
            Media(kind="video", url="https://www.youtube.com/watch?v=1"),
        )
    )[0]["parts"] == [
        {"inlineData": {"mimeType": "image/webp", "data": "AAAA"}},
        {"inlineData": {"mimeType": "text/plain", "data": "BBBB"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "CCCC"}},
        {"fileData": {"fileUri": "https://example.com/a.png?x=1", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://youtu.be/abc", "mimeType": "video/mp4"}},
        {"fileData": {"fileUri": "https://example.com/a", "mimeType": "application/pdf"}},
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}},
    ]
    assert refused(ask(Media(kind="image", url="file:///etc/passwd"))).param == "messages"


def test_parallel_calls_and_their_results_are_one_turn_each_and_the_first_call_is_signed() -> None:
    second = ToolCall(id="call_2", name="time", arguments="")
    assert contents(
        user(Text(text="Weather and time?")),
        assistant(Text(text="Looking."), CALL),
        assistant(second),
        user(Text(text="Quick!"), RESULT),
        user(ToolResult(call_id="call_2", content=[Text(text="no"), Text(text="clock")], is_error=True)),
    ) == [
        {"role": "user", "parts": [{"text": "Weather and time?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Looking."},
                {
                    "functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Bern"}},
                    "thoughtSignature": UNSIGNED,
                },
                {"functionCall": {"id": "call_2", "name": "time", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "call_1", "name": "weather", "response": {"output": "sunny"}}},
                {"functionResponse": {"id": "call_2", "name": "time", "response": {"error": "no\nclock"}}},
                {"text": "Quick!"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("parts", "written"),
    [
        # Its own signature stays where it was.
        (
            [ToolCall(id="call_1", name="weather", seal=SEAL), ToolCall(id="b", name="weather")],
            [("functionCall", SIGNATURE), ("functionCall", None)],
        ),
        # What another dialect had no place for comes back to the call.
        ([Thinking(text="Hm.", seal=SEAL), CALL], [("functionCall", SIGNATURE)]),
        ([Thinking(seal=SEAL), Text(text="So:"), CALL], [("text", None), ("functionCall", SIGNATURE)]),
        ([Text(text="So:"), Thinking(seal=SEAL), CALL], [("text", None), ("functionCall", SIGNATURE)]),
        # A signature behind a text is the text's.
        ([Text(text="So."), Thinking(seal=SEAL)], [("text", SIGNATURE)]),
        (
            [Text(text="So."), Thinking(seal=SEAL), Text(text="Well:"), CALL],
            [("text", SIGNATURE), ("text", None), ("functionCall", UNSIGNED)],
        ),
        ([Thinking(seal=SEAL)], [("text", SIGNATURE)]),
        ([Thinking(text="Hm.", seal=SEAL), Text(text="So.")], [("thought", SIGNATURE), ("text", None)]),
        # Nobody else's means anything to Google.
        ([Thinking(text="Hm."), Thinking(text="Hm!", seal=OTHERS), CALL], [("functionCall", UNSIGNED)]),
        ([ToolCall(id="call_1", name="weather", seal=OTHERS)], [("functionCall", UNSIGNED)]),
    ],
)
def test_signatures_go_back_to_where_they_came_from(parts: list[Part], written: list[tuple[str, str | None]]) -> None:
    asked = contents(user(Text(text="Hi")), assistant(*parts), model="gemini-4-argon")
    found = []
    for part in asked[1]["parts"]:
        kind = "thought" if part.get("thought") else next(name for name in ("functionCall", "text") if name in part)
        found.append((kind, part.get("thoughtSignature")))
    assert found == written


def test_a_signature_may_stand_in_a_turn_of_its_own() -> None:
    turns = [assistant(Text(text="So.")), assistant(Thinking(seal=SEAL)), assistant(Thinking(seal=OTHERS))]
    assert contents(user(Text(text="Hi")), *turns, user(Text(text="And?")))[1:] == [
        {"role": "model", "parts": [{"text": "So.", "thoughtSignature": SIGNATURE}]},
        {"role": "user", "parts": [{"text": "And?"}]},
    ]
    unread = [user(Text(text="Hi")), assistant(Thinking(seal=OTHERS)), user(Text(text="there"))]
    assert contents(*unread) == [{"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]}]


def test_before_gemini_3_nothing_is_signed_for_others() -> None:
    written = contents(user(Text(text="Hi")), assistant(CALL), user(RESULT), model="gemini-2.5-flash")
    assert "thoughtSignature" not in written[1]["parts"][0]


def test_pictures_in_a_result_stand_inside_it_since_gemini_3() -> None:
    picture = Media(kind="image", media_type="image/png", data="AAAA")
    sound = Media(kind="audio", media_type="audio/wav", data="BBBB")
    result = ToolResult(call_id="call_1", content=[picture, Text(text="see"), sound])
    turns = [user(Text(text="Hi")), assistant(CALL), user(result)]
    inside = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    beside = {"inlineData": {"mimeType": "audio/wav", "data": "BBBB"}}
    response = {"id": "call_1", "name": "weather", "response": {"output": "see"}}
    assert contents(*turns)[2]["parts"] == [{"functionResponse": {**response, "parts": [inside]}}, beside]
    assert contents(*turns, model="gemini-2.5-pro")[2]["parts"] == [{"functionResponse": response}, inside, beside]


def test_what_a_turn_cannot_hold_is_refused() -> None:
    stranger = ToolResult(call_id="call_9", content=[])
    assert "call_9" in refused(Conversation(turns=[user(stranger)])).message
    assert write(Conversation(turns=[user(ToolResult(call_id="call_9", content=[], name="f"))]))
    assert refused(Conversation(turns=[user(CALL)]))
    assert refused(Conversation(turns=[assistant(RESULT)]))
    assert refused(Conversation(turns=[assistant(ToolCall(id="a", name="f", arguments='["x"]'))]))
    assert refused(Conversation(turns=[assistant(ToolCall(id="a", name="f", arguments='{"x"'))]))
    picture = Media(kind="image", data="AAAA")
    assert refused(Conversation(turns=[user(Text(text="Hi")), Turn(role="system", parts=[picture])]))


def test_tools() -> None:
    body = write(
        ask(
            tools=[
                Tool(name="weather", description="Tells it", schema=SCHEMA),
                Tool(name="now"),
                Tool(name="patch", freeform=True, description="Patches", grammar=Grammar("lark", "start: x")),
            ]
        )
    )
    weather, now, patch = body["tools"][0]["functionDeclarations"]
    assert weather == {"name": "weather", "description": "Tells it", "parametersJsonSchema": SCHEMA}
    assert now == {"name": "now"}
    assert patch["parametersJsonSchema"]["required"] == ["input"]
    assert "start: x" in patch["description"]
    assert "toolConfig" not in body


def test_a_freeform_call_is_wrapped() -> None:
    call = ToolCall(id="a", name="patch", arguments='*** "x"\n', freeform=True)
    written = contents(user(Text(text="Hi")), assistant(call))
    assert written[1]["parts"][0]["functionCall"]["args"] == {"input": '*** "x"\n'}


@pytest.mark.parametrize(
    ("choice", "strict", "written"),
    [
        (None, None, None),
        (ToolChoice(), None, None),
        (ToolChoice(), True, {"mode": "VALIDATED"}),
        (ToolChoice(names=("weather",)), None, {"mode": "VALIDATED", "allowedFunctionNames": ["weather"]}),
        (ToolChoice(mode="none"), True, {"mode": "NONE"}),
        (ToolChoice(mode="required"), None, {"mode": "ANY"}),
        (ToolChoice(mode="required", names=("a", "b")), None, {"mode": "ANY", "allowedFunctionNames": ["a", "b"]}),
        (ToolChoice(mode="named", names=("weather",)), None, {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, strict: bool | None, written: dict[str, Any] | None) -> None:
    body = write(ask(tools=[Tool(name="weather", schema=SCHEMA, strict=strict)], tool_choice=choice))
    assert body.get("toolConfig") == (written and {"functionCallingConfig": written})


def test_a_choice_without_tools_says_nothing() -> None:
    assert "toolConfig" not in write(ask(tool_choice=ToolChoice(mode="none")))


def test_sampling_and_limits() -> None:
    body = write(
        ask(
            max_output_tokens=100,
            temperature=1.5,
            top_p=0.5,
            top_k=40,
            stop=["a", "b", "c", "d", "e"],
            seed=-7,
            frequency_penalty=0.5,
            presence_penalty=0,
            logprobs=3,
            choices=1,
            user="somebody",
            prompt_cache_key="x",
            verbosity="medium",
            service_tier="flex",
            parallel_tool_calls=False,
        )
    )
    assert body["generationConfig"] == {
        "maxOutputTokens": 100,
        "temperature": 1.5,
        "topP": 0.5,
        "topK": 40,
        "stopSequences": ["a", "b", "c", "d", "e"],
        "seed": -7,
        "frequencyPenalty": 0.5,
        "responseLogprobs": True,
        "logprobs": 3,
    }
    assert body["serviceTier"] == "flex"
    assert write(ask(logprobs=0))["generationConfig"] == {"responseLogprobs": True}
    assert write(ask(service_tier="default"))["serviceTier"] == "standard"
    assert "serviceTier" not in write(ask(service_tier="auto"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"stop": ["a"] * 6}, "stop"),
        ({"seed": 2**31}, "seed"),
        ({"logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"5": 1.0}}, "logit_bias"),
        ({"choices": 2}, "n"),
        ({"verbosity": "high"}, "verbosity"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"reasoning": Reasoning(effort="huge")}, "reasoning_effort"),
        ({"foreign": {"previous_response_id": "r"}}, "previous_response_id"),
    ],
)
def test_what_gemini_cannot_do_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(ask(**fields)).param == param


def test_several_users_cannot_be_told_apart() -> None:
    names = [Turn(role="user", parts=[Text(text="Hi")], name=name) for name in ("Ann", "Bob")]
    assert "Bob" not in refused(Conversation(turns=names)).message
    assert write(Conversation(turns=names[:1]))


def test_output_formats() -> None:
    assert write(ask(output=OutputFormat(kind="json_object")))["generationConfig"] == {
        "responseMimeType": "application/json"
    }
    assert write(ask(output=OutputFormat(kind="json_schema", schema=SCHEMA, name="x", strict=True)))[
        "generationConfig"
    ] == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}


@pytest.mark.parametrize(
    ("model", "reasoning", "written"),
    [
        ("gemini-4-argon", Reasoning(effort="minimal"), {"thinkingLevel": "LOW"}),
        ("gemini-4-argon", Reasoning(effort="max", show=True), {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3.8-flash", Reasoning(effort="medium", show=False), {"thinkingLevel": "MEDIUM"}),
        ("gemini-3.6-flash", Reasoning(effort="minimal"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.5-flash-lite", Reasoning(effort="none"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "HIGH"}),
        ("gemini-3.1-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "MEDIUM"}),
        ("gemini-flash-latest", Reasoning(effort="minimal"), {"thinkingLevel": "LOW"}),
        ("gemini-3.8-flash", Reasoning(budget_tokens=1_024), {"thinkingLevel": "LOW"}),
        ("gemini-3.8-flash", Reasoning(budget_tokens=4_000), {"thinkingLevel": "LOW"}),
        ("gemini-3.8-flash", Reasoning(budget_tokens=10_000), {"thinkingLevel": "MEDIUM"}),
        ("gemini-3.8-flash", Reasoning(budget_tokens=60_000), {"thinkingLevel": "HIGH"}),
        ("gemini-3.8-flash", Reasoning(adaptive=True, show=True), {"includeThoughts": True}),
        ("gemini-3.8-flash", Reasoning(adaptive=True), None),
        ("gemini-2.5-flash", Reasoning(effort="none"), {"thinkingBudget": 0}),
        ("gemini-2.5-flash", Reasoning(budget_tokens=0), {"thinkingBudget": 0}),
        ("gemini-2.5-flash", Reasoning(effort="medium"), {"thinkingBudget": 8_192}),
        ("gemini-2.5-flash", Reasoning(adaptive=True), {"thinkingBudget": -1}),
        ("gemini-2.5-flash", Reasoning(budget_tokens=60_000), {"thinkingBudget": 24_576}),
        ("gemini-2.5-flash-lite", Reasoning(budget_tokens=100), {"thinkingBudget": 512}),
        ("gemini-2.5-pro", Reasoning(budget_tokens=60_000), {"thinkingBudget": 32_768}),
        ("gemini-2.5-pro", Reasoning(budget_tokens=1), {"thinkingBudget": 128}),
        ("gemini-2.5-pro", Reasoning(show=True), {"includeThoughts": True}),
        ("gemini-2.0-flash", Reasoning(effort="none", show=True), None),
    ],
)
def test_thinking_by_generation(model: str, reasoning: Reasoning, written: dict[str, Any] | None) -> None:
    assert write(ask(reasoning=reasoning), model).get("generationConfig") == (written and {"thinkingConfig": written})


@pytest.mark.parametrize("model", ["gemini-4-argon", "gemini-3.8-flash", "gemini-3.1-pro", "gemini-2.5-pro"])
def test_who_always_thinks_cannot_be_told_not_to(model: str) -> None:
    assert refused(ask(reasoning=Reasoning(effort="none")), model).param == "reasoning_effort"


def test_who_never_thinks_cannot_be_told_to() -> None:
    assert refused(ask(reasoning=Reasoning(effort="low")), "gemini-2.0-flash").param == "reasoning_effort"


def test_counting_wraps_the_request_and_leaves_out_how_to_pay_for_it() -> None:
    call = make_call(operation="count_tokens")
    request = GeminiOutbound().write_request(PROVIDER, BASE_URL, call, ask(service_tier="flex", temperature=1))
    assert request.url == f"{BASE_URL}/models/{MODEL}:countTokens"
    assert json.loads(request.body) == {
        "generateContentRequest": {
            "model": f"models/{MODEL}",
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
            "generationConfig": {"temperature": 1},
        }
    }


def test_other_operations_and_bottomless_values_are_refused() -> None:
    with pytest.raises(RequestError):
        GeminiOutbound().write_request(PROVIDER, BASE_URL, make_call(operation="images"), ask())
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(RequestError):
        GeminiOutbound().write_request(PROVIDER, BASE_URL, make_call(), ask(tools=[Tool(name="f", schema=deep)]))
