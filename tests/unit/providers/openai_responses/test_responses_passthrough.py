"""Responses on both sides: bytes pass, the model changes, usage and failures are seen on the way."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response
from responses_reading import BASE_URL, OPENAI, SAMPLES, make_answer, make_call, sample, write

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.errors import RequestError
from ownkey.providers.conversation import Refusal, Seal, Text, Thinking, ToolCall
from ownkey.providers.dialect import AnswerFailed, Call, StreamDecoder
from ownkey.providers.openai_responses.passthrough import ResponsesPassthrough
from ownkey.providers.seals import write_seal

USED = Tokens(input_uncached=13, cache_read=4, cache_write=2, output_text=7, output_reasoning=3)
WHOLE = sorted(path.stem for path in SAMPLES.glob("*.json"))
STREAMS = sorted(path.stem for path in SAMPLES.glob("*.sse"))
COMPLETE = [*WHOLE, "text_crlf", "only_end", "only_done"]


def send(body: bytes, *, operation: str = "chat", stream: bool = False) -> Any:
    call = Call(operation=operation, body=body, model="gpt-6", dialect=Dialect.OPENAI_RESPONSES, stream=stream)
    return ResponsesPassthrough().encode(OPENAI, BASE_URL, call)


def decoder() -> StreamDecoder:
    return ResponsesPassthrough().stream_decoder(OPENAI, make_call(stream=True))


def decode(data: bytes, size: int | None = None) -> tuple[StreamDecoder, bytes]:
    one, step = decoder(), size or len(data)
    output = [one.feed(data[start : start + step]) for start in range(0, len(data), step)]
    return one, b"".join(output) + one.finish()


def test_every_value_but_the_model_keeps_its_bytes() -> None:
    body = (
        b'{"model": "x", "input": [ {"role":"user","content":"\\u00e9 1.0e2"} ], "temperature": 1.50, "new": {"a" :1}}'
    )
    request = send(body, stream=True)

    assert request.url == "https://api.openai.com/v1/responses"
    assert msgspec.json.decode(request.body, type=dict[str, msgspec.Raw]) == {
        **msgspec.json.decode(body, type=dict[str, msgspec.Raw]),
        "model": msgspec.Raw(b'"gpt-6"'),
    }
    assert dict(request.headers)["accept"] == "text/event-stream"


def test_counting_has_its_own_path() -> None:
    request = send(b'{"input":"Hi"}', operation="count_tokens")
    assert request.url == "https://api.openai.com/v1/responses/input_tokens"

    call = make_call()
    counting = Call(operation="count_tokens", body=call.body, model="m", dialect=Dialect.OPENAI_RESPONSES)
    answer = b'{"object":"response.input_tokens","input_tokens":11}'
    assert ResponsesPassthrough().decode(answer, counting).body == answer
    with pytest.raises(ValueError):
        ResponsesPassthrough().decode(b"{}", counting)
    with pytest.raises(AnswerFailed):
        ResponsesPassthrough().decode(b'{"error":{"message":"no"}}', counting)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"[]", None),
        (b"{", None),
        (b'{"input":"Hi","background":true}', "background"),
        (b'{"input":"Hi","previous_response_id":"resp_ownkey1_msg_01"}', "previous_response_id"),
        (b'{"input":[{"type":"item_reference","id":"msg_ownkey1_m_0"}]}', "input[0]"),
        (b'{"input":[{"id":"msg_ownkey1_m_0"}]}', "input[0]"),
        (b'{"input":[{"type":"image_generation_call","id":"ig_ownkey1_m_0","result":"QQ=="}]}', "input[0]"),
    ],
)
def test_what_is_not_passed_on(body: bytes, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        send(body)
    assert caught.value.param == param
    with pytest.raises(RequestError):
        send(b"{}", operation="embeddings")


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":"Hi","background":false,"previous_response_id":"resp_1","store":true}',
        b'{"input":"What is ownkey1?","previous_response_id":null}',
        b'{"input":[{"role":"user","content":"ownkey1."}]}',
        b'{"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},5,"ownkey1."]}',
        b'{"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":null},{"id":"ownkey1"}]}',
    ],
)
def test_what_is_passed_on_as_it_is(body: bytes) -> None:
    sent = json.loads(send(body).body)
    assert sent.pop("model") == "gpt-6"
    assert sent == json.loads(body)


def test_reasoning_and_ids_of_other_providers_stay_here() -> None:
    answer = write(
        make_answer(
            Thinking(text="Hm.", seal=Seal(Dialect.ANTHROPIC_MESSAGES, "c2ln")),
            Thinking(text="Open."),
            Refusal(text="No."),
            Text(text="Hi"),
            ToolCall(id="c1", name="f", arguments="{}", seal=Seal(Dialect.GEMINI, "QUJD")),
        )
    )
    items: list[dict[str, Any]] = [item.model_dump(exclude_none=True) for item in answer.output]
    for drop_ids in (False, True):
        for item in items if drop_ids else []:
            item.pop("id")
        sent = json.loads(send(json.dumps({"input": [{"role": "user", "content": "Q"}, *items]}).encode()).body)

        assert [item.get("type") for item in sent["input"]] == [None, "message", "function_call"]
        assert all("id" not in item for item in sent["input"])
        assert sent["input"][1]["content"] == items[2]["content"]


def test_an_item_may_leave_out_that_it_is_a_message() -> None:
    item = {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}], "id": "msg_ownkey1_m_0"}
    sent = json.loads(send(json.dumps({"input": [item]}).encode()).body)

    assert sent["input"] == [{name: value for name, value in item.items() if name != "id"}]


def test_a_wrapped_seal_of_openais_is_put_back() -> None:
    wrapped = write_seal(Seal(Dialect.OPENAI_RESPONSES, "gAAA", "rs_1"), Dialect.ANTHROPIC_MESSAGES)
    item = {"type": "reasoning", "id": "rs_ownkey1_m_0", "summary": [], "encrypted_content": wrapped}
    sent = json.loads(send(json.dumps({"input": [item]}).encode()).body)

    assert sent["input"] == [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text", "stop"),
        ("tools", "tool_calls"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("refusal", "stop"),
        ("hosted", "stop"),
    ],
)
def test_a_whole_answer(name: str, reason: str) -> None:
    decoded = ResponsesPassthrough().decode(sample(f"{name}.json"), make_call())

    assert decoded.body == sample(f"{name}.json")
    assert decoded.tokens == USED
    assert decoded.finish_reason == reason
    streamed, _ = decode(sample(f"{name}.sse"))
    assert streamed.finish_reason == reason


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"output":5}', b'{"object":"response"}', b"[" * 100_000])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError):
        ResponsesPassthrough().decode(body, make_call())


def test_an_answer_that_failed() -> None:
    usage = json.loads(sample("text.json"))["usage"]
    error = {"code": "rate_limit_exceeded", "message": "Slow."}
    body = {"status": "failed", "error": error, "output": [], "usage": usage}
    with pytest.raises(AnswerFailed) as caught:
        ResponsesPassthrough().decode(json.dumps(body).encode(), make_call())
    assert caught.value.failure.outcome is Outcome.RATE_LIMITED
    assert caught.value.tokens == USED
    assert json.loads(caught.value.raw_usage or b"") == usage


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("size", [None, 1, 50])
def test_a_stream_passes_byte_for_byte(name: str, size: int | None) -> None:
    data = sample(f"{name}.sse")
    one, output = decode(data, size)

    assert output == data
    assert one.complete
    assert one.committed
    assert one.failure is None
    assert one.tokens == USED
    assert json.loads(one.raw_usage or b"")["total_tokens"] == 29


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 10_000), max_size=8))
def test_where_the_network_cuts_makes_no_difference(name: str, places: list[int]) -> None:
    data = sample(f"{name}.sse")
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    whole, expected = decode(data)
    one = decoder()
    output = b"".join(one.feed(data[a:b]) for a, b in zip(edges, edges[1:], strict=False)) + one.finish()  # noqa: RUF007

    assert output == expected or (whole.failure is not None and data.startswith(output))
    assert (one.complete, one.failure, one.finish_reason) == (whole.complete, whole.failure, whole.finish_reason)


@pytest.mark.parametrize("name", ["text", "open_reasoning", "tools", "hosted"])
def test_nothing_goes_out_before_content(name: str) -> None:
    one, data = decoder(), sample(f"{name}.sse")
    marks = (b"reasoning_text.delta", b"output_item.done", b"web_search_call")
    first = min(data.find(mark) for mark in marks if mark in data)
    before = data[: data.rfind(b"\n\n", 0, first) + 2]

    assert one.feed(before) == b""
    assert not one.committed
    assert one.feed(data[len(before) :]) == data


@pytest.mark.parametrize(
    ("name", "outcome", "tokens"),
    [
        ("quota_first", Outcome.CREDIT_EXHAUSTED, None),
        ("failed_later", Outcome.OVERLOADED, USED),
        ("error_later", Outcome.RATE_LIMITED, USED),
    ],
)
def test_an_error_inside_a_stream(name: str, outcome: Outcome, tokens: Tokens | None) -> None:
    data = sample(f"{name}.sse")
    end = min(data.find(mark) for mark in (b"event: error", b"event: response.failed") if mark in data)
    one = decoder()
    output = one.feed(data[:end]) + one.feed(data[end:]) + one.finish()

    assert one.failure is not None
    assert one.failure.outcome is outcome
    assert not one.complete
    assert one.tokens == tokens
    assert one.committed is (name != "quota_first")
    assert output == (data[:end] if one.committed else b"")


@pytest.mark.parametrize("name", ["failed_later", "error_later"])
def test_content_and_its_error_in_one_piece_leave_the_way_to_another_provider(name: str) -> None:
    one, output = decode(sample(f"{name}.sse"))

    assert (output, one.committed, one.complete) == (b"", False, False)
    assert one.failure is not None
    assert one.tokens == USED


def test_a_broken_stream_ends_with_openais_own_events() -> None:
    one, output = decode(sample("cut.sse"))
    assert not one.complete
    events = output.strip().split(b"\n\n")
    last = json.loads(events[-1].partition(b"data: ")[2])["sequence_number"]
    error, failed = one.break_off(Failure(outcome=Outcome.STREAM_BROKEN, message="It broke.")).strip().split(b"\n\n")

    assert json.loads(error.partition(b"data: ")[2]) == {
        "type": "error",
        "sequence_number": last + 1,
        "error": {"type": "upstream_error", "code": "stream_broken", "message": "It broke.", "param": None},
    }
    event = json.loads(failed.partition(b"data: ")[2])
    response = Response.model_validate(event["response"])
    assert (event["type"], event["sequence_number"]) == ("response.failed", last + 2)
    assert (response.status, response.id) == ("failed", json.loads(sample("text.json"))["id"])


def test_a_stream_that_breaks_off_before_it_began() -> None:
    failed = decoder().break_off(Failure(outcome=Outcome.STREAM_BROKEN, message="x")).strip().split(b"\n\n")[1]
    assert json.loads(failed.partition(b"data: ")[2])["sequence_number"] == 1


def test_an_error_instead_of_a_stream() -> None:
    one, output = decode(b'{"error":{"code":"invalid_api_key","message":"Bad key."}}')

    assert (one.failure.outcome if one.failure else None, output) == (Outcome.AUTH_INVALID, b"")


def test_text_about_responses_is_not_taken_for_one() -> None:
    delta = {"type": "response.output_text.delta", "sequence_number": 9, "delta": 'a "response" or an "error"'}
    one = decoder()
    one.feed(sample("cut.sse"))
    event = b"event: response.output_text.delta\ndata: " + json.dumps(delta).encode() + b"\n\n"

    assert one.feed(event) == event
    assert one.failure is None


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_no_event_breaks_the_decoder(data: st.DataObject) -> None:
    """Real events with some of their values changed to anything."""
    name = data.draw(st.sampled_from(STREAMS))
    one = decoder()
    odd = st.sampled_from([None, 5, "", "x", [], {}, [1], {"type": 3}, True, -1, 2**70, [[]], {"id": []}])
    for line in sample(f"{name}.sse").splitlines():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        for target in (event, event.get("item"), event.get("response")):
            if isinstance(target, dict) and target and data.draw(st.integers(0, 9)) == 0:
                target[data.draw(st.sampled_from(sorted(target)))] = data.draw(odd)
        one.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    one.finish()
    assert one.break_off(Failure(outcome=Outcome.STREAM_BROKEN, message="x"))


def test_too_deep_and_endless_events_end_the_stream() -> None:
    one, _ = decode(b'data: {"type":"response.created","response":' + b"[" * 100_000 + b"\n\n")
    assert one.failure is not None

    one = decoder()
    for _ in range(17):
        one.feed(b"x" * 1024 * 1024)
    assert one.failure is not None


def test_a_provider_that_announces_without_end_is_given_its_way() -> None:
    one, event = decoder(), b'data: {"type":"response.in_progress","response":{}}\n\n'
    output = b"".join(one.feed(event * 1000) for _ in range(25))

    assert one.committed
    assert output == event * 25_000
