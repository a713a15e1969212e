"""A provider's stream and its whole answer say the same, wherever the network cuts and whoever copied the dialect."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_reading import SAMPLES, make_call, rebuild, sample

from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.conversation import Refusal, Text, Thinking, ToolCall
from ownkey.providers.dialect import AnswerFailed
from ownkey.providers.openai_responses.outbound import ResponsesOutbound
from ownkey.providers.openai_responses.read_stream import ResponsesStreamReader
from ownkey.providers.stream_events import CONTENT, Delta, Ended, Started, StreamEvent

USED = Tokens(input_uncached=13, cache_read=4, cache_write=2, output_text=7, output_reasoning=3)
WHOLE = sorted(path.stem for path in SAMPLES.glob("*.json"))
STREAMS = sorted(path.stem for path in SAMPLES.glob("*.sse"))


def read(data: bytes, size: int | None = None) -> tuple[ResponsesStreamReader, list[StreamEvent]]:
    reader = ResponsesStreamReader()
    step = size or max(len(data), 1)
    events = [event for start in range(0, len(data), step) for event in reader.feed(data[start : start + step])]
    return reader, events + reader.finish()


@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_says_what_the_whole_answer_says(name: str) -> None:
    answer = ResponsesOutbound().read_answer(sample(f"{name}.json"), make_call())
    reader, events = read(sample(f"{name}.sse"))

    assert reader.failure is None
    assert reader.complete
    assert rebuild(events) == answer.parts
    assert events[-1] == Ended(answer.finish)
    assert events[0] == Started(answer.id, answer.model, answer.created)
    assert reader.tokens == answer.tokens == USED
    assert json.loads(reader.raw_usage or b"") == json.loads(answer.raw_usage or b"")
    logprobs = [token for event in events if isinstance(event, Delta) for token in event.logprobs]
    assert logprobs == (answer.logprobs or [])


@pytest.mark.parametrize(
    ("name", "finish", "kinds"),
    [
        ("text", "stop", [Thinking, Text]),
        ("summary", "stop", [Thinking, Text]),
        ("tools", "tool_calls", [Thinking, Text, ToolCall, ToolCall, ToolCall]),
        ("refusal", "refusal", [Refusal]),
        ("length", "length", [Text]),
        ("content_filter", "refusal", [Text]),
        ("open_reasoning", "stop", [Thinking, Text]),
        ("hosted", "stop", [Text]),
    ],
)
def test_what_an_answer_is_made_of(name: str, finish: str, kinds: list[type]) -> None:
    answer = ResponsesOutbound().read_answer(sample(f"{name}.json"), make_call())

    assert [type(part) for part in answer.parts] == kinds
    assert answer.finish == finish


def test_reasoning_keeps_its_seal_and_its_id() -> None:
    _, events = read(sample("summary.sse"))
    thinking = rebuild(events)[0]

    assert isinstance(thinking, Thinking)
    assert thinking.text == "I look.\n\nThen I answer."
    assert thinking.seal is not None
    assert (thinking.seal.data, thinking.seal.id) == ("gAAAAABo2TBQ-sealed==", "rs_0b1c0")


def test_a_freeform_call_is_plain_text() -> None:
    _, events = read(sample("tools.sse"))

    assert rebuild(events)[-1] == ToolCall(
        id="call_7fr7Wl2N", name="apply_patch", arguments='*** Begin\n+ "x"\n', freeform=True
    )


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 7])
def test_where_the_network_cuts_makes_no_difference(name: str, size: int) -> None:
    whole, events = read(sample(f"{name}.sse"))
    pieces, same = read(sample(f"{name}.sse"), size)

    assert same == events
    assert (pieces.complete, pieces.failure) == (whole.complete, whole.failure)
    # After an error nobody reads on: usage behind it counts if it came along.
    assert pieces.tokens == (None if name == "error_later" else whole.tokens)


@pytest.mark.parametrize(
    ("name", "outcome", "tokens"),
    [
        ("quota_first", Outcome.CREDIT_EXHAUSTED, None),
        ("failed_later", Outcome.OVERLOADED, USED),
        ("error_later", Outcome.RATE_LIMITED, USED),
    ],
)
def test_an_error_inside_a_stream(name: str, outcome: Outcome, tokens: Tokens | None) -> None:
    reader, events = read(sample(f"{name}.sse"))

    assert reader.failure is not None
    assert reader.failure.outcome is outcome
    assert not reader.complete
    assert reader.tokens == tokens
    assert any(isinstance(event, CONTENT) for event in events) is (name != "quota_first")


def test_a_stream_that_was_cut_is_not_complete() -> None:
    reader, events = read(sample("cut.sse"))

    assert (reader.complete, reader.failure, reader.tokens) == (False, None, None)
    assert not any(isinstance(event, Ended) for event in events)


@pytest.mark.parametrize("name", ["only_end", "only_done"])
def test_what_was_not_streamed_is_taken_from_the_end(name: str) -> None:
    reader, events = read(sample(f"{name}.sse"))
    parts = rebuild(events)

    assert reader.complete
    assert Text(text="Wind and 🌿 grass.") in parts
    assert isinstance(parts[-1], ToolCall)
    assert parts[-1].arguments in ("{}", '{"zone":"UTC"}')
    assert events[-1] == Ended("tool_calls")


@pytest.mark.parametrize("name", ["text", "open_reasoning", "tools"])
def test_nothing_is_content_before_the_first_word(name: str) -> None:
    reader, data = ResponsesStreamReader(), sample(f"{name}.sse")
    first = min(data.find(mark) for mark in (b"reasoning_text.delta", b"output_item.done") if mark in data)
    before = data[: data.rfind(b"\n\n", 0, first) + 2]

    assert [type(event) for event in reader.feed(before)] == [Started]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nothing",
        b'{"id":"resp_1","status":"completed"}',
        b'{"output":[],"status":"in_progress"}',
        b'{"output":[],"status":"queued"}',
        b'{"output":[{"type":"message","content":"text"}]}',
        b'{"output":[1]}',
        b'{"output":' + b"[" * 100_000,
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        ResponsesOutbound().read_answer(body, make_call())
    assert not isinstance(caught.value, AnswerFailed)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"error": {"code": "rate_limit_exceeded", "message": "Slow."}}, Outcome.RATE_LIMITED),
        ({"status": "failed", "error": {"code": "server_error", "message": "No."}, "output": []}, Outcome.OVERLOADED),
        ({"status": "failed", "error": None, "output": []}, Outcome.OVERLOADED),
        ({"status": "cancelled", "output": []}, Outcome.OVERLOADED),
    ],
)
def test_an_answer_that_failed(body: dict[str, object], outcome: Outcome) -> None:
    with pytest.raises(AnswerFailed) as caught:
        ResponsesOutbound().read_answer(json.dumps(body).encode(), make_call())
    assert caught.value.failure.outcome is outcome


def test_an_error_instead_of_a_stream() -> None:
    reader, events = read(b'{"error":{"code":"invalid_api_key","message":"Bad key."}}')

    assert events == []
    assert reader.failure is not None
    assert reader.failure.outcome is Outcome.AUTH_INVALID


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_no_event_breaks_the_reader(data: st.DataObject) -> None:
    """Real events with some of their values changed to anything."""
    name = data.draw(st.sampled_from(STREAMS))
    lines = [line for line in sample(f"{name}.sse").splitlines() if line.startswith(b"data: {")]
    reader = ResponsesStreamReader()
    odd = st.sampled_from([None, 5, "", "x", [], {}, [1], {"type": 3}, True, -1, 2**70, [[]], {"id": []}])
    for line in lines:
        event = json.loads(line[6:])
        for target in (event, event.get("item"), event.get("response"), event.get("part")):
            if isinstance(target, dict) and target and data.draw(st.integers(0, 9)) == 0:
                target[data.draw(st.sampled_from(sorted(target)))] = data.draw(odd)
        for one in reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n"):
            assert isinstance(one, StreamEvent)
    reader.finish()


def test_too_deep_and_endless_events_end_the_stream() -> None:
    reader, _ = read(b'data: {"type":"response.created","response":' + b"[" * 100_000 + b"\n\n")
    assert reader.failure is not None
    assert reader.failure.outcome is Outcome.STREAM_BROKEN

    reader = ResponsesStreamReader()
    for _ in range(17):
        reader.feed(b"x" * 1024 * 1024)
    assert reader.failure is not None
