"""Streams for clients of the chat dialect, put together by OpenAI's own client."""

from __future__ import annotations

import json
from typing import Any

from chat_wire import INBOUND, call_of, chunks, put_together, read, write_stream
from hypothesis import given, settings
from hypothesis import strategies as st

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.conversation import (
    Citation,
    Conversation,
    Finish,
    Logprob,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolCall,
)
from ownkey.providers.freeform import wrap
from ownkey.providers.stream_events import (
    Cited,
    Delta,
    Ended,
    KeepAlive,
    PartEnded,
    PartKind,
    PartStarted,
    Sealed,
    Started,
    StreamEvent,
)

STARTED = Started("msg_1", "claude", 1790000000)
TOKENS = Tokens(input_uncached=10, cache_read=5, cache_write=2, output_text=7, output_reasoning=3)


def part(index: int, kind: PartKind, *texts: str, seal: Seal | None = None) -> list[StreamEvent]:
    events: list[StreamEvent] = [PartStarted(index, kind), *(Delta(index, text) for text in texts)]
    return [*events, *([Sealed(index, seal)] if seal else []), PartEnded(index)]


def call(index: int, call_id: str, name: str, *pieces: str, seal: Seal | None = None) -> list[StreamEvent]:
    events: list[StreamEvent] = [PartStarted(index, "tool_call", call_id, name), *(Delta(index, one) for one in pieces)]
    return [*events, *([Sealed(index, seal)] if seal else []), PartEnded(index)]


def stream(*parts: list[StreamEvent], finish: Finish = "stop") -> list[StreamEvent]:
    return [STARTED, *(event for one in parts for event in one), Ended(finish)]


def message_of(events: list[StreamEvent], conversation: Conversation | None = None) -> Any:
    return put_together(write_stream(events, conversation)).choices[0].message


def test_every_byte_of_a_plain_stream() -> None:
    head = '{"id":"msg_1","object":"chat.completion.chunk","created":1790000000,"model":"claude","choices":['
    choice = '{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}'
    usage = (
        '{"prompt_tokens":17,"completion_tokens":10,"total_tokens":27,'
        '"prompt_tokens_details":{"cached_tokens":5,"cache_write_tokens":2},'
        '"completion_tokens_details":{"reasoning_tokens":3}}'
    )
    lines = [
        choice % ('{"role":"assistant","content":"","refusal":null}', "null"),
        choice % ('{"content":"Hé"}', "null"),
        choice % ('{"content":"\\"llo\\n"}', "null"),
        choice % ("{}", '"stop"'),
    ]
    events = stream(part(0, "text", "Hé", '"llo\n'))

    quiet = "".join(f"data: {head}{line}]}}\n\n" for line in lines)
    assert write_stream(events, tokens=TOKENS).decode() == quiet + "data: [DONE]\n\n"
    told = "".join(f'data: {head}{line}],"usage":null}}\n\n' for line in lines)
    told += f'data: {head}],"usage":{usage}}}\n\n'
    assert write_stream(events, tokens=TOKENS, wants_usage=True).decode() == told + "data: [DONE]\n\n"


def test_usage_that_nobody_reported_is_not_made_up() -> None:
    assert all(one.usage is None for one in chunks(write_stream(stream(part(0, "text", "a")), wants_usage=True)))


def test_the_client_has_the_same_answer_as_without_a_stream() -> None:
    got = put_together(
        write_stream(
            stream(
                part(0, "thinking", "First", "."),
                part(1, "text", "So", ": "),
                call(2, "a", "f", '{"x"', ":1}"),
                call(3, "b", "g"),
                finish="tool_calls",
            ),
            wants_usage=True,
            tokens=TOKENS,
        )
    )

    (choice,) = got.choices
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.role, choice.message.content, choice.message.refusal) == ("assistant", "So: ", None)
    assert choice.message.reasoning_content == "First."
    assert [(one.id, one.function.name, one.function.arguments) for one in choice.message.tool_calls] == [
        ("a", "f", '{"x":1}'),
        ("b", "g", "{}"),
    ]
    assert got.usage is not None
    assert got.usage.total_tokens == 27


