"""What a client of `/responses` gets from another dialect: every field of the SDK's types, whole and streamed alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response
from responses_reading import (
    TOKENS,
    accumulate,
    events_of,
    make_answer,
    make_call,
    part_events,
    read_events,
    write,
    write_events,
)

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome
from ownkey.providers.conversation import (
    Citation,
    Finish,
    Logprob,
    Media,
    Part,
    Refusal,
    Seal,
    Text,
    Thinking,
    ToolCall,
)
from ownkey.providers.openai_responses.inbound import ResponsesInbound
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

TOOLS: dict[str, Any] = {
    "tools": [
        {"type": "function", "name": "get_time", "parameters": {"type": "object"}, "strict": False},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
    ]
}
SEAL = Seal(Dialect.ANTHROPIC_MESSAGES, "c2ln")
CITATION = Citation(url="https://example.org", title="Grass")


def stream_of(parts: list[Part], finish: Finish, pieces: int = 1) -> list[StreamEvent]:
    """The same answer as a stream."""
    events: list[list[StreamEvent]] = []
    for index, part in enumerate(parts):
        match part:
            case Text():
                more: list[StreamEvent] = [Cited(index, citation) for citation in part.citations]
                events.append(part_events(index, "text", *cut(part.text, pieces), more=more))
            case Thinking():
                more = [Sealed(index, part.seal)] if part.seal is not None else []
                events.append(part_events(index, "thinking", *cut(part.text, pieces), more=more))
            case Refusal():
                events.append(part_events(index, "refusal", *cut(part.text, pieces)))
            case ToolCall():
                more = [Sealed(index, part.seal)] if part.seal is not None else []
                call = {"call_id": part.id, "name": part.name, "freeform": part.freeform}
                events.append(part_events(index, "tool_call", *cut(part.arguments, pieces), more=more, **call))
    return events_of(*events, finish=finish)


def cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def plain(response: Response) -> dict[str, Any]:
    """What must be equal: all but the clock, and what the SDK's parsing adds to parts."""
    document: dict[str, Any] = json.loads(response.model_dump_json())
    document.pop("completed_at")
    for item in document["output"]:
        item.pop("parsed_arguments", None)
        for content in item.get("content") or ():
            content.pop("parsed", None)
    return document


texts = st.text(min_size=1, max_size=20)
parts_of_answers = st.lists(
    st.one_of(
        st.builds(Text, text=texts, citations=st.sampled_from([[], [CITATION]])),
        st.builds(Thinking, text=texts, seal=st.sampled_from([None, SEAL])),
        st.just(Thinking(seal=SEAL)),
        st.builds(Refusal, text=texts),
        st.builds(
            ToolCall,
            id=st.uuids().map(str),
            name=st.just("get_time"),
            arguments=st.dictionaries(texts, texts).map(json.dumps),
            seal=st.sampled_from([None, Seal(Dialect.GEMINI, "QUJD")]),
        ),
        st.builds(
            ToolCall,
            id=st.uuids().map(str),
            name=st.just("apply_patch"),
            arguments=texts.map(lambda text: json.dumps({"input": text})),
        ),
        st.builds(
            ToolCall, id=st.uuids().map(str), name=st.just("apply_patch"), arguments=texts, freeform=st.just(True)
        ),
    ),
    max_size=6,
)
finishes = st.sampled_from(["stop", "stop_sequence", "length", "tool_calls", "refusal", "pause"])


@settings(deadline=None, max_examples=25)
@given(parts_of_answers, finishes, st.integers(1, 5))
def test_a_stream_gives_the_same_response_as_the_whole_answer(parts: list[Part], finish: Finish, size: int) -> None:
    whole = write(make_answer(*parts, finish=finish), TOOLS)
    output = write_events(stream_of(parts, finish, size), TOOLS)
    events = read_events(output)

    assert plain(events[-1].response) == plain(whole)
    if whole.status == "completed":
        assert plain(accumulate(output)) == plain(whole)


