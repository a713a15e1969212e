"""What Google's clients ask for, in the neutral form."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from gemini_wire import SEAL, SIGNATURE, make_call
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.conversation import (
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
from ownkey.providers.gemini.inbound import GeminiInbound
from ownkey.providers.gemini.peek import peek, peek_count, peek_embeddings
from ownkey.providers.gemini.signatures import UNSIGNED
from ownkey.providers.seals import write_seal

HI = [{"role": "user", "parts": [{"text": "Hi"}]}]
CLAUDES = Seal(Dialect.ANTHROPIC_MESSAGES, "ErUB+/=")


def read(body: Any) -> Conversation:
    return GeminiInbound().read_request(make_call(body))


def read_turns(*contents: Any) -> list[Turn]:
    return read({"contents": list(contents)}).turns


def read_config(**config: Any) -> Conversation:
    return read({"contents": HI, "generationConfig": config})


def refused(body: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(body)
    return caught.value


def test_turns_and_instructions() -> None:
    conversation = read(
        {
            "system_instruction": {"role": "user", "parts": [{"text": "Be brief."}, {"text": "And kind."}]},
            "contents": [
                {"parts": {"text": "Hi"}},
                {"role": "MODEL", "parts": [{"text": "Hel"}, {"text": "lo"}]},
                {"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]},
            ],
            "labels": {"a": "b"},
            "store": False,
        }
    )
    assert conversation == Conversation(
        instructions=[Text(text="Be brief."), Text(text="And kind.")],
        turns=[
            Turn(role="user", parts=[Text(text="Hi")]),
            Turn(role="assistant", parts=[Text(text="Hello")]),
            Turn(role="user", parts=[Text(text="One"), Text(text="Two")]),
        ],
    )


def test_one_content_may_stand_for_a_list() -> None:
    assert read({"contents": HI[0]}).turns == [Turn(role="user", parts=[Text(text="Hi")])]


def test_media_in_either_spelling_and_either_alphabet() -> None:
    assert read_turns(
        {
            "parts": [
                {
                    "inlineData": {"mimeType": "image/png", "data": "__-_"},
                    "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
                },
                {"inline_data": {"mime_type": "application/pdf", "data": "AAAA", "display_name": "a.pdf"}},
                {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
                {"fileData": {"fileUri": "https://example.com/a.mp4", "mimeType": "video/mp4"}},
                {"file_data": {"file_uri": "https://www.youtube.com/watch?v=1"}},
                {"fileData": {"fileUri": "https://example.com/a"}},
            ]
        }
    )[0].parts == [
        Media(kind="image", media_type="image/png", data="//+/", detail="low"),
        Media(kind="document", media_type="application/pdf", data="AAAA", name="a.pdf"),
        Media(kind="audio", media_type="audio/wav", data="AAAA"),
        Media(kind="video", media_type="video/mp4", url="https://example.com/a.mp4"),
        Media(kind="video", url="https://www.youtube.com/watch?v=1"),
        Media(kind="document", url="https://example.com/a"),
    ]


def test_a_stream_given_back_in_pieces_is_one_turn() -> None:
    wrapped = write_seal(CLAUDES, Dialect.GEMINI)
    turns = read_turns(
        *HI,
        {"role": "model", "parts": [{"text": "Let me ", "thought": True}]},
        {"role": "model", "parts": [{"text": "think.", "thought": True}]},
        {"role": "model", "parts": [{"text": "", "thought": True, "thoughtSignature": wrapped}]},
        {"role": "model", "parts": [{"text": "So"}]},
        {"role": "model", "parts": [{"text": "."}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": UNSIGNED}]},
        {"role": "model", "parts": [{"text": ""}]},
    )
    assert turns[1:] == [
        Turn(
            role="assistant",
            parts=[
                Thinking(text="Let me think.", seal=CLAUDES),
                Text(text="So."),
                ToolCall(id="call_1", name="f", arguments='{"a":1}'),
            ],
        )
    ]


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        ({"text": "So.", "thoughtSignature": SIGNATURE}, [Text(text="So."), Thinking(seal=SEAL)]),
        ({"text": "", "thought_signature": SIGNATURE}, [Thinking(seal=SEAL)]),
        ({"thoughtSignature": SIGNATURE}, [Thinking(seal=SEAL)]),
        ({"text": "Hm.", "thought": True, "thoughtSignature": SIGNATURE}, [Thinking(text="Hm.", seal=SEAL)]),
        ({"text": "Hm.", "thought": True}, [Thinking(text="Hm.")]),
        # Google's Python SDK writes what it got in the standard alphabet in the other one.
        (
            {
                "functionCall": {"id": "a", "name": "f"},
                "thoughtSignature": SIGNATURE.replace("+", "-").replace("/", "_"),
            },
            [ToolCall(id="a", name="f", seal=SEAL)],
        ),
        ({"functionCall": {"id": "a", "name": "f"}, "thoughtSignature": UNSIGNED}, [ToolCall(id="a", name="f")]),
        (
            {"functionCall": {"id": "a", "name": "f"}, "thoughtSignature": write_seal(CLAUDES, Dialect.GEMINI)},
            [ToolCall(id="a", name="f", seal=CLAUDES)],
        ),
    ],
)
def test_signatures(part: dict[str, Any], parts: list[Part]) -> None:
    assert read_turns(*HI, {"role": "model", "parts": [part]})[1].parts == parts


def answered(calls: list[Any], responses: list[Any]) -> list[ToolResult]:
    turns = read_turns(
        *HI,
        {"role": "model", "parts": [{"functionCall": call} for call in calls]},
        {"role": "user", "parts": [{"functionResponse": response} for response in responses]},
    )
    results = turns[2].parts
    assert all(isinstance(part, ToolResult) for part in results)
    return results  # type: ignore[return-value]


def test_calls_without_ids_get_stable_ones_and_are_answered_by_name_and_order() -> None:
    calls = [{"name": "a"}, {"name": "b"}, {"name": "a"}]
    responses = [{"name": name, "response": {"output": str(at)}} for at, name in enumerate(["b", "a", "a"])]
    found = answered(calls, responses)
    assert [(result.call_id, result.content) for result in found] == [
        ("call_2", [Text(text="0")]),
        ("call_1", [Text(text="1")]),
        ("call_3", [Text(text="2")]),
    ]
    assert answered(calls, responses) == found


def test_ids_decide_where_there_are_some() -> None:
    calls = [{"id": "x", "name": "a"}, {"id": "y", "name": "a"}]
    found = answered(calls, [{"id": "y", "name": "a", "response": {}}, {"name": "a", "response": {}}])
    assert [result.call_id for result in found] == ["y", "x"]


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"output": "sunny"}, "sunny", False),
        ({"result": {"a": [1]}}, '{"a":[1]}', False),
        ({"error": "no clock"}, "no clock", True),
        ({"error": {"code": 5}}, '{"code":5}', True),
        ({"temperature": 20, "error": None}, '{"temperature":20,"error":null}', False),
        ({}, "", False),
    ],
)
def test_what_a_function_answered(response: dict[str, Any], text: str, is_error: bool) -> None:
    result = answered([{"name": "f"}], [{"name": "f", "response": response}])[0]
    assert result.content == ([Text(text=text)] if text else [])
    assert result.is_error is is_error


def test_a_result_may_hold_pictures() -> None:
    blob = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    result = answered([{"name": "f"}], [{"name": "f", "response": {"output": "see"}, "parts": [blob]}])[0]
    assert result.content == [Text(text="see"), Media(kind="image", media_type="image/png", data="AAAA")]


def test_tools() -> None:
    declared = {
        "name": "weather",
        "description": "Tells it",
        "parameters": {
            "type": "OBJECT",
            "properties": {
                "any_of": {"type": "STRING", "nullable": True, "enum": ["a", "b"], "example": "a"},
                "many": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "min_items": "1"},
                "either": {"anyOf": [{"type": "NUMBER", "minimum": 0.5}, {"type": "BOOLEAN"}], "nullable": True},
            },
            "required": ["many"],
            "propertyOrdering": ["many", "any_of"],
        },
        "response": {"type": "STRING"},
        "behavior": "BLOCKING",
    }
    schema = {"type": "object", "$defs": {"a": {"type": "string"}}}
    conversation = read(
        {
            "contents": HI,
            "tools": [
                {"function_declarations": [declared]},
                {"functionDeclarations": [{"name": "now", "parameters_json_schema": schema}, {"name": "bare"}]},
            ],
        }
    )
    assert conversation.foreign == {}
    assert conversation.tools == [
        Tool(
            name="weather",
            description="Tells it",
            schema={
                "type": "object",
                "properties": {
                    "any_of": {"type": ["string", "null"], "enum": ["a", "b", None], "examples": ["a"]},
                    "many": {"type": "array", "items": {"type": "integer", "format": "int32"}, "minItems": 1},
                    "either": {"anyOf": [{"type": "number", "minimum": 0.5}, {"type": "boolean"}, {"type": "null"}]},
                },
                "required": ["many"],
            },
        ),
        Tool(name="now", schema=schema),
        Tool(name="bare"),
    ]


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({}, None),
        ({"mode": "AUTO"}, ToolChoice()),
        ({"mode": "validated", "allowedFunctionNames": ["a"]}, ToolChoice(names=("a",))),
        ({"mode": "NONE"}, ToolChoice(mode="none")),
        ({"mode": "ANY"}, ToolChoice(mode="required")),
        ({"mode": "ANY", "allowed_function_names": ["a"]}, ToolChoice(mode="named", names=("a",))),
        ({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}, ToolChoice(mode="required", names=("a", "b"))),
    ],
)
def test_tool_choice(config: dict[str, Any], choice: ToolChoice | None) -> None:
    body = {"contents": HI, "toolConfig": {"functionCallingConfig": config}}
    assert read(body).tool_choice == choice


def test_generation_config() -> None:
    conversation = read(
        {
            "contents": HI,
            "generation_config": {
                "temperature": 0.5,
                "top_p": "0.9",
                "topK": 40.0,
                "candidateCount": 1,
                "max_output_tokens": "100",
                "stopSequences": ["a"],
                "seed": 5,
                "presencePenalty": 1,
                "frequencyPenalty": -1,
                "responseLogprobs": True,
                "logprobs": 3,
                "responseModalities": ["Text"],
                "mediaResolution": "MEDIA_RESOLUTION_LOW",
                "responseMimeType": "text/plain",
                "enableEnhancedCivicAnswers": False,
            },
            "serviceTier": "flex",
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        }
    )
    assert conversation == Conversation(
        turns=conversation.turns,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        choices=1,
        max_output_tokens=100,
        stop=["a"],
        seed=5,
        presence_penalty=1,
        frequency_penalty=-1,
        logprobs=3,
        service_tier="flex",
    )
    assert read_config(responseLogprobs=True).logprobs == 0
    assert read_config(responseLogprobs=False, logprobs=3).logprobs is None


@pytest.mark.parametrize(
    ("config", "reasoning"),
    [
        ({"thinkingLevel": "low"}, Reasoning(effort="low")),
        ({"thinking_level": "XHIGH", "include_thoughts": True}, Reasoning(effort="xhigh", show=True)),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
        ({"thinkingBudget": 0}, Reasoning(effort="none")),
        ({"thinkingBudget": -1, "includeThoughts": False}, Reasoning(adaptive=True, show=False)),
        ({"thinkingBudget": 2048}, Reasoning(budget_tokens=2048)),
        ({}, None),
    ],
)
def test_thinking(config: dict[str, Any], reasoning: Reasoning | None) -> None:
    assert read_config(thinkingConfig=config).reasoning == reasoning


@pytest.mark.parametrize(
    ("config", "output"),
    [
        ({"responseMimeType": "application/json"}, OutputFormat(kind="json_object")),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "STRING"}},
            OutputFormat(kind="json_schema", schema={"type": "string"}),
        ),
        (
            {"response_mime_type": "application/json", "response_json_schema": {"type": "string"}},
            OutputFormat(kind="json_schema", schema={"type": "string"}),
        ),
        (
            {"responseMimeType": "application/json", "_responseJsonSchema": {"type": "string"}},
            OutputFormat(kind="json_schema", schema={"type": "string"}),
        ),
        (
            {"responseFormat": [{"text": {"mimeType": "APPLICATION_JSON", "schema": {"type": "string"}}}]},
            OutputFormat(kind="json_schema", schema={"type": "string"}),
        ),
    ],
)
def test_output_formats(config: dict[str, Any], output: OutputFormat) -> None:
    conversation = read_config(**config)
    assert conversation.output == output
    assert conversation.foreign == {}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"cachedContent": "cachedContents/a"}, "cachedContent"),
        ({"cached_content": "cachedContents/a"}, "cachedContent"),
        ({"continuationToken": "AAAA"}, "continuationToken"),
        ({"somethingNew": 1}, "somethingNew"),
        ({"tools": [{"google_search": {}}]}, "tools[0].googleSearch"),
        ({"tools": [{"codeExecution": {}}, {"urlContext": {}}]}, "tools[0].codeExecution"),
        ({"tools": [{"functionDeclarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}]}, None),
        ({"toolConfig": {"retrievalConfig": {"languageCode": "de"}}}, "toolConfig.retrievalConfig"),
        ({"safetySettings": [{"category": "X", "threshold": "BLOCK_LOW_AND_ABOVE"}]}, "safetySettings[0]"),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}, "generationConfig.responseModalities"),
        ({"generationConfig": {"speechConfig": {"languageCode": "de"}}}, "generationConfig.speechConfig"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        ({"generationConfig": {"responseFormat": [{"image": {}}]}}, "generationConfig.responseFormat[0].image"),
        ({"contents": [{"parts": [{"executableCode": {"code": "1"}}]}]}, "contents[0].parts[0].executableCode"),
        (
            {"contents": [{"parts": [{"fileData": {"fileUri": "gs://a/b"}}]}]},
            "contents[0].parts[0].fileData.fileUri",
        ),
        (
            {"contents": [{"parts": [{"text": "a", "videoMetadata": {"fps": 2}}]}]},
            "contents[0].parts[0].videoMetadata",
        ),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts[0].inlineData"),
    ],
)
def test_what_only_google_can_do_is_kept_by_its_place(fields: dict[str, Any], name: str | None) -> None:
    foreign = read({"contents": HI, **fields}).foreign
    assert next(iter(foreign)) == (name or "tools[0].functionDeclarations[0].behavior")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], ""),
        ({}, "contents"),
        ({"contents": ["Hi"]}, "contents[0]"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0]"),
        ({"contents": [{"parts": ["Hi"]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"text": "a", "inlineData": {}}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"inlineData": {"data": "AAAA"}}]}]}, "contents[0].parts[0].inlineData"),
        ({"contents": [{"parts": [{"fileData": {}}]}]}, "contents[0].parts[0].fileData"),
        ({"contents": [{"parts": [{"functionCall": {"name": "f"}}]}]}, "contents[0].parts[0].functionCall"),
        (
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": 5}}]}]},
            "contents[0].parts[0].functionCall.args",
        ),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f"}}]}]}, "contents[0].parts[0].functionResponse"),
        ({"contents": HI, "generationConfig": {"temperature": "warm"}}, "generationConfig.temperature"),
        ({"contents": HI, "generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        ({"contents": HI, "generationConfig": {"stopSequences": [5]}}, "generationConfig.stopSequences[0]"),
        (
            {"contents": HI, "generationConfig": {"thinkingConfig": {"thinkingLevel": "A LOT"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        ({"contents": HI, "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0]"),
        (
            {"contents": HI, "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"foo": 1}}]}]},
            "tools[0].functionDeclarations[0].parameters.foo",
        ),
        (
            {"contents": HI, "toolConfig": {"functionCallingConfig": {"mode": "PERHAPS"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
    ],
)
def test_mistakes_are_named_by_their_place(body: Any, param: str) -> None:
    assert refused(body).param == param


@pytest.mark.parametrize(
    "body", [b"{", b'{"contents":"\xff"}', b"[" * 100_000, b'{"contents":' + b'{"parts":' * 100_000]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        GeminiInbound().read_request(make_call(body))


def test_a_bottomless_schema_is_refused() -> None:
    schema = '{"type":"OBJECT","items":' * 900 + "{}" + "}" * 900
    body = f'{{"contents":[],"tools":[{{"functionDeclarations":[{{"name":"f","parameters":{schema}}}]}}]}}'
    assert "too deeply" in refused(body.encode()).message


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_NAMES = (
    "contents",
    "parts",
    "role",
    "text",
    "functionCall",
    "functionResponse",
    "inlineData",
    "tools",
    "name",
    "args",
)
_STRANGE = st.recursive(
    _JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=20,
)


@given(
    _STRANGE, st.dictionaries(st.sampled_from([*_NAMES, "generationConfig", "toolConfig", "safetySettings"]), _STRANGE)
)
def test_however_strange_the_json_it_is_read_or_refused(contents: Any, fields: dict[str, Any]) -> None:
    body = json.dumps({**fields, "contents": contents}).encode()
    for read_it in (lambda: GeminiInbound().read_request(make_call(body)), lambda: peek(body)):
        with suppress(RequestError):
            read_it()


def test_counting_reads_the_wrapped_request_or_the_bare_one() -> None:
    for body in ({"contents": HI}, {"generateContentRequest": {"model": "models/m", "contents": HI}}):
        call = make_call(body, operation="count_tokens")
        assert GeminiInbound().read_request(call).turns == [Turn(role="user", parts=[Text(text="Hi")])]


def test_what_routing_must_know() -> None:
    plain = peek(json.dumps({"contents": HI}).encode())
    assert (plain.needs.tools, plain.needs.images, plain.needs.json_schema, plain.needs.input_tokens) == (
        False,
        False,
        False,
        0,
    )
    parts = [
        {"inlineData": {"mimeType": "image/png", "data": "A" * 100_000}},
        {"inline_data": {"mime_type": "audio/wav", "data": "A"}},
        {"fileData": {"fileUri": "https://example.com/a"}},
    ]
    body = {
        "contents": {"parts": parts},
        "tools": [{"functionDeclarations": []}],
        "generation_config": {"response_json_schema": {}},
    }
    needs = peek(json.dumps(body).encode()).needs
    assert needs.tools
    assert needs.images
    assert needs.audio
    assert needs.documents
    assert needs.json_schema
    assert needs.input_tokens == 0
    assert (
        peek(json.dumps({"contents": [{"parts": [{"text": "word " * 20_000}]}]}).encode()).needs.input_tokens > 10_000
    )
    assert peek_count(json.dumps({"generateContentRequest": body}).encode()).needs == needs
    assert peek_embeddings(b'{"content":{"parts":[{"text":"a"}]}}').model


@pytest.mark.parametrize("look", [peek, peek_count, peek_embeddings])
def test_a_body_without_what_it_is_about_is_refused(look: Any) -> None:
    with pytest.raises(RequestError):
        look(b"{}")
