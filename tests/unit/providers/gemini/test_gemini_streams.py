"""Streams: Gemini's in the neutral form, and others' as Google's clients read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gemini_wire import MODEL, PROVIDER, SEAL, assemble, make_call, read_responses, read_stream, sample
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.conversation import (
    Citation,
    Conversation,
    Logprob,
    Part,
    Reasoning,
    Seal,
    Text,
    Thinking,
    ToolCall,
)
from ownkey.providers.dialect import Call
from ownkey.providers.gemini.inbound import GeminiInbound
from ownkey.providers.gemini.json_array import JSONArrayStream
from ownkey.providers.gemini.outbound import GeminiOutbound
from ownkey.providers.gemini.read_stream import GeminiStreamReader
from ownkey.providers.gemini.signatures import UNSIGNED
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound
from ownkey.providers.seals import write_seal
from ownkey.providers.sse import read_event, split_events
from ownkey.providers.stream_events import (
    Cited,
    Delta,
    Ended,
    KeepAlive,
    PartEnded,
    PartStarted,
    Sealed,
    Started,
    StreamEvent,
)
from ownkey.providers.translation import Translation

CLAUDES = Seal(Dialect.ANTHROPIC_MESSAGES, "ErUB+/=")
TOKENS = Tokens(input_uncached=10, cache_read=4, output_text=7, output_reasoning=3)
SHOWN = Conversation(reasoning=Reasoning(show=True))
WHOLE = ("text", "thinking", "tools", "length", "blocked", "grounding")


def read(name: str) -> tuple[GeminiStreamReader, list[StreamEvent]]:
    return read_stream(sample(f"{name}.sse"))


@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_says_what_the_whole_answer_says(name: str) -> None:
    reader, events = read(name)
    streamed, whole = assemble(events), GeminiOutbound().read_answer(sample(f"{name}.json"), make_call())
    assert reader.complete
    assert reader.failure is None
    assert reader.tokens == whole.tokens
    assert (streamed.id, streamed.model, streamed.finish) == (whole.id, whole.model, whole.finish)
    for part in whole.parts:
        if isinstance(part, Text):
            part.citations = [source for source in part.citations if "cited" not in source.url]
    assert [_plain(part) for part in streamed.parts] == [_plain(part) for part in whole.parts]


def _plain(part: Part) -> Any:
    """A part without what the neutral form leaves open: blanks in JSON, and words of a refusal as a kind of text."""
    if isinstance(part, ToolCall):
        return (part.id, part.name, json.loads(part.arguments), part.seal)
    return part if isinstance(part, Text | Thinking) else Text(text=part.text)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name",
    [
        *WHOLE,
        "tools_without_ids",
        "safety",
        "malformed",
        "error_later",
        "error_first",
        "cut",
        "usage_after",
        "logprobs",
    ],
)
def test_it_does_not_matter_how_the_network_cuts_it(name: str) -> None:
    data = sample(f"{name}.sse")
    whole_reader, whole = read_stream(data)
    reader, events = read_stream(data, size=1)
    assert _timeless(events) == _timeless(whole)
    assert (reader.complete, reader.failure, reader.tokens) == (
        whole_reader.complete,
        whole_reader.failure,
        whole_reader.tokens,
    )


def _timeless(events: list[StreamEvent]) -> list[Any]:
    """Events without the second and the ids that are made up."""
    found: list[Any] = []
    for event in events:
        if isinstance(event, Started):
            found.append((event.id, event.model, event.tokens))
        elif isinstance(event, PartStarted) and event.call_id.startswith("call_"):
            found.append((event.index, event.name))
        else:
            found.append(event)
    return found


@given(st.lists(st.integers(1, 400), max_size=30))
def test_any_cut_gives_the_same_events(sizes: list[int]) -> None:
    data = sample("thinking.sse")
    reader = GeminiStreamReader(make_call(stream=True))
    events: list[StreamEvent] = []
    for size in sizes:
        events += reader.feed(data[:size])
        data = data[size:]
    events += [*reader.feed(data), *reader.finish()]
    assert _timeless(events) == _timeless(read("thinking")[1])


def test_a_text_behind_calls_and_thoughts_begins_a_part_of_its_own() -> None:
    _, events = read("thinking")
    assert assemble(events).parts == [
        Thinking(text="**Weighing**\n\nOne side and the other.\n"),
        Text(text="Both are right."),
        Thinking(seal=SEAL),
    ]


def test_calls_without_ids_get_different_ones() -> None:
    answer = assemble(read("tools_without_ids")[1])
    assert answer.finish == "tool_calls"
    first, second = answer.parts
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id != second.id
    assert first.arguments == second.arguments == "{}"


def test_a_filter_in_the_middle() -> None:
    reader, events = read("safety")
    answer = assemble(events)
    assert reader.complete
    assert answer.finish == "refusal"
    assert answer.parts == [Text(text="First you ")]
    assert reader.tokens == Tokens(input_uncached=7, output_text=3)


def test_a_model_that_lost_its_way_has_failed_but_is_paid_for() -> None:
    reader, events = read("malformed")
    assert not reader.complete
    assert reader.failure is not None
    assert reader.failure.outcome is Outcome.OVERLOADED
    assert reader.failure.provider_code == "malformed_function_call"
    assert reader.tokens == Tokens(input_uncached=50, output_reasoning=33)
    assert [type(event) for event in events] == [Started]


@pytest.mark.parametrize("name", ["error_later", "error_first", "error_bare", "error_in_list"])
def test_errors_inside_a_stream(name: str) -> None:
    reader, events = read(name)
    assert reader.failure is not None
    assert reader.failure.outcome is Outcome.OVERLOADED
    assert reader.failure.http_status == 503
    assert "overloaded" in reader.failure.message
    assert not reader.complete
    assert any(isinstance(event, Delta) for event in events) is (name == "error_later")
    assert reader.feed(sample("text.sse")) == []


def test_a_cut_stream_is_not_complete_and_keeps_its_usage() -> None:
    reader, events = read("cut")
    assert not reader.complete
    assert reader.failure is None
    assert reader.tokens == Tokens(input_uncached=9, output_text=2)
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "So it "


@pytest.mark.parametrize("name", ["no_last_line_end", "unspecified"])
def test_unusual_endings(name: str) -> None:
    reader, events = read(name)
    assert reader.complete
    assert assemble(events).parts == [Text(text="Yes.")]
    assert reader.tokens == Tokens(input_uncached=9, output_text=2)


def test_usage_may_come_after_the_end() -> None:
    reader = GeminiStreamReader(make_call(stream=True))
    first, second, usage = (event for event in split_events(sample("usage_after.sse")))
    events = [*reader.feed(first), *reader.feed(second)]
    assert isinstance(events[-1], Ended)
    assert not reader.complete
    assert reader.feed(usage) == []
    assert reader.complete
    assert reader.tokens == Tokens(input_uncached=9, output_text=2)


def test_a_stream_that_tells_no_usage_is_complete_at_its_end() -> None:
    reader = GeminiStreamReader(make_call(stream=True))
    reader.feed(b"".join(split_events(sample("usage_after.sse"))[:2]))
    assert not reader.complete
    assert reader.finish() == []
    assert reader.complete
    assert reader.tokens is None


def test_likelihoods() -> None:
    answer = assemble(read("logprobs")[1])
    assert answer.logprobs is not None
    assert [(entry.token, entry.logprob, len(entry.alternatives)) for entry in answer.logprobs] == [
        ("Hi", -0.1, 2),
        (" you", -0.5, 0),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"data: nonsense\n\n",
        b'data: {"candidates": 5}\n\n',
        b"data: [1]\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":' + b"[" * 100_000 + b"\n\n",
        b'data: {"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}\n\n',
        b"{nonsense",
    ],
)
def test_what_cannot_be_read_is_a_broken_stream(data: bytes) -> None:
    reader, _ = read_stream(data)
    assert reader.failure is not None
    assert not reader.complete


def test_comments_and_events_without_candidates_say_nothing() -> None:
    reader, events = read_stream(b': hello\n\ndata: {"usageMetadata":{"promptTokenCount":4}}\n\n')
    assert [type(event) for event in events] == [Started]
    assert isinstance(events[0], Started)
    assert events[0].tokens == reader.tokens == Tokens(input_uncached=4)


@pytest.mark.parametrize("name", [*WHOLE, "safety", "logprobs", "usage_after"])
def test_a_client_of_openais_gets_one_stream(name: str) -> None:
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": True,
    }
    call = Call(operation="chat", body=json.dumps(body).encode(), model=MODEL, stream=True, wants_usage=True)
    decoder = Translation(OpenAIChatInbound(), GeminiOutbound()).stream_decoder(PROVIDER, call)
    output = b"".join(decoder.feed(bytes([byte])) for byte in sample(f"{name}.sse")) + decoder.finish()
    assert decoder.complete
    *events, done = split_events(output)
    assert done == b"data: [DONE]\n\n"
    chunks = [ChatCompletionChunk.model_validate_json(read_event(event).data) for event in events]
    _, neutral = read(name)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "".join(
        part.text for part in assemble(neutral).parts if isinstance(part, Text) and name != "blocked"
    )
    usage = chunks[-1].usage
    assert usage is not None
    assert decoder.tokens is not None
    assert usage.total_tokens == decoder.tokens.input_total + decoder.tokens.output_total


def write(
    *events: StreamEvent, conversation: Conversation | None = None, tokens: Tokens | None = TOKENS
) -> list[types.GenerateContentResponse]:
    """The responses that a client gets, each event given alone."""
    writer = GeminiInbound().stream_writer(make_call(stream=True), conversation or Conversation())
    output = b"".join(writer.write([event], None) for event in [Started("r1", "m1", 1), *events])
    return read_responses(output + writer.finish(tokens))


def written_parts(responses: list[types.GenerateContentResponse]) -> list[dict[str, Any]]:
    found = []
    for response in responses:
        assert response.candidates is not None
        assert len(response.candidates) == 1
        assert (response.model_version, response.response_id) == ("m1", "r1")
        content = response.candidates[0].content
        assert content is not None
        assert content.role == "model"
        found += [part.model_dump(exclude_none=True) for part in content.parts or ()]
    return found


def test_a_stream_for_googles_clients() -> None:
    responses = write(
        PartStarted(0, "text"), Delta(0, "Hel"), KeepAlive(), Delta(0, "l\u2028o"), PartEnded(0), Ended("length")
    )
    assert written_parts(responses) == [{"text": "Hel"}, {"text": ""}, {"text": "l\u2028o"}, {"text": ""}]
    assert [response.candidates[0].finish_reason for response in responses if response.candidates] == [
        None,
        None,
        None,
        types.FinishReason.MAX_TOKENS,
    ]
    usage = responses[-1].usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (14, 4)
    assert (usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count) == (7, 3, 24)
    assert all(response.usage_metadata is None for response in responses[:-1])


def test_calls_go_out_whole_and_the_first_is_signed() -> None:
    responses = write(
        PartStarted(0, "tool_call", "a", "f"),
        PartStarted(1, "tool_call", "b", "g"),
        Delta(0, '{"x":'),
        Delta(1, '{"y"'),
        Delta(0, "1}"),
        PartEnded(0),
        Delta(1, ":2}"),
        Sealed(1, CLAUDES),
        PartEnded(1),
        Ended("tool_calls"),
    )
    calls = [call for response in responses for call in response.function_calls or ()]
    assert [(call.id, call.name, call.args) for call in calls] == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]
    first, second, _ = written_parts(responses)
    assert types.Part.model_validate(first).model_dump_json(include={"thought_signature"}) == json.dumps(
        {"thought_signature": UNSIGNED}, separators=(",", ":")
    )
    assert second["thought_signature"].startswith(b"ownkey1.")


def test_a_call_that_is_no_object_is_malformed_in_googles_words() -> None:
    responses = write(PartStarted(0, "tool_call", "a", "f"), Delta(0, '{"x"'), PartEnded(0), Ended("length"))
    assert len(responses) == 1
    assert responses[0].candidates is not None
    assert responses[0].candidates[0].finish_reason is types.FinishReason.MALFORMED_FUNCTION_CALL
    assert responses[0].candidates[0].finish_message == 'Malformed function call: f({"x")'


THOUGHTS: tuple[StreamEvent, ...] = (
    PartStarted(0, "thinking"),
    Delta(0, "H"),
    Delta(0, "m."),
    Sealed(0, CLAUDES),
    PartEnded(0),
    PartStarted(1, "thinking"),
    Delta(1, "Ah."),
    PartEnded(1),
    Ended("stop"),
)


def test_thoughts_are_shown_to_who_asked() -> None:
    seal = write_seal(CLAUDES, Dialect.GEMINI)
    sealed = types.Part.model_validate({"text": "", "thoughtSignature": seal}).thought_signature
    assert written_parts(write(*THOUGHTS, conversation=SHOWN)) == [
        {"text": "H", "thought": True},
        {"text": "m.", "thought": True},
        {"text": "", "thought": True, "thought_signature": sealed},
        {"text": "Ah.", "thought": True},
        {"text": ""},
    ]
    # Others get only what they must give back.
    assert written_parts(write(*THOUGHTS)) == [
        {"text": "Hm.", "thought": True, "thought_signature": sealed},
        {"text": ""},
    ]


def test_sources_and_likelihoods() -> None:
    responses = write(
        PartStarted(0, "text"),
        Delta(0, "Zürich", (Logprob(token="Zürich", logprob=-0.5),)),
        Delta(0, " won."),
        Cited(0, Citation(url="https://a.example/", title="A", start=0, end=6)),
        PartEnded(0),
        Ended("stop"),
    )
    assert responses[0].candidates is not None
    likely = responses[0].candidates[0].logprobs_result
    assert likely is not None
    assert likely.chosen_candidates is not None
    assert likely.chosen_candidates[0].log_probability == -0.5
    assert responses[-1].candidates is not None
    grounding = responses[-1].candidates[0].grounding_metadata
    assert grounding is not None
    assert grounding.grounding_supports is not None
    segment = grounding.grounding_supports[0].segment
    assert segment is not None
    assert (segment.start_index, segment.end_index, segment.text) == (0, 7, "Zürich")


def test_a_refusal_and_an_unknown_usage() -> None:
    responses = write(PartStarted(0, "refusal"), Delta(0, "I will not."), PartEnded(0), Ended("refusal"), tokens=None)
    assert responses[0].text == "I will not."
    assert responses[-1].candidates is not None
    assert responses[-1].candidates[0].finish_reason is types.FinishReason.SAFETY
    assert responses[-1].usage_metadata is None


def test_a_break_is_an_error_as_googles_clients_raise_it() -> None:
    writer = GeminiInbound().stream_writer(make_call(stream=True), Conversation())
    broken = writer.break_off(Failure(outcome=Outcome.STREAM_BROKEN, message="It broke."))
    # The SDK looks for exactly this beginning.
    assert broken.startswith(b'data: {"error":{"code":503,')
    assert json.loads(read_event(broken).data)["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_without_sse_a_stream_is_an_array(size: int) -> None:
    data = sample("tools.sse")
    array = JSONArrayStream()
    output = b"".join(array.feed(data[at : at + size]) for at in range(0, len(data), size)) + array.finish()
    assert json.loads(output) == [json.loads(read_event(event).data) for event in split_events(data)]


def test_an_empty_array() -> None:
    assert json.loads(JSONArrayStream().finish()) == []