def test_interleaved_calls_stay_interleaved() -> None:
    events: list[StreamEvent] = [
        STARTED,
        PartStarted(0, "tool_call", "a", "f"),
        PartStarted(1, "tool_call", "b", "g"),
        Delta(1, '{"y"'),
        Delta(0, '{"x"'),
        Delta(1, ":2}"),
        PartEnded(1),
        Delta(0, ":1}"),
        PartEnded(0),
        Ended("tool_calls"),
    ]

    written = chunks(write_stream(events))
    deltas = [one.choices[0].delta for one in written]
    order = [delta.tool_calls[0].index for delta in deltas if delta.tool_calls]
    assert order == [0, 1, 1, 0, 1, 0]
    assert [one.function.arguments for one in message_of(events).tool_calls] == ['{"x":1}', '{"y":2}']


def test_the_first_chunk_says_who_speaks() -> None:
    for events, content in (
        (stream(part(0, "text", "a")), ""),
        (stream(call(0, "a", "f")), None),
        (stream(part(0, "refusal", "No.")), None),
        (stream(), ""),
    ):
        first, *rest = chunks(write_stream(events))
        assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", content)
        assert all(one.choices[0].delta.role is None for one in rest)


def custom_pieces(events: list[StreamEvent], conversation: Conversation) -> list[dict[str, Any]]:
    """The pieces of a custom call, which the client's types have no place for in streams."""
    lines = write_stream(events, conversation).decode().split("\n\n")
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines if line.startswith("data: {")]
    return [delta["tool_calls"][0]["custom"] for delta in deltas if "tool_calls" in delta]


def test_freeform_calls_are_opened_as_they_arrive() -> None:
    conversation = Conversation(tools=[Tool(name="shell", freeform=True)])
    pieces = custom_pieces(stream(call(0, "a", "shell", *wrap('echo "hi"'))), conversation)

    assert pieces[0] == {"name": "shell", "input": ""}
    assert "".join(piece["input"] for piece in pieces) == 'echo "hi"'
    assert len(pieces) > 5
    plain: list[StreamEvent] = [PartStarted(0, "tool_call", "a", "x", freeform=True), Delta(0, "{ls"), PartEnded(0)]
    assert [piece["input"] for piece in custom_pieces(stream(plain), Conversation())] == ["", "{ls"]


def test_what_is_no_wrapped_input_comes_at_the_end() -> None:
    conversation = Conversation(tools=[Tool(name="shell", freeform=True)])
    pieces = custom_pieces(stream(call(0, "a", "shell", "ls ", "-l")), conversation)

    assert [piece["input"] for piece in pieces] == ["", "ls -l"]


def test_refusals() -> None:
    got = put_together(write_stream(stream(part(0, "refusal", "I ", "won't."), finish="refusal"))).choices[0]

    assert (got.message.refusal, got.message.content, got.finish_reason) == ("I won't.", None, "stop")
    filtered = put_together(write_stream(stream(part(0, "text", "I"), finish="refusal"))).choices[0]
    assert filtered.finish_reason == "content_filter"


def test_logprobs() -> None:
    token = Logprob(token="a", logprob=-0.5, alternatives=(Logprob(token="b", logprob=-2.0),))
    events: list[StreamEvent] = [PartStarted(0, "text"), Delta(0, "a", (token,)), Delta(0, "", (token,)), PartEnded(0)]

    got = put_together(write_stream(stream(events))).choices[0]
    assert got.logprobs is not None
    assert [one.token for one in got.logprobs.content or ()] == ["a", "a"]
    refusal: list[StreamEvent] = [PartStarted(0, "refusal"), Delta(0, "a", (token,)), PartEnded(0)]
    got = put_together(write_stream(stream(refusal))).choices[0]
    assert got.logprobs is not None
    assert [one.token for one in got.logprobs.refusal or ()] == ["a"]


