"""What is said in Gemini's dialect and in the neutral form survives the way there and back."""

from __future__ import annotations

import json
from typing import Any

from gemini_wire import BASE_URL, PROVIDER, SEAL, assemble, judge_request, make_call, read_stream
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Tokens
from ownkey.providers.anthropic_messages.inbound import AnthropicInbound
from ownkey.providers.anthropic_messages.outbound import AnthropicOutbound
from ownkey.providers.conversation import (
    Answer,
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
from ownkey.providers.dialect import Call
from ownkey.providers.gemini.inbound import GeminiInbound
from ownkey.providers.gemini.outbound import GeminiOutbound
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound
from ownkey.providers.openai_chat.outbound import OpenAIChatOutbound
from ownkey.providers.stream_events import Delta, Ended, PartEnded, PartStarted, Sealed, Started, StreamEvent
from ownkey.providers.translation import Inbound, Outbound

WORDS = st.text(min_size=1, max_size=12).filter(str.strip)
NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
ARGUMENTS = st.dictionaries(
    WORDS, st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=3
)
MEDIA = st.sampled_from(
    [
        Media(kind="image", media_type="image/png", data="AAAA"),
        Media(kind="document", media_type="application/pdf", data="BBBB"),
        Media(kind="audio", media_type="audio/wav", data="CCCC"),
        Media(kind="image", media_type="image/jpeg", url="https://example.com/a.jpg"),
    ]
)
SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object")}, optional={"properties": st.just({"a": {"type": "string"}})}
)
OTHERS = Seal(Dialect.ANTHROPIC_MESSAGES, "ErUB+/=")


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """What Gemini and the neutral form can both say, one turn of each side after the other."""
    turns = [Turn(role="user", parts=draw(st.lists(st.builds(Text, text=WORDS) | MEDIA, min_size=1, max_size=3)))]
    count = 0
    for _ in range(draw(st.integers(0, 3))):
        parts: list[Part] = [Text(text=draw(WORDS))] if draw(st.booleans()) else []
        results: list[Part] = []
        for _ in range(draw(st.integers(0, 2))):
            count += 1
            name, text, is_error = draw(NAMES), draw(st.text(max_size=10)), draw(st.booleans())
            seal = draw(st.none() | st.just(SEAL))
            parts.append(ToolCall(id=f"id-{count}", name=name, arguments=json.dumps(draw(ARGUMENTS)), seal=seal))
            content: list[Text | Media] = [Text(text=text)] if text else []
            results.append(ToolResult(call_id=f"id-{count}", content=content, name=name, is_error=is_error))
        if not parts:
            parts = [Text(text=draw(WORDS))]
        turns += [Turn(role="assistant", parts=parts), Turn(role="user", parts=results or [Text(text=draw(WORDS))])]
    return Conversation(
        turns=turns,
        instructions=[Text(text=text) for text in draw(st.lists(WORDS, max_size=2))],
        tools=draw(st.lists(st.builds(Tool, name=NAMES, description=WORDS, schema=SCHEMAS), max_size=2)),
        output=draw(
            st.none()
            | st.just(OutputFormat(kind="json_object"))
            | st.builds(OutputFormat, kind=st.just("json_schema"), schema=SCHEMAS)
        ),
        reasoning=draw(
            st.none()
            | st.builds(
                Reasoning, effort=st.sampled_from(["low", "medium", "high"]), show=st.sampled_from([None, True])
            )
        ),
        max_output_tokens=draw(st.none() | st.integers(1, 10_000)),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        top_k=draw(st.none() | st.integers(1, 100)),
        stop=draw(st.lists(WORDS, max_size=5)),
        seed=draw(st.none() | st.integers(-(2**31), 2**31 - 1)),
        logprobs=draw(st.none() | st.integers(0, 20)),
        service_tier=draw(st.sampled_from([None, "default", "flex", "priority"])),
    )


CHOICES = st.sampled_from(
    [
        ToolChoice(mode="none"),
        ToolChoice(mode="required"),
        ToolChoice(mode="named", names=("a",)),
        ToolChoice(names=("a",)),
    ]
)


def compare(conversation: Conversation) -> Conversation:
    """The same with its JSON in one spelling."""
    for turn in conversation.turns:
        for part in turn.parts:
            if isinstance(part, ToolCall):
                part.arguments = json.dumps(json.loads(part.arguments), sort_keys=True)
    return conversation


@given(conversations(), CHOICES)
def test_from_the_neutral_form_and_back(conversation: Conversation, choice: ToolChoice) -> None:
    conversation.tool_choice = choice if conversation.tools else None
    request = GeminiOutbound().write_request(PROVIDER, BASE_URL, make_call(), conversation)
    judge_request(json.loads(request.body))
    assert compare(GeminiInbound().read_request(make_call(request.body))) == compare(conversation)


@given(conversations())
def test_what_was_written_once_is_written_again_the_same(conversation: Conversation) -> None:
    first = GeminiOutbound().write_request(PROVIDER, BASE_URL, make_call(), conversation)
    read = GeminiInbound().read_request(make_call(first.body))
    second = GeminiOutbound().write_request(PROVIDER, BASE_URL, make_call(), read)
    assert json.loads(second.body) == json.loads(first.body)


def through(
    outbound: Outbound, inbound: Inbound, dialect: Dialect, model: str, conversation: Conversation
) -> Conversation:
    """A conversation that went to another dialect's provider and came back from its client."""
    call = Call(operation="chat", body=b"{}", model=model, dialect=dialect)
    request = outbound.write_request(PROVIDER, BASE_URL, call, conversation)
    return inbound.read_request(Call(operation="chat", body=request.body, model=model, dialect=dialect))