@settings(deadline=None, max_examples=50)
@given(parts_of_answers, st.integers(1, 5))
def test_deltas_and_ends_agree(parts: list[Part], size: int) -> None:
    said: dict[tuple[str, int], str] = {}
    for line in write_events(stream_of(parts, "stop", size), TOOLS).split(b"\n"):
        event = json.loads(line[6:]) if line.startswith(b"data: ") else {}
        key = (event.get("item_id", ""), event.get("content_index", 0))
        if event.get("type", "").endswith(".delta"):
            said[key] = said.get(key, "") + event["delta"]
        elif event.get("type", "").endswith(("_text.done", "refusal.done", "arguments.done", "input.done")):
            whole = next(event[name] for name in ("text", "refusal", "arguments", "input") if name in event)
            assert said.pop(key, "") == whole
    assert said == {}


def test_the_events_of_a_text() -> None:
    output = write_events(events_of(part_events(0, "thinking", "Hm."), part_events(1, "text", "Hi", "!")))

    assert [event.type.removeprefix("response.") for event in read_events(output)] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_calls_that_arrive_interleaved() -> None:
    events: list[StreamEvent] = [
        Started("m", "model", 1),
        PartStarted(0, "tool_call", "a", "get_time"),
        Delta(0, '{"zone"'),
        PartStarted(1, "tool_call", "b", "apply_patch"),
        Delta(1, '{"input":"x'),
        Delta(0, ':"UTC"}'),
        PartEnded(0),
        Delta(1, 'y"}'),
        PartEnded(1),
        Ended("tool_calls"),
    ]
    response = accumulate(write_events(events, TOOLS))

    assert [
        (item.type, getattr(item, "arguments", None) or getattr(item, "input", None)) for item in response.output
    ] == [
        ("function_call", '{"zone":"UTC"}'),
        ("custom_tool_call", "xy"),
    ]


@pytest.mark.parametrize(
    ("parts", "finish", "status", "reason"),
    [
        ([Text(text="Hi")], "stop", "completed", None),
        ([Text(text="Hi")], "pause", "completed", None),
        ([Text(text="Hi")], "length", "incomplete", "max_output_tokens"),
        ([Text(text="Hi")], "refusal", "incomplete", "content_filter"),
        ([], "refusal", "incomplete", "content_filter"),
        ([Refusal(text="No.")], "refusal", "completed", None),
    ],
)
def test_why_an_answer_ended(parts: list[Part], finish: Finish, status: str, reason: str | None) -> None:
    response = write(make_answer(*parts, finish=finish))

    assert response.status == status
    assert (response.incomplete_details.reason if response.incomplete_details else None) == reason
    assert [item.status for item in response.output if item.type == "message"] == ([status] if parts else [])
    assert read_events(write_events(stream_of(parts, finish)))[-1].type == f"response.{status}"


def test_a_response_repeats_what_was_asked_and_says_that_nothing_is_stored() -> None:
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 100,
        "max_tool_calls": 3,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tool_choice": "required",
        "top_p": 0.5,
        "user": "u",
        "store": True,
        **TOOLS,
    }
    response = write(make_answer(Text(text="Hi")), asked)
    document = json.loads(response.model_dump_json(exclude_none=True))

    for name, value in asked.items():
        assert document[name] == (value if name != "store" else False)
    assert response.usage is not None
    assert response.usage.input_tokens == TOKENS.input_total == 15
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert response.usage.input_tokens_details.cache_write_tokens == 1
    assert response.usage.output_tokens == TOKENS.output_total == 10
    assert response.usage.output_tokens_details.reasoning_tokens == 3
    assert (response.model, response.created_at) == ("claude-sonnet-5", 1_790_000_000)


