"""What is said in Responses survives the neutral form, there and back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from responses_reading import BASE_URL, OPENAI, make_answer, make_call, rebuild

from ownkey.domain.provider import Dialect
from ownkey.providers.conversation import (
    Answer,
    Conversation,
    Grammar,
    Logprob,
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
from ownkey.providers.openai_responses.inbound import ResponsesInbound
from ownkey.providers.openai_responses.outbound import ResponsesOutbound
from ownkey.providers.stream_events import Delta, Ended, PartEnded, PartStarted, Sealed, Started, StreamEvent

words = st.text(min_size=1, max_size=12)
base64_texts = st.sampled_from(["QQ==", "QUJD"])
images = st.builds(
    Media,
    kind=st.just("image"),
    media_type=st.sampled_from(["image/png", "image/jpeg"]),
    data=base64_texts,
    detail=st.sampled_from(["auto", "low", "high"]),
)
documents = st.builds(
    Media, kind=st.just("document"), media_type=st.just("application/pdf"), data=base64_texts, name=words
)
marked_texts = st.builds(Text, text=words, cache_ttl=st.sampled_from([None, "5m", "1h"]))
users = st.lists(st.one_of(marked_texts, images, documents), min_size=1, max_size=3)
own_seals = st.builds(Seal, st.just(Dialect.OPENAI_RESPONSES), words, st.just("rs_1"))
NAMES = ["f", "g", "p"]


@st.composite
def exchanges(draw: st.DrawFn) -> list[Turn]:
    """A user's turn, the assistant's with calls, and their results."""
    calls: list[ToolCall] = []
    for number in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(NAMES))
        arguments = draw(words) if name == "p" else json.dumps(draw(st.dictionaries(words, words, max_size=2)))
        identifier = f"call_{draw(st.integers(0, 10**9))}_{number}"
        calls.append(ToolCall(id=identifier, name=name, arguments=arguments, freeform=name == "p"))
    said: list[Part] = [
        Thinking(text=draw(st.text(max_size=5)), seal=seal) for seal in draw(st.lists(own_seals, max_size=2))
    ]
    said += [draw(st.one_of(st.builds(Text, text=words), st.builds(Refusal, text=words)))]
    turns = [Turn(role="user", parts=list(draw(users))), Turn(role="assistant", parts=[*said, *calls])]
    results: list[Part] = []
    for call in calls:
        content: list[Text | Media] = list(draw(st.one_of(st.lists(st.builds(Text, text=words), max_size=2), users)))
        results.append(ToolResult(call_id=call.id, content=content, name=call.name))
    return [*turns, *([Turn(role="user", parts=results)] if results else [])]


tools = st.lists(
    st.one_of(
        st.builds(
            Tool,
            name=st.sampled_from(["f", "g"]),
            description=st.none() | words,
            schema=st.just({"type": "object", "properties": {"a": {"type": "string"}}}),
            strict=st.booleans(),
        ),
        st.builds(
            Tool,
            name=st.just("p"),
            description=st.none() | words,
            freeform=st.just(True),
            grammar=st.none() | st.builds(Grammar, st.sampled_from(["lark", "regex"]), words),
        ),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tool: tool.name,
)
choices = st.one_of(
    st.none(),
    st.builds(ToolChoice, mode=st.sampled_from(["auto", "none", "required"])),
    st.builds(ToolChoice, mode=st.just("named"), names=st.tuples(st.sampled_from(NAMES))),
    st.builds(ToolChoice, mode=st.sampled_from(["auto", "required"]), names=st.just(("f", "p"))),
)
conversations = st.builds(
    Conversation,
    instructions=st.lists(marked_texts, max_size=2),
    turns=st.lists(exchanges(), min_size=1, max_size=2).map(lambda parts: [turn for part in parts for turn in part]),
    tools=tools,
    tool_choice=choices,
    parallel_tool_calls=st.none() | st.booleans(),
    output=st.one_of(
        st.none(),
        st.just(OutputFormat(kind="json_object")),
        st.builds(
            OutputFormat,
            kind=st.just("json_schema"),
            name=words,
            description=st.none() | words,
            schema=st.just({"type": "object"}),
            strict=st.none() | st.booleans(),
        ),
    ),
    reasoning=st.one_of(
        st.none(),
        st.builds(
            Reasoning, effort=st.sampled_from(["low", "medium", "xhigh", "max"]), show=st.sampled_from([None, True])
        ),
        st.just(Reasoning(show=True)),
    ),
    max_output_tokens=st.none() | st.integers(16, 10**6),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    logprobs=st.none() | st.integers(0, 20),
    user=st.none() | words,
    service_tier=st.none() | st.sampled_from(["flex", "priority"]),
    prompt_cache_key=st.none() | words,
    verbosity=st.none() | st.sampled_from(["low", "high"]),
)


@settings(deadline=None, max_examples=40)
@given(conversations)
def test_a_request_survives(conversation: Conversation) -> None:
    call = Call(operation="chat", body=b"{}", model="gpt-6-astra")
    request = ResponsesOutbound().write_request(OPENAI, BASE_URL, call, conversation)
    assert isinstance(request.body, bytes)
    back = Call(operation="chat", body=request.body, model="m", dialect=Dialect.OPENAI_RESPONSES)

    assert ResponsesInbound().read_request(back) == conversation


TOOLS: dict[str, Any] = {"tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "p"}]}
texts = st.text(min_size=1, max_size=12)
answer_parts = st.lists(
    st.one_of(
        st.builds(Text, text=texts),
        st.builds(Refusal, text=texts),
        st.builds(
            ToolCall, id=st.uuids().map(str), name=st.just("f"), arguments=st.dictionaries(texts, texts).map(json.dumps)
        ),
        st.builds(ToolCall, id=st.uuids().map(str), name=st.just("p"), arguments=texts, freeform=st.just(True)),
        st.builds(Thinking, text=st.text(max_size=9), seal=st.just(Seal(Dialect.OPENAI_RESPONSES, "gAAA"))),
    ),
    max_size=5,
)


def finish_for(parts: list[Part]) -> Any:
    if any(isinstance(part, ToolCall) for part in parts):
        return "tool_calls"
    return "refusal" if any(isinstance(part, Refusal) for part in parts) else "stop"


def without_ids(parts: list[Part]) -> list[Part]:
    """Reasoning without the ids that its items were given on the way."""
    return [
        Thinking(text=part.text, seal=Seal(part.seal.dialect, part.seal.data))
        if isinstance(part, Thinking) and part.seal is not None
        else part
        for part in parts
    ]


@settings(deadline=None, max_examples=40)
@given(answer_parts, st.lists(st.builds(Logprob, token=texts, logprob=st.floats(-9, 0)), max_size=2))
def test_a_whole_answer_survives(parts: list[Part], logprobs: list[Logprob]) -> None:
    call, inbound = make_call(TOOLS), ResponsesInbound()
    spoken = any(isinstance(part, Text) for part in parts)
    answer = make_answer(*parts, finish=finish_for(parts), logprobs=logprobs if spoken and logprobs else None)
    back: Answer = ResponsesOutbound().read_answer(inbound.write_answer(answer, call, inbound.read_request(call)), call)

    assert without_ids(back.parts) == parts
    assert (back.finish, back.tokens, back.model, back.created) == (
        answer.finish,
        answer.tokens,
        answer.model,
        answer.created,
    )
    assert [one.token for one in back.logprobs or ()] == [one.token for one in answer.logprobs or ()]


@settings(deadline=None, max_examples=40)
@given(answer_parts, st.integers(1, 4), st.integers(1, 200))
def test_a_stream_survives(parts: list[Part], size: int, cut: int) -> None:
    events: list[StreamEvent] = [Started("m", "model", 5)]
    for index, part in enumerate(parts):
        match part:
            case ToolCall():
                events.append(PartStarted(index, "tool_call", part.id, part.name, part.freeform))
                text = part.arguments
            case Thinking(text=text):
                events.append(PartStarted(index, "thinking"))
            case Refusal(text=text):
                events.append(PartStarted(index, "refusal"))
            case Text(text=text):
                events.append(PartStarted(index, "text"))
            case _:
                raise AssertionError(part)
        events += [Delta(index, text[start : start + size]) for start in range(0, len(text), size)]
        if isinstance(part, Thinking) and part.seal is not None:
            events.append(Sealed(index, part.seal))
        events.append(PartEnded(index))
    events.append(Ended(finish_for(parts)))
    call, inbound = make_call(TOOLS, stream=True), ResponsesInbound()
    writer, reader = inbound.stream_writer(call, inbound.read_request(call)), ResponsesOutbound().stream_reader(call)
    data = writer.write(events, None) + writer.finish(make_answer().tokens)
    back = [event for start in range(0, len(data), cut) for event in reader.feed(data[start : start + cut])]

    assert reader.complete
    assert without_ids(rebuild(back)) == parts
    assert back[-1] == events[-1]
    assert reader.tokens == make_answer().tokens
