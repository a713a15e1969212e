"""Streams of providers that speak the chat dialect, each in its own way, as neutral events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_wire import (
    DONE,
    OUTBOUND,
    SAMPLES,
    call_of,
    chunk,
    event,
    joined,
    put_together,
    read_stream,
    single_bytes,
    write_stream,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.conversation import Citation, Logprob, Seal
from ownkey.providers.stream_events import Cited, Delta, Ended, KeepAlive, PartEnded, PartStarted, Sealed, Started

HI = chunk({"content": "Hi"})
STOP = chunk({}, "stop")


def parts(*data: bytes, model: str = "the-model") -> list[tuple[Any, ...]]:
    events, reader = read_stream([*data, DONE], model)
    assert reader.failure is None
    assert reader.complete
    return joined(events)


def tool(index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: Any = None) -> bytes:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    call = {"index": index, "id": call_id, "function": function}
    return chunk({"tool_calls": [{key: value for key, value in call.items() if value is not None}]})


@pytest.mark.parametrize(
    ("name", "text", "finish"),
    [
        ("openai", 'Hello "usage":{ [DONE] \n\n wörld', "stop"),
        ("azure", "Hi", "stop"),
        ("groq", "Hi", "stop"),
        ("mistral", "Hi", "stop"),
        ("gemini", "Hi there", "stop"),
        ("openrouter", "Hi", "stop"),
        ("no_done", "Hi", "length"),
        ("crlf", "Hi", "stop"),
        ("cr", "Hi", "stop"),
        ("spaced", "Hi", "stop"),
        ("no_space", "Hi", "stop"),
        ("no_last_line_end", "Hi", "stop"),
        ("done_then_comment", "Hi", "stop"),
    ],
)
@pytest.mark.parametrize("cut", [True, False])
def test_recorded_streams(name: str, text: str, finish: str, cut: bool) -> None:
    data = (SAMPLES / f"{name}.sse").read_bytes()
    events, reader = read_stream(single_bytes(data) if cut else [data])

    assert reader.complete
    assert reader.failure is None
    ((kind, said),) = joined(events)
    assert kind == "text"
    assert said.startswith(text)
    assert events[-1] == Ended(finish)


def test_recorded_thinking_and_calls() -> None:
    events, _ = read_stream([(SAMPLES / "deepseek.sse").read_bytes()], "deepseek-flash")
    assert joined(events) == [("thinking", "Hm"), ("text", "Hi")]
    assert Sealed(0, Seal(Dialect.OPENAI_CHAT, "reasoning_content", id="deepseek-flash")) in events

    events, reader = read_stream([(SAMPLES / "openai_tools.sse").read_bytes()])
    assert joined(events) == [("tool_call", "call_1", "get_weather", '{"city":"Paris"}')]
    assert events[-1] == Ended("tool_calls")
    assert reader.tokens == Tokens(input_uncached=15, cache_read=4, output_text=7, output_reasoning=3)
    assert reader.raw_usage is not None
    assert json.loads(reader.raw_usage)["total_tokens"] == 29


@pytest.mark.parametrize("name", ["openai_cut", "xai_cut", "only_comments"])
def test_a_stream_that_breaks_off_is_not_complete(name: str) -> None:
    events, reader = read_stream([(SAMPLES / f"{name}.sse").read_bytes()])

    assert not reader.complete
    assert reader.failure is None
    assert not any(isinstance(one, Ended) for one in events)


@pytest.mark.parametrize("name", ["openai_error_first", "openrouter_error", "vllm_error", "groq_error"])
def test_an_error_inside_a_stream_ends_it(name: str) -> None:
    events, reader = read_stream([(SAMPLES / f"{name}.sse").read_bytes()])

    assert reader.failure is not None
    assert not reader.complete
    assert not any(isinstance(one, Ended) for one in events)


@pytest.mark.parametrize(
    "body",
    [b'{"error":{"message":"Slow down","code":429}}', b'[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]\n'],
)
def test_an_error_instead_of_a_stream(body: bytes) -> None:
    events, reader = read_stream([body])

    assert events == []
    assert reader.failure is not None
    assert reader.failure.outcome is Outcome.RATE_LIMITED


def test_usage_is_kept_however_the_stream_ends() -> None:
    _, reader = read_stream([(SAMPLES / "xai_cut.sse").read_bytes()])
    assert reader.tokens == Tokens(input_uncached=19, output_text=2, output_reasoning=40)
    _, reader = read_stream(
        [HI, STOP, event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}), DONE]
    )
    assert reader.tokens == Tokens(input_uncached=3, output_text=1)
    _, reader = read_stream([HI, event({"choices": [], "x_groq": {"usage": {"prompt_tokens": 3}}}), DONE])
    assert reader.tokens == Tokens(input_uncached=3)


def test_an_error_may_tell_what_it_has_cost() -> None:
    failed = event({"choices": [], "error": {"code": 502, "message": "gone"}, "usage": {"prompt_tokens": 3}})
    _, reader = read_stream([HI, failed])
    assert reader.failure is not None
    assert reader.tokens == Tokens(input_uncached=3)


def test_nothing_comes_after_the_end() -> None:
    reader = OUTBOUND.stream_reader(call_of(stream=True))
    assert reader.feed(HI + STOP + DONE + chunk({"content": "more"}))
    assert reader.feed(chunk({"content": "more"})) == []
    assert reader.finish() == []


def test_done_without_a_reason_is_an_end() -> None:
    events, reader = read_stream([HI, DONE])
    assert events[-2:] == [PartEnded(0), Ended("stop")]
    assert reader.complete
    assert read_stream([DONE])[0][-1] == Ended("stop")


def test_parts_follow_each_other() -> None:
    assert parts(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning": "Hm"}),
        chunk({"reasoning": ".", "content": ""}),
        chunk({"content": "Hi"}),
        chunk({"content": "!"}),
        chunk({"refusal": "No."}),
        tool(0, "a", "f", "{}"),
        STOP,
    ) == [("thinking", "Hm."), ("text", "Hi!"), ("refusal", "No."), ("tool_call", "a", "f", "{}")]


def test_thinking_goes_first_where_both_come_at_once() -> None:
    assert parts(chunk({"content": "Hi", "reasoning_content": "Hm"})) == [("thinking", "Hm"), ("text", "Hi")]


def test_mistrals_thinking() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    got = parts(
        chunk({"content": [thinking]}), chunk({"content": [{"type": "text", "text": "Hi"}]}), chunk({"content": "!"})
    )

    assert got == [("thinking", "Hm"), ("text", "Hi!")]


def test_only_the_first_choice_is_read() -> None:
    both = event({"choices": [{"index": 1, "delta": {"content": "B"}}, {"index": 0, "delta": {"content": "A"}}]})
    assert parts(both, event({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}), HI) == [
        ("text", "AHi")
    ]


@pytest.mark.parametrize(
    ("word", "deltas", "finish"),
    [
        ("stop", [{"content": "a"}], "stop"),
        ("length", [{"content": "a"}], "length"),
        ("content_filter", [{"content": "a"}], "refusal"),
        ("stop", [{"refusal": "No."}], "refusal"),
        ("stop", [{"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}], "tool_calls"),
        ("length", [{"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}], "length"),
        ("function_call", [{"function_call": {"name": "f"}}, {"function_call": {"arguments": "{}"}}], "tool_calls"),
        ("insufficient_system_resource", [{"content": "a"}], "stop"),
    ],
)
def test_why_it_ended(word: str, deltas: list[dict[str, Any]], finish: str) -> None:
    events, _ = read_stream([*map(chunk, deltas), chunk({}, word), DONE])
    assert events[-1] == Ended(finish)


def test_calls_one_after_the_other_end_one_after_the_other() -> None:
    events, _ = read_stream([tool(0, "a", "f", '{"x":'), tool(0, arguments="1}"), tool(1, "b", "g", "{}"), STOP, DONE])

    kinds = [type(one) for one in events]
    assert kinds == [Started, PartStarted, Delta, Delta, PartEnded, PartStarted, Delta, PartEnded, Ended]


def test_calls_at_the_same_time_are_told_by_their_index() -> None:
    got = parts(
        tool(0, "a", "f", ""),
        tool(1, "b", "g", ""),
        tool(1, arguments='{"y"'),
        tool(0, arguments='{"x"'),
        tool(1, arguments=":2}"),
        tool(0, arguments=":1}"),
    )
    assert got == [("tool_call", "a", "f", '{"x":1}'), ("tool_call", "b", "g", '{"y":2}')]


def test_several_calls_in_one_chunk() -> None:
    both = [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert parts(chunk({"tool_calls": both})) == [("tool_call", "a", "f", "{}"), ("tool_call", "b", "g", "{}")]


@pytest.mark.parametrize("index", [0, None])
def test_geminis_calls_with_the_same_index_or_none(index: int | None) -> None:
    got = parts(tool(index, "a", "f", '{"x":1}'), tool(index, "b", "f", '{"x":2}'))
    assert got == [("tool_call", "a", "f", '{"x":1}'), ("tool_call", "b", "f", '{"x":2}')]


def test_a_call_whose_id_is_repeated_is_one_call() -> None:
    got = parts(tool(0, "a", "f", ""), tool(0, "a", "f", '{"x"'), tool(0, "a", "f", ":1}"))
    assert got == [("tool_call", "a", "f", '{"x":1}')]


def test_a_call_whose_name_comes_late() -> None:
    assert parts(tool(0, "a"), tool(0, arguments="{"), tool(0, name="f"), tool(0, arguments="}")) == [
        ("tool_call", "a", "f", "{}")
    ]


def test_a_call_without_an_id_gets_one() -> None:
    ((_, call_id, name, arguments),) = parts(tool(0, name="f", arguments={"x": 1}))
    assert call_id.startswith("call_")
    assert (name, arguments) == ("f", '{"x":1}')


def test_an_empty_piece_after_a_call_is_nothing() -> None:
    assert parts(tool(0, "a", "f", "{}"), tool(1, "b", "g", "{}"), tool(0, arguments="")) == [
        ("tool_call", "a", "f", "{}"),
        ("tool_call", "b", "g", "{}"),
    ]


def test_a_custom_call_is_freeform() -> None:
    first = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    more = {"index": 0, "custom": {"input": " -l"}}
    events, _ = read_stream([chunk({"tool_calls": [first]}), chunk({"tool_calls": [more]}), STOP, DONE])

    assert events[1] == PartStarted(0, "tool_call", "a", "shell", freeform=True)
    assert joined(events) == [("tool_call", "a", "shell", "ls -l")]


def test_text_between_the_pieces_of_a_call_waits_for_its_end() -> None:
    got = parts(tool(0, "a", "f", '{"x"'), HI, tool(0, arguments=":1}"), chunk({"content": "!"}), STOP)
    assert got[0] == ("tool_call", "a", "f", '{"x":1}')
    assert "".join(text for kind, text in got[1:] if kind == "text") in ("Hi!", "!Hi")
    assert parts(tool(0, "a", "f", "{}"), HI, STOP) == [("tool_call", "a", "f", "{}"), ("text", "Hi")]


def test_openrouters_details_are_put_together_and_sealed() -> None:
    def details(**fields: Any) -> bytes:
        entry = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, **fields}
        return chunk({"reasoning": fields.get("text", ""), "reasoning_details": [entry]})

    events, _ = read_stream(
        [
            details(text="Fir", signature=None),
            details(text="st."),
            details(signature="s"),
            HI,
            chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "id": "a", "index": 1}]}),
            STOP,
            DONE,
        ]
    )

    assert joined(events) == [("thinking", "First."), ("text", "Hi"), ("thinking", "")]
    seals = [one.seal for one in events if isinstance(one, Sealed)]
    first, second = (json.loads(seal.data) for seal in seals)
    expected = {
        "type": "reasoning.text",
        "format": "anthropic-claude-v1",
        "index": 0,
        "text": "First.",
        "signature": "s",
    }
    assert first == [expected]
    assert [entry["data"] for entry in second] == ["x"]
    assert {seal.id for seal in seals} == {"the-model"}


def test_a_calls_extra_content_is_its_seal() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    extra = {"google": {"thought_signature": "c2ln"}}
    events, _ = read_stream([chunk({"tool_calls": [{**call, "extra_content": extra}]}), STOP, DONE])

    (sealed,) = (one for one in events if isinstance(one, Sealed))
    assert json.loads(sealed.seal.data) == extra


def test_citations_and_logprobs() -> None:
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    cited = {
        "type": "url_citation",
        "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 2},
    }
    events, _ = read_stream(
        [
            chunk({"role": "assistant", "content": ""}, logprobs=None),
            chunk({"content": "Hi"}, logprobs={"content": [token]}),
            chunk({"content": ""}, logprobs={"content": [token]}),
            chunk({"content": "", "annotations": [cited]}),
            STOP,
            DONE,
        ]
    )

    probable = (Logprob(token="Hi", logprob=-0.5, utf8=(72, 105)),)
    assert [one for one in events if isinstance(one, Delta)] == [Delta(0, "Hi", probable), Delta(0, "", probable)]
    assert Cited(0, Citation(url="https://a", title="A", start=0, end=2)) in events


@pytest.mark.parametrize(
    "bad", [b'data: {"choices":[{"delta":{"content":{"x":1}}}]}\n\n', b'data: {"choices":[{"delta":\n\n']
)
def test_a_chunk_that_cannot_be_read_breaks_the_stream(bad: bytes) -> None:
    _, reader = read_stream([HI, bad, STOP, DONE])

    assert reader.failure is not None
    assert reader.failure.outcome is Outcome.STREAM_BROKEN
    assert not reader.complete


def test_strange_names_and_times_cost_nothing() -> None:
    events, _ = read_stream([b'data: {"id":7,"model":null,"created":"now","choices":[{"delta":{"content":"Hi"}}]}\n\n'])
    assert isinstance(events[0], Started)
    assert (events[0].id, events[0].model) == ("", "the-model")


def test_a_comment_is_a_sign_of_life() -> None:
    events, _ = read_stream([b": early\n\n", HI, b": OPENROUTER PROCESSING\n\n", STOP, b": late\n\n", DONE])
    assert [one for one in events if isinstance(one, KeepAlive)] == [KeepAlive()]


def test_nesting_without_end_breaks_the_stream() -> None:
    deep = b'data: {"choices":[{"delta":{"annotations":' + b"[" * 100_000 + b"]" * 100_000 + b"}}]}\n\n"
    _, reader = read_stream([HI, deep])
    assert reader.failure is not None


def test_an_endless_event_breaks_the_stream() -> None:
    _, reader = read_stream([HI, *[b"x" * (1 << 20)] * 17])
    assert reader.failure is not None
    assert reader.failure.outcome is Outcome.STREAM_BROKEN


@pytest.mark.parametrize(
    "extra", [b"event: ping\n\n", b"data: ping\n\n", b"data: {}\n\n", b": keep-alive\n\n", b"data:\n\n"]
)
def test_what_is_no_chunk_is_passed_over(extra: bytes) -> None:
    assert parts(extra, HI, extra, chunk({"content": "!"}), extra, STOP, extra) == [("text", "Hi!")]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_can_break_the_reader(pieces: list[bytes]) -> None:
    read_stream(pieces)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "index": st.none() | st.integers(0, 2),
            "id": st.none() | st.sampled_from(["a", "b"]),
            "function": st.fixed_dictionaries(
                {},
                optional={"name": st.sampled_from(["f", "g"]), "arguments": st.sampled_from(["", "{", "}", "{}", '"'])},
            ),
        },
    ),
    max_size=2,
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.text(max_size=3) | VALUES,
        "reasoning_content": st.text(max_size=3) | VALUES,
        "reasoning_details": VALUES,
        "refusal": st.none() | st.text(max_size=3),
        "annotations": VALUES,
        "tool_calls": CALLS,
    },
)


@settings(deadline=None)
@given(st.lists(DELTAS, max_size=8), st.sampled_from([None, "stop", "length", "tool_calls"]))
def test_no_chunks_break_the_order_of_events(deltas: list[dict[str, Any]], finish: str | None) -> None:
    events, reader = read_stream([*map(chunk, deltas), chunk({}, finish), DONE])

    if reader.failure is None:
        assert put_together(write_stream(events)).choices[0].finish_reason


TEXTS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["content", "reasoning_content", "refusal"]), TEXTS), max_size=3),
    st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2), max_size=3),
    st.integers(1, 7),
)
def test_what_is_read_is_written_again(
    said: list[tuple[str, list[str]]], calls: list[dict[str, str]], size: int
) -> None:
    data = b"".join(chunk({field: text}) for field, texts in said for text in texts)
    for index, arguments in enumerate(calls):
        data += tool(index, f"c{index}", "f", json.dumps(arguments))
    data += chunk({}, "tool_calls" if calls else "stop") + DONE
    events, _ = read_stream([data[start : start + size] for start in range(0, len(data), size)])

    again, _ = read_stream([write_stream(events)])
    assert joined(again) == joined(events)
    assert again[-1] == events[-1]
