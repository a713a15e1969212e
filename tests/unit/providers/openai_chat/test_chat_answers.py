"""Whole answers: written for clients of the chat dialect, and read from its providers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_wire import INBOUND, OUTBOUND, call_of, completion, read
from hypothesis import given, settings
from hypothesis import strategies as st

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.conversation import (
    Answer,
    Citation,
    Conversation,
    Finish,
    Logprob,
    Media,
    Part,
    Refusal,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    Turn,
)
from ownkey.providers.dialect import AnswerFailed
from ownkey.providers.freeform import wrap
from ownkey.providers.openai_chat.passthrough import OpenAIChat

TOKENS = Tokens(input_uncached=10, cache_read=5, cache_write=2, output_text=7, output_reasoning=3)
SIGNED = Seal(Dialect.ANTHROPIC_MESSAGES, "sig/+=")


def answer(*parts: Part, finish: Finish = "stop", **fields: Any) -> Answer:
    return Answer(id="msg_1", model="claude", created=1790000000, parts=list(parts), finish=finish, **fields)


def written(given_answer: Answer, conversation: Conversation | None = None) -> Any:
    return completion(INBOUND.write_answer(given_answer, call_of(), conversation or Conversation()))


def again(message: Any) -> Turn:
    """What the client gives back in its next request."""
    return read([message.model_dump(mode="json")]).turns[0]


def provided(message: dict[str, Any], finish: str = "stop", **fields: Any) -> Answer:
    body = {
        "id": "c1",
        "created": 1790000000,
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, **fields.pop("choice", {})}],
        **fields,
    }
    return OUTBOUND.read_answer(json.dumps(body).encode(), call_of())


def test_a_plain_answer() -> None:
    got = written(answer(Text(text="Hel"), Text(text="lo"), tokens=TOKENS))

    assert (got.id, got.object, got.created, got.model) == ("msg_1", "chat.completion", 1790000000, "claude")
    (choice,) = got.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert choice.message.model_dump(exclude_unset=True) == {"role": "assistant", "content": "Hello", "refusal": None}
    usage = got.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (17, 10, 27)
    assert (usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens_details.cache_write_tokens) == (5, 2)
    assert usage.completion_tokens_details.reasoning_tokens == 3
    assert written(answer()).usage is None


def test_an_answer_without_an_id_gets_one() -> None:
    nameless = answer(Text(text="a"))
    nameless.id = ""
    assert written(nameless).id.startswith("chatcmpl-")


def test_calls_and_freeform_calls() -> None:
    conversation = Conversation(tools=[Tool(name="shell", freeform=True), Tool(name="f")])
    got = written(
        answer(
            ToolCall(id="a", name="f", arguments=""),
            ToolCall(id="b", name="shell", arguments=wrap("ls -l")),
            ToolCall(id="c", name="shell", arguments="pwd", freeform=True),
            finish="tool_calls",
        ),
        conversation,
    )

    assert got.choices[0].finish_reason == "tool_calls"
    assert got.choices[0].message.content is None
    assert [call.model_dump(exclude_unset=True) for call in got.choices[0].message.tool_calls] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}},
        {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "pwd"}},
    ]


@pytest.mark.parametrize(
    ("finish", "parts", "word"),
    [
        ("stop", [], "stop"),
        ("stop_sequence", [], "stop"),
        ("length", [], "length"),
        ("pause", [], "stop"),
        ("refusal", [], "content_filter"),
        ("refusal", [Refusal(text="No.")], "stop"),
    ],
)
def test_why_it_ended(finish: Finish, parts: list[Part], word: str) -> None:
    assert written(answer(*parts, finish=finish)).choices[0].finish_reason == word


def test_refusals_citations_and_pictures() -> None:
    got = written(
        answer(
            Text(text="So. "),
            Text(
                text="Indeed",
                citations=[Citation(url="https://a", title="A", start=0, end=3), Citation(url="https://b")],
            ),
            Refusal(text="No."),
            Media(kind="image", media_type="image/webp", data="AAAA"),
        )
    )

    message = got.choices[0].message
    assert message.refusal == "No."
    cited = [one.url_citation for one in message.annotations]
    assert [(one.url, one.title, one.start_index, one.end_index) for one in cited] == [
        ("https://a", "A", 4, 7),
        ("https://b", "", 4, 10),
    ]
    assert message.images == [{"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}}]


def test_logprobs() -> None:
    logprobs = [
        Logprob(token="Hé", logprob=-0.5, alternatives=(Logprob(token="x", logprob=-2.0),)),
        Logprob(token="\\xf0", logprob=-1.0, utf8=(240,)),
    ]
    content = written(answer(Text(text="Hé"), logprobs=logprobs)).choices[0].logprobs.content

    assert [(one.token, one.logprob, one.bytes) for one in content] == [
        ("Hé", -0.5, [72, 195, 169]),
        ("\\xf0", -1.0, [240]),
    ]
    assert content[0].top_logprobs[0].token == "x"


def test_thinking_finds_its_way_home_through_the_client() -> None:
    parts: list[Part] = [
        Thinking(text="First.", seal=SIGNED),
        Text(text="So: "),
        Thinking(text="", seal=Seal(Dialect.ANTHROPIC_MESSAGES, "hidden", redacted=True)),
        Thinking(text="Then.", seal=Seal(Dialect.OPENAI_RESPONSES, "enc", id="rs_1")),
        ToolCall(id="a", name="f", seal=Seal(Dialect.GEMINI, "c2ln")),
        ToolCall(id="b", name="g"),
    ]
    message = written(answer(*parts, finish="tool_calls")).choices[0].message

    assert message.reasoning_content == "First.Then."
    assert again(message).parts == parts


def test_thinking_without_a_seal_comes_back_as_it_was() -> None:
    message = written(answer(Thinking(text="Hm."), Text(text="Yes"))).choices[0].message

    assert message.reasoning_content == "Hm."
    assert again(message).parts == [Thinking(text="Hm."), Text(text="Yes")]


def test_a_seal_survives_a_client_that_keeps_only_the_text_beside_it() -> None:
    message = written(answer(Thinking(text="Hm.", seal=SIGNED), Text(text="Yes"))).choices[0].message.model_dump()
    message["reasoning_details"] = [{"signature": message["reasoning_details"][0]["signature"]}]

    assert read([message]).turns[0].parts == [Thinking(text="Hm.", seal=SIGNED), Text(text="Yes")]


def test_a_plain_answer_of_a_provider() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    got = provided({"role": "assistant", "content": "Hi"}, usage=usage)

    assert got == Answer(
        id="c1",
        model="m-1",
        created=1790000000,
        parts=[Text(text="Hi")],
        finish="stop",
        tokens=Tokens(input_uncached=5, output_text=2),
        raw_usage=json.dumps(usage).encode(),
    )


def test_groqs_usage_counts() -> None:
    assert (
        provided({"content": "Hi"}, x_groq={"usage": {"prompt_tokens": 5, "completion_tokens": 2}}).tokens is not None
    )


@pytest.mark.parametrize(
    ("word", "message", "finish"),
    [
        ("stop", {"content": "x"}, "stop"),
        ("length", {"content": "x"}, "length"),
        ("content_filter", {"content": ""}, "refusal"),
        ("stop", {"refusal": "No."}, "refusal"),
        ("eos", {"content": "x"}, "stop"),
        ("stop", {"tool_calls": [{"id": "a", "function": {"name": "f"}}]}, "tool_calls"),
        ("length", {"tool_calls": [{"id": "a", "function": {"name": "f"}}]}, "length"),
        ("function_call", {"function_call": {"name": "f", "arguments": "{}"}}, "tool_calls"),
    ],
)
def test_why_a_provider_ended(word: str, message: dict[str, Any], finish: Finish) -> None:
    assert provided(message, word).finish == finish


def test_calls_of_providers_however_they_write_them() -> None:
    got = provided(
        {
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                {"function": {"name": "g", "arguments": {"y": 2}}},
                {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
            ],
        },
        "tool_calls",
    )

    first, second, third = got.parts
    assert first == ToolCall(id="a", name="f", arguments='{"x": 1}')
    assert isinstance(second, ToolCall)
    assert (second.name, second.arguments) == ("g", '{"y":2}')
    assert second.id.startswith("call_")
    assert third == ToolCall(id="c", name="shell", arguments="ls", freeform=True)


def test_thinking_of_providers_wherever_it_stands() -> None:
    def first(message: dict[str, Any]) -> Part:
        return provided(message).parts[0]

    own = Dialect.OPENAI_CHAT
    assert first({"reasoning_content": "Hm."}) == Thinking(
        text="Hm.", seal=Seal(own, "reasoning_content", id="the-model")
    )
    assert first({"reasoning": "Hm."}) == Thinking(text="Hm.", seal=Seal(own, "reasoning", id="the-model"))
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Yes"}]
    assert provided({"content": parts}).parts == [Thinking(text="Hm."), Text(text="Yes")]
    details = [{"type": "reasoning.text", "text": "Hm.", "signature": "s"}]
    sealed = first({"reasoning": "Hm.", "reasoning_details": details})
    assert sealed == Thinking(text="Hm.", seal=Seal(own, json.dumps(details, separators=(",", ":")), id="the-model"))


def test_citations_and_logprobs_of_providers() -> None:
    cited = {
        "type": "url_citation",
        "url_citation": {"url": "https://a", "title": "A", "start_index": 1, "end_index": 2},
    }
    token = {
        "token": "H",
        "logprob": -0.5,
        "bytes": [72],
        "top_logprobs": [{"token": "i", "logprob": -1.5, "bytes": None}],
    }
    got = provided(
        {"content": "Hi", "annotations": [cited, {"type": "file_citation"}, 3]},
        choice={"logprobs": {"content": [token], "refusal": None}},
    )

    assert got.parts == [Text(text="Hi", citations=[Citation(url="https://a", title="A", start=1, end=2)])]
    assert got.logprobs == [
        Logprob(token="H", logprob=-0.5, utf8=(72,), alternatives=(Logprob(token="i", logprob=-1.5),))
    ]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":3}', b"\xff", b"[" * 9999]
)
def test_another_kind_of_body_is_not_an_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|choices"):
        OUTBOUND.read_answer(body, call_of())


def test_a_call_without_a_name_is_not_an_answer() -> None:
    with pytest.raises(ValueError, match="name"):
        provided({"tool_calls": [{"id": "a", "function": {}}]})


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"code":429,"message":"Rate limited upstream"},"usage":{"prompt_tokens":5}}',
        b'{"choices":[{"error":{"code":429,"message":"Limited"},"finish_reason":"error"}],"usage":{"prompt_tokens":5}}',
    ],
)
@pytest.mark.parametrize("decode", [OUTBOUND.read_answer, OpenAIChat().decode])
def test_an_error_that_came_as_a_success_is_an_error_and_costs_what_it_says(body: bytes, decode: Any) -> None:
    with pytest.raises(AnswerFailed) as caught:
        decode(body, call_of())
    assert caught.value.failure.outcome is Outcome.RATE_LIMITED
    assert caught.value.tokens == Tokens(input_uncached=5)
    assert caught.value.raw_usage == b'{"prompt_tokens":5}'


COUNTS = st.integers(0, 10**6)


@settings(deadline=None)
@given(
    st.text(min_size=1),
    st.lists(st.tuples(st.text(min_size=1, max_size=5), st.dictionaries(st.text(max_size=3), st.text(max_size=3)))),
    st.builds(
        Tokens,
        input_uncached=COUNTS,
        cache_read=COUNTS,
        cache_write=COUNTS,
        output_text=COUNTS,
        output_reasoning=COUNTS,
    ),
)
def test_what_is_written_is_read_again(text: str, calls: list[tuple[str, dict[str, str]]], tokens: Tokens) -> None:
    parts: list[Part] = [Text(text=text)]
    parts += [ToolCall(id=f"c{n}", name=name, arguments=json.dumps(args)) for n, (name, args) in enumerate(calls)]
    given_answer = answer(*parts, finish="tool_calls" if calls else "stop", tokens=tokens)

    body = INBOUND.write_answer(given_answer, call_of(), Conversation())
    got = OUTBOUND.read_answer(body, call_of())

    assert got.raw_usage is not None
    got.raw_usage = None
    assert got == given_answer


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["content", "refusal", "reasoning_content", "reasoning_details", "tool_calls", "annotations", "function_call"]
)


@settings(deadline=None)
@given(st.dictionaries(FIELDS, VALUES, max_size=4), VALUES)
def test_no_answer_breaks_the_reader(message: dict[str, Any], logprobs: object) -> None:
    try:
        provided(message, choice={"logprobs": logprobs})
    except ValueError as error:
        assert str(error)