def test_citations_come_together_and_count_from_the_start_of_the_content() -> None:
    first: list[StreamEvent] = [
        PartStarted(0, "text"),
        Delta(0, "So. "),
        Cited(0, Citation(url="https://a")),
        PartEnded(0),
    ]
    second: list[StreamEvent] = [
        PartStarted(1, "text"),
        Cited(1, Citation(url="https://b", title="B", start=0, end=2)),
        Delta(1, "Indeed"),
        PartEnded(1),
    ]
    message = message_of(stream(first, second))

    cited = [one.url_citation for one in message.annotations]
    assert [(one.url, one.start_index, one.end_index) for one in cited] == [
        ("https://a", 0, 4),
        ("https://b", 4, 6),
    ]


def test_thinking_finds_its_way_home_through_the_client() -> None:
    signed = Seal(Dialect.ANTHROPIC_MESSAGES, "sig/+=")
    hidden = Seal(Dialect.ANTHROPIC_MESSAGES, "hidden", redacted=True)
    called = Seal(Dialect.GEMINI, "c2ln")
    message = message_of(
        stream(
            part(0, "thinking", "Fir", "st.", seal=signed),
            part(1, "text", "So: "),
            part(2, "thinking", seal=hidden),
            part(3, "thinking", "Then."),
            call(4, "a", "f", '{"x":1}', seal=called),
            call(5, "b", "g"),
            finish="tool_calls",
        )
    )

    assert message.reasoning_content == "First.Then."
    assert read([message.model_dump(mode="json")]).turns[0].parts == [
        Thinking(text="First.", seal=signed),
        Text(text="So: "),
        Thinking(seal=hidden),
        ToolCall(id="a", name="f", arguments='{"x":1}', seal=called),
        ToolCall(id="b", name="g"),
    ]


def test_a_sign_of_life_is_a_comment() -> None:
    events = [STARTED, PartStarted(0, "text"), KeepAlive(), Delta(0, "a"), PartEnded(0), Ended("stop")]
    assert b"\n\n: ping\n\ndata: " in write_stream(events)


def test_a_broken_stream_ends_with_an_error_and_nothing_else() -> None:
    writer = INBOUND.stream_writer(call_of(stream=True), Conversation())
    writer.write([STARTED, PartStarted(0, "text"), Delta(0, "a")], None)
    broken = writer.break_off(Failure(outcome=Outcome.STREAM_BROKEN, message="It broke."))

    assert json.loads(broken.removeprefix(b"data: ")) == {
        "error": {"message": "It broke.", "type": "upstream_error", "param": None, "code": "stream_broken"}
    }


KINDS: st.SearchStrategy[PartKind] = st.sampled_from(["text", "thinking", "refusal"])
TEXTS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3)


@settings(deadline=None)
@given(st.lists(st.tuples(KINDS, TEXTS), max_size=4), st.lists(st.text(max_size=5), max_size=3), st.booleans())
def test_all_texts_arrive(parts: list[tuple[PartKind, list[str]]], calls: list[str], wants_usage: bool) -> None:
    events = [part(index, kind, *texts) for index, (kind, texts) in enumerate(parts)]
    events += [
        call(len(parts) + position, f"c{position}", "f", json.dumps({"a": text})) for position, text in enumerate(calls)
    ]
    got = put_together(write_stream(stream(*events), wants_usage=wants_usage, tokens=TOKENS)).choices[0].message

    def said(kind: PartKind) -> str:
        return "".join(text for one, texts in parts if one == kind for text in texts)

    assert (got.content or "", got.refusal or "") == (said("text"), said("refusal"))
    assert (getattr(got, "reasoning_content", None) or "") == said("thinking")
    assert [json.loads(one.function.arguments)["a"] for one in got.tool_calls or ()] == calls