def test_an_answer_without_usage_has_none() -> None:
    assert write(make_answer(Text(text="Hi"), tokens=None)).usage is None


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_ids_are_such_as_openai_takes(identifier: str) -> None:
    response = write(make_answer(Text(text="Hi"), ToolCall(id="c", name="f"), id=identifier))

    for item, kind in zip(response.output, ("msg_", "fc_"), strict=True):
        assert item.id is not None
        assert item.id.startswith(kind)
        assert len(item.id) <= 64
        assert item.id.isascii()
    assert response.id.startswith("resp_ownkey1_")


def test_likelihoods_come_with_their_bytes() -> None:
    half = Logprob(token="\\xf0\\x9f", logprob=-0.5, utf8=(240, 159))
    token = Logprob(token="é", logprob=-0.25, alternatives=(half,))
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    response = write(make_answer(Text(text="é"), logprobs=[token]), asked)
    events = [Started("m", "x", 1), PartStarted(0, "text"), Delta(0, "é", (token,)), PartEnded(0), Ended("stop")]
    streamed = read_events(write_events(list(events), asked))

    expected = [
        {
            "token": "é",
            "bytes": [195, 169],
            "logprob": -0.25,
            "top_logprobs": [{"token": "\\xf0\\x9f", "bytes": [240, 159], "logprob": -0.5}],
        }
    ]
    assert [one.model_dump() for one in response.output[0].content[0].logprobs] == expected  # type: ignore[union-attr]
    assert [one.model_dump() for one in streamed[-1].response.output[0].content[0].logprobs] == expected
    delta = next(event for event in streamed if event.type == "response.output_text.delta")
    assert delta.logprobs[0].token == "é"


def test_a_picture_is_an_image_generation_call() -> None:
    response = write(make_answer(Media(kind="image", media_type="image/png", data="QUJD")))

    assert response.output[0].type == "image_generation_call"
    assert response.output[0].result == "QUJD"


def test_a_sign_of_life_is_a_comment() -> None:
    events = events_of(part_events(0, "text", "Hi"))
    events.insert(3, KeepAlive())

    assert b"\n\n: ping\n\n" in write_events(events)


def test_a_call_without_arguments_has_an_empty_object() -> None:
    response = accumulate(write_events(events_of(part_events(0, "tool_call", call_id="a", name="get_time")), TOOLS))

    assert response.output[0].arguments == "{}"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(Outcome.RATE_LIMITED, "rate_limit_exceeded"), (Outcome.STREAM_BROKEN, "server_error")],
)
@pytest.mark.parametrize("begun", [True, False])
def test_a_stream_that_breaks_off(outcome: Outcome, code: str, begun: bool) -> None:
    call, inbound = make_call(), ResponsesInbound()
    writer = inbound.stream_writer(call, inbound.read_request(call))
    first = writer.write(events_of(part_events(0, "thinking", "Hm."), part_events(1, "text", "Hi"))[:-2], None)
    output = (first if begun else b"") + (
        writer if begun else inbound.stream_writer(call, inbound.read_request(call))
    ).break_off(Failure(outcome=outcome, message="It broke."))
    blocks = output.strip().split(b"\n\n")
    error = json.loads(blocks[-2].partition(b"data: ")[2])
    failed = json.loads(blocks[-1].partition(b"data: ")[2])

    assert blocks[-2].startswith(b"event: error\n")
    assert error["error"] == {"type": "upstream_error", "code": outcome.value, "message": "It broke.", "param": None}
    assert error["sequence_number"] == len(blocks) - 2
    response = Response.model_validate(failed["response"])
    assert (response.status, response.error.code if response.error else None) == ("failed", code)
    assert [item.type for item in response.output] == (["reasoning"] if begun else [])


def test_a_stream_that_only_ended_is_a_whole_one() -> None:
    call, inbound = make_call(), ResponsesInbound()
    output = inbound.stream_writer(call, inbound.read_request(call)).finish(None)

    assert [event.type for event in read_events(output)] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
