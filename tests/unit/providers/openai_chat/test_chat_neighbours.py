"""The chat dialect beside each other one: what both can say arrives, in requests, answers and streams.

The other dialect's own writer plays the provider, and its reader the client, so that both ends are real.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_wire import INBOUND, call_of, completion, joined, put_together, write
from hypothesis import given, settings
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.usage import Tokens
from ownkey.providers.adapters import get_adapter, get_inbound, get_outbound
from ownkey.providers.conversation import (
    Answer,
    Conversation,
    Finish,
    Part,
    Seal,
    Text,
    Thinking,
    ToolCall,
)
from ownkey.providers.dialect import Call
from ownkey.providers.stream_events import Delta, Ended, PartEnded, PartKind, PartStarted, Sealed, Started, StreamEvent

OTHERS = [Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_RESPONSES, Dialect.GEMINI]
MODELS = {
    Dialect.OPENAI_CHAT: "gpt-5.4",
    Dialect.OPENAI_RESPONSES: "gpt-5.4",
    Dialect.ANTHROPIC_MESSAGES: "claude-sonnet-4-5",
    Dialect.GEMINI: "gemini-3.8-flash",
}
TOKENS = Tokens(input_uncached=10, cache_read=5, output_text=7, output_reasoning=3)
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": False}}
REQUEST: dict[str, Any] = {
    "model": "x",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
            ],
        },
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "call_b", "type": "function", "function": {"name": "f", "arguments": '{"x":2}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "one"},
        {"role": "tool", "tool_call_id": "call_b", "content": "two"},
        {"role": "user", "content": "And?"},
    ],
    "max_completion_tokens": 99,
    "tools": [TOOL],
    "tool_choice": "required",
}


def provider(dialect: Dialect) -> Provider:
    return Provider(id="some", label="Some", dialect=dialect, base_url="https://some.test/v1")


def body_of(request: Any) -> bytes:
    return request.body if isinstance(request.body, bytes) else b"".join(request.body)


def simplified(body: dict[str, Any]) -> dict[str, Any]:
    """Without what one of the dialects cannot leave open."""
    for tool in body.get("tools", ()):
        tool["function"].pop("strict", None)
    return body


@pytest.mark.parametrize("dialect", OTHERS)
def test_a_request_says_the_same_there(dialect: Dialect) -> None:
    call = call_of(json.dumps(REQUEST).encode(), model=MODELS[dialect])
    request = get_adapter(Dialect.OPENAI_CHAT, dialect).encode(provider(dialect), "https://some.test/v1", call)
    there = get_inbound(dialect).read_request(Call(operation="chat", body=body_of(request), model="x", dialect=dialect))

    assert simplified(write(there, model="x")) == simplified(json.loads(json.dumps(REQUEST)))


def answer(*parts: Part, finish: Finish = "stop") -> Answer:
    return Answer(id="id_1", model="m-1", created=1790000000, parts=list(parts), finish=finish, tokens=TOKENS)


def call_in(dialect: Dialect, **fields: Any) -> Call:
    bodies = {
        Dialect.OPENAI_CHAT: b'{"messages":[{"role":"user","content":"Hello"}]}',
        Dialect.OPENAI_RESPONSES: b'{"model":"x","input":"Hello"}',
        Dialect.ANTHROPIC_MESSAGES: b'{"model":"x","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}',
        Dialect.GEMINI: b'{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}',
    }
    return Call(operation="chat", body=bodies[dialect], model=MODELS[dialect], dialect=dialect, **fields)


@pytest.mark.parametrize("dialect", OTHERS)
def test_an_answer_of_a_provider_there_is_a_completion(dialect: Dialect) -> None:
    given_answer = answer(
        Text(text="So: "),
        ToolCall(id="call_a", name="f", arguments='{"x":1}'),
        ToolCall(id="call_b", name="f"),
        finish="tool_calls",
    )
    body = get_inbound(dialect).write_answer(given_answer, call_in(dialect), Conversation())
    decoded = get_adapter(Dialect.OPENAI_CHAT, dialect).decode(body, call_in(Dialect.OPENAI_CHAT))

    (choice,) = completion(decoded.body).choices
    assert (choice.message.content, choice.finish_reason) == ("So: ", "tool_calls")
    assert [(one.id, one.function.name, one.function.arguments) for one in choice.message.tool_calls or ()] == [
        ("call_a", "f", '{"x":1}'),
        ("call_b", "f", "{}"),
    ]
    assert decoded.tokens == TOKENS
    assert decoded.finish_reason == "tool_calls"


@pytest.mark.parametrize("dialect", OTHERS)
def test_a_completion_is_an_answer_for_a_client_there(dialect: Dialect) -> None:
    parts: list[Part] = [Text(text="So: "), ToolCall(id="call_a", name="f", arguments='{"x":1}')]
    body = INBOUND.write_answer(answer(*parts, finish="tool_calls"), call_of(), Conversation())
    decoded = get_adapter(dialect, Dialect.OPENAI_CHAT).decode(body, call_in(dialect))

    there = get_outbound(dialect).read_answer(decoded.body, call_in(dialect))
    for part in there.parts:
        if isinstance(part, ToolCall):
            part.seal = None  # Gemini wants each first call signed, and has a word for those that are not
    assert (there.parts, there.finish, there.tokens) == (parts, "tool_calls", TOKENS)


Said = list[tuple[PartKind, list[str]]]


def events_of(said: Said, calls: list[dict[str, str]], finish: Finish) -> list[StreamEvent]:
    events: list[StreamEvent] = [Started("id_1", "m-1", 1790000000)]
    for index, (kind, texts) in enumerate(said):
        events += [PartStarted(index, kind), *(Delta(index, text) for text in texts), PartEnded(index)]
    first = len(said)
    started = [PartStarted(first + at, "tool_call", f"call_{at}", "f") for at in range(len(calls))]
    pieces = [[json.dumps(one)[:3], json.dumps(one)[3:]] for one in calls]
    events += started
    events += [Delta(first + at, piece[half]) for half in (0, 1) for at, piece in enumerate(pieces) if piece[half]]
    events += [PartEnded(first + at) for at in range(len(calls))]
    return [*events, Ended(finish)]


def speak(dialect: Dialect, events: list[StreamEvent]) -> bytes:
    """The stream of a provider of a dialect."""
    call = call_in(dialect, stream=True, wants_usage=True)
    writer = get_inbound(dialect).stream_writer(call, Conversation())
    return b"".join([*(writer.write([one], TOKENS) for one in events), writer.finish(TOKENS)])


TEXTS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=5), min_size=1, max_size=3
)
CALLS = st.lists(st.dictionaries(st.text("ab", min_size=1, max_size=3), st.text(max_size=4), max_size=2), max_size=3)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(OTHERS), TEXTS, CALLS, st.integers(1, 400))
def test_a_stream_of_a_provider_there_is_one_of_chunks(
    dialect: Dialect, texts: list[str], calls: list[dict[str, str]], size: int
) -> None:
    data = speak(dialect, events_of([("text", texts)], calls, "tool_calls" if calls else "stop"))
    call = call_in(Dialect.OPENAI_CHAT, stream=True, wants_usage=True)
    decoder = get_adapter(Dialect.OPENAI_CHAT, dialect).stream_decoder(provider(dialect), call)
    output = b"".join([*(decoder.feed(data[at : at + size]) for at in range(0, len(data), size)), decoder.finish()])

    assert decoder.complete
    assert decoder.failure is None
    assert decoder.tokens == TOKENS
    got = put_together(output)
    message = got.choices[0].message
    assert message.content == "".join(texts)
    assert [json.loads(one.function.arguments) for one in message.tool_calls or ()] == calls
    assert got.choices[0].finish_reason == ("tool_calls" if calls else "stop")
    assert got.usage is not None
    assert got.usage.total_tokens == 25


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(OTHERS), TEXTS, CALLS, st.integers(1, 400))
def test_a_stream_of_chunks_is_one_for_a_client_there(
    dialect: Dialect, texts: list[str], calls: list[dict[str, str]], size: int
) -> None:
    data = speak(Dialect.OPENAI_CHAT, events_of([("text", texts)], calls, "tool_calls" if calls else "stop"))
    call = call_in(dialect, stream=True)
    decoder = get_adapter(dialect, Dialect.OPENAI_CHAT).stream_decoder(provider(Dialect.OPENAI_CHAT), call)
    output = b"".join([*(decoder.feed(data[at : at + size]) for at in range(0, len(data), size)), decoder.finish()])

    assert decoder.complete
    assert decoder.tokens == TOKENS
    reader = get_outbound(dialect).stream_reader(call)
    parts = joined([*reader.feed(output), *reader.finish()])
    assert reader.complete
    assert reader.tokens == TOKENS
    assert "".join(part[1] for part in parts if part[0] == "text") == "".join(texts)
    assert [json.loads(part[3]) for part in parts if part[0] == "tool_call"] == calls


SIGNED = {
    Dialect.ANTHROPIC_MESSAGES: Seal(Dialect.ANTHROPIC_MESSAGES, "c2lnbmVk"),
    Dialect.OPENAI_RESPONSES: Seal(Dialect.OPENAI_RESPONSES, "c2VhbGVk"),
    Dialect.GEMINI: Seal(Dialect.GEMINI, "c2ln"),
}


@pytest.mark.parametrize("dialect", OTHERS)
@pytest.mark.parametrize("streamed", [True, False])
def test_sealed_thinking_comes_back_to_the_provider_that_sealed_it(dialect: Dialect, streamed: bool) -> None:
    """Through a chat client that does nothing but give back the message it got."""
    seal = SIGNED[dialect]
    on_call = dialect is Dialect.GEMINI
    call = ToolCall(id="call_a", name="f", arguments='{"x":1}', seal=seal if on_call else None)
    thinking = Thinking(text="Hm.", seal=None if on_call else seal)
    adapter = get_adapter(Dialect.OPENAI_CHAT, dialect)
    if streamed:
        events: list[StreamEvent] = [
            Started("id_1", "m-1", 1790000000),
            PartStarted(0, "thinking"),
            Delta(0, "Hm."),
            *([] if on_call else [Sealed(0, seal)]),
            PartEnded(0),
            PartStarted(1, "tool_call", call.id, call.name),
            Delta(1, call.arguments),
            *([Sealed(1, seal)] if on_call else []),
            PartEnded(1),
            Ended("tool_calls"),
        ]
        decoder = adapter.stream_decoder(provider(dialect), call_in(Dialect.OPENAI_CHAT, stream=True))
        got = put_together(decoder.feed(speak(dialect, events)) + decoder.finish())
    else:
        body = get_inbound(dialect).write_answer(
            answer(thinking, call, finish="tool_calls"), call_in(dialect), Conversation()
        )
        got = completion(adapter.decode(body, call_in(Dialect.OPENAI_CHAT)).body)

    message = got.choices[0].message.model_dump(mode="json", exclude_none=True)
    following = {
        "messages": [
            {"role": "user", "content": "Hello"},
            message,
            {"role": "tool", "tool_call_id": "call_a", "content": "1"},
        ],
        "tools": [TOOL],
    }
    call_there = call_of(json.dumps(following).encode(), model=MODELS[dialect])
    request = adapter.encode(provider(dialect), "https://some.test/v1", call_there)
    assert seal.data.encode() in body_of(request)
    # To everybody else it is nothing: neither the seal nor the thought goes there.
    for other in (*OTHERS, Dialect.OPENAI_CHAT):
        if other is not dialect:
            elsewhere = call_of(json.dumps(following).encode(), model=MODELS[other])
            request = get_adapter(Dialect.OPENAI_CHAT, other).encode(provider(other), "https://some.test/v1", elsewhere)
            assert seal.data.encode() not in body_of(request)
            assert b"ownkey1." not in body_of(request)
            assert b"Hm." not in body_of(request)


def next_body(dialect: Dialect, told: dict[str, Any]) -> dict[str, Any]:
    """The request with a tool's result, from a client that gives back what it was told."""
    match dialect:
        case Dialect.ANTHROPIC_MESSAGES:
            results = [{"type": "tool_result", "tool_use_id": "call_a", "content": "1"}]
            turns = [{"role": "assistant", "content": told["content"]}, {"role": "user", "content": results}]
            return {"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}, *turns]}
        case Dialect.OPENAI_RESPONSES:
            result = {"type": "function_call_output", "call_id": "call_a", "output": "1"}
            return {"model": "x", "input": [{"role": "user", "content": "Hello"}, *told["output"], result]}
        case _:
            response = {"functionResponse": {"name": "f", "id": "call_a", "response": {"output": "1"}}}
            hello = {"role": "user", "parts": [{"text": "Hello"}]}
            turns = [told["candidates"][0]["content"], {"role": "user", "parts": [response]}]
            return {"contents": [hello, *turns]}


@pytest.mark.parametrize("dialect", OTHERS)
def test_a_chat_providers_thinking_comes_back_to_it(dialect: Dialect) -> None:
    """DeepSeek refuses the result of a call whose thinking is missing, whatever the client speaks."""
    adapter = get_adapter(dialect, Dialect.OPENAI_CHAT)
    called = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    message = {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [called]}
    completed = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode()
    call = Call(operation="chat", body=call_in(dialect).body, model="deepseek-flash", dialect=dialect)
    told = json.loads(adapter.decode(completed, call).body)

    def sent(model: str) -> Any:
        following = json.dumps(next_body(dialect, told)).encode()
        call = Call(operation="chat", body=following, model=model, dialect=dialect)
        request = adapter.encode(provider(Dialect.OPENAI_CHAT), "https://some.test/v1", call)
        return json.loads(body_of(request))["messages"][1]

    assert sent("deepseek-flash")["reasoning_content"] == "Hm."
    assert set(sent("gpt-5.4")) == {"role", "content", "tool_calls"}