@settings(max_examples=40)
@given(conversations())
def test_by_way_of_other_dialects(conversation: Conversation) -> None:
    """Turns, instructions and tools are said in all three."""
    said = Conversation(turns=conversation.turns, instructions=conversation.instructions[:1], tools=conversation.tools)
    for turn in said.turns:
        # One text in a turn: where there are several, others join them in their own way.
        texts = [part for part in turn.parts if isinstance(part, Text)][:1]
        turn.parts = [*texts, *(part for part in turn.parts if isinstance(part, ToolCall | ToolResult))]
        turn.parts = turn.parts or [Text(text="-")]
        for part in turn.parts:
            if isinstance(part, ToolCall):
                part.seal = None
            elif isinstance(part, ToolResult):
                part.is_error = False  # which OpenAI's dialect cannot say
                part.content = part.content or [Text(text="-")]
    request = GeminiOutbound().write_request(PROVIDER, BASE_URL, make_call(), said)
    ways: list[tuple[Outbound, Inbound, Dialect, str]] = [
        (AnthropicOutbound(), AnthropicInbound(), Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-5-5"),
        (OpenAIChatOutbound(), OpenAIChatInbound(), Dialect.OPENAI_CHAT, "gpt-5"),
    ]
    for outbound, inbound, dialect, model in ways:
        back = through(outbound, inbound, dialect, model, GeminiInbound().read_request(make_call(request.body)))
        again = GeminiOutbound().write_request(PROVIDER, BASE_URL, make_call(), back)
        assert _without_tools(again.body) == _without_tools(request.body)


def _without_tools(body: bytes) -> dict[str, Any]:
    """A request without what the other dialects add to tools and answers: limits, and schemas where there was none."""
    fields = json.loads(body)
    for name in ("generationConfig", "toolConfig", "tools"):
        fields.pop(name, None)
    for content in fields["contents"]:
        texts = [part["text"] for part in content["parts"] if part.keys() == {"text"}]
        content["parts"] = [part for part in content["parts"] if part.keys() != {"text"}]
        content["text"] = "".join(texts)
    return fields


TOKENS = st.builds(
    Tokens,
    input_uncached=st.integers(0, 10**6),
    cache_read=st.integers(0, 10**6),
    output_text=st.integers(0, 10**6),
    output_reasoning=st.integers(0, 10**6),
)
SHOWN = Conversation(reasoning=Reasoning(show=True))


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """An answer as any provider may give it, and that Google's clients can be given."""
    parts: list[Part] = []
    if draw(st.booleans()):
        parts.append(Thinking(text=draw(WORDS), seal=draw(st.none() | st.just(OTHERS))))
    if draw(st.booleans()):
        parts.append(Text(text=draw(WORDS)))
    for position in range(draw(st.integers(0, 3))):
        parts.append(ToolCall(id=f"id-{position}", name=draw(NAMES), arguments=json.dumps(draw(ARGUMENTS))))
    called = any(isinstance(part, ToolCall) for part in parts)
    finish = "tool_calls" if called else draw(st.sampled_from(["stop", "length"]))
    return Answer(id="r1", model="m1", created=1, parts=parts, finish=finish, tokens=draw(TOKENS))


def expect(answer: Answer) -> list[Any]:
    """What can be read again of an answer: a foreign seal stands in Gemini's field as Gemini's own would."""
    found: list[Any] = []
    for part in answer.parts:
        if isinstance(part, ToolCall):
            found.append((part.id, part.name, json.loads(part.arguments)))
        elif isinstance(part, Thinking):
            found.append((part.text, part.seal is not None))
        elif isinstance(part, Text):
            found.append(part.text)
    return found


@given(answers())
def test_answers_there_and_back(answer: Answer) -> None:
    body = GeminiInbound().write_answer(answer, make_call(), SHOWN)
    types.GenerateContentResponse.model_validate_json(body)
    read = GeminiOutbound().read_answer(body, make_call())
    assert expect(read) == expect(answer)
    assert (read.finish, read.tokens, read.id, read.model) == (answer.finish, answer.tokens, "r1", "m1")


@given(answers(), st.integers(1, 200))
def test_streams_there_and_back(answer: Answer, size: int) -> None:
    writer = GeminiInbound().stream_writer(make_call(), SHOWN)
    output = writer.write(_events(answer), None) + writer.finish(answer.tokens)
    reader, events = read_stream(output, size=size)
    read = assemble(events)
    assert reader.complete
    assert reader.tokens == answer.tokens
    assert read.finish == answer.finish
    assert expect(read) == expect(answer)


def _events(answer: Answer) -> list[StreamEvent]:
    events: list[StreamEvent] = [Started(answer.id, answer.model, answer.created)]
    for index, part in enumerate(answer.parts):
        if isinstance(part, ToolCall):
            events += [PartStarted(index, "tool_call", part.id, part.name), Delta(index, part.arguments)]
        elif isinstance(part, Text | Thinking):
            events += [PartStarted(index, "text" if isinstance(part, Text) else "thinking"), Delta(index, part.text)]
        if isinstance(part, Thinking | ToolCall) and part.seal is not None:
            events.append(Sealed(index, part.seal))
        events.append(PartEnded(index))
    return [*events, Ended(answer.finish)]
