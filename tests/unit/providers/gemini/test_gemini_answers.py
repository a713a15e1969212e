"""Whole answers: Gemini's in the neutral form, and others' as Google's clients read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gemini_wire import MODEL, SEAL, SIGNATURE, make_call, sample
from google.genai import types
from openai.types.chat import ChatCompletion

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.conversation import (
    Answer,
    Citation,
    Conversation,
    Logprob,
    Part,
    Reasoning,
    Refusal,
    Seal,
    Text,
    Thinking,
    ToolCall,
)
from ownkey.providers.dialect import AnswerFailed, Call
from ownkey.providers.gemini.count_tokens import read_counted, write_counted
from ownkey.providers.gemini.error_event import describe_error
from ownkey.providers.gemini.inbound import GeminiInbound
from ownkey.providers.gemini.outbound import GeminiOutbound
from ownkey.providers.gemini.signatures import UNSIGNED
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound
from ownkey.providers.seals import write_seal
from ownkey.providers.translation import Translation

CLAUDES = Seal(Dialect.ANTHROPIC_MESSAGES, "ErUB+/=")
TOKENS = Tokens(input_uncached=10, cache_read=4, cache_write=1, output_text=7, output_reasoning=3)
SHOWN = Conversation(reasoning=Reasoning(show=True))


def read(name: str) -> Answer:
    return GeminiOutbound().read_answer(sample(f"{name}.json"), make_call())


def test_a_text() -> None:
    answer = read("text")
    assert (answer.id, answer.model, answer.finish) == ("tTCwacuEBMvnitYP06qsgQY", MODEL, "stop")
    assert answer.parts == [Text(text="The capital of France is Paris – “la Ville Lumière”.")]
    assert answer.tokens == Tokens(input_uncached=9, output_text=14)
    assert json.loads(answer.raw_usage or b"")["totalTokenCount"] == 23


def test_thoughts_and_a_signed_text() -> None:
    answer = read("thinking")
    assert answer.parts == [
        Thinking(text="**Weighing**\n\nOne side and the other.\n"),
        Text(text="Both are right."),
        Thinking(seal=SEAL),
    ]
    # What was cached is inside the prompt's count, what was thought outside the candidates'.
    assert answer.tokens == Tokens(input_uncached=11, cache_read=20, output_text=6, output_reasoning=40)


def test_calls() -> None:
    answer = read("tools")
    assert answer.finish == "tool_calls"
    assert answer.parts == [
        Text(text="I look it up."),
        ToolCall(id="fn_8a1", name="get_weather", arguments='{"city":"Zürich","days":2}', seal=SEAL),
        ToolCall(id="fn_8a2", name="get_weather", arguments='{"city":"Bern"}'),
    ]


def test_calls_without_ids_get_their_own() -> None:
    ids = [part.id for part in (*read("tools_without_ids").parts, *read("tools_without_ids").parts)]  # type: ignore[union-attr]
    assert len(set(ids)) == 4
    assert all(identity.replace("_", "").isalnum() and len(identity) <= 64 for identity in ids)


@pytest.mark.parametrize(
    ("name", "finish", "parts"),
    [
        ("length", "length", [Text(text="Once upon a")]),
        ("length_in_thought", "length", []),
        ("blocked", "refusal", [Refusal(text="Gemini's filters stopped the answer (PROHIBITED_CONTENT).")]),
        ("recitation", "refusal", [Refusal(text="Gemini's filters stopped the answer (RECITATION).")]),
    ],
)
def test_endings(name: str, finish: str, parts: list[Part]) -> None:
    answer = read(name)
    assert answer.finish == finish
    assert answer.parts == parts
    assert answer.tokens is not None


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SPII", "refusal"),
        ("IMAGE_SAFETY", "refusal"),
        ("SOMETHING_NEW", "stop"),
        ("FINISH_REASON_UNSPECIFIED", "stop"),
        (None, "stop"),
    ],
)
def test_reasons(reason: str | None, finish: str) -> None:
    candidate = {"content": {"parts": [{"text": "So"}]}, "finishReason": reason}
    answer = GeminiOutbound().read_answer(json.dumps({"candidates": [candidate]}).encode(), make_call())
    assert answer.finish == finish
    assert answer.parts == [Text(text="So")]
    assert answer.model == MODEL
    assert answer.id


def test_a_model_that_lost_its_way_has_failed_but_is_paid_for() -> None:
    with pytest.raises(AnswerFailed) as caught:
        read("malformed")
    failure = caught.value.failure
    assert failure.outcome is Outcome.OVERLOADED
    assert failure.provider_code == "malformed_function_call"
    assert "default_api.get_weather" in failure.message
    assert caught.value.tokens == Tokens(input_uncached=50, output_reasoning=33)
    assert caught.value.raw_usage is not None


def test_sources() -> None:
    text = read("grounding").parts[0]
    assert isinstance(text, Text)
    assert text.text == "Zürich won. Bern lost."
    found = {(source.url, text.text[source.start : source.end], source.title) for source in text.citations}
    assert found == {
        ("https://vertexaisearch.example/1", "Zürich won.", "zuerich.example"),
        ("https://vertexaisearch.example/1", "Bern lost.", "zuerich.example"),
        ("https://vertexaisearch.example/2", "Bern lost.", "bern.example"),
        ("https://cited.example/", "Zürich", ""),
    }
    assert read("grounding").tokens == Tokens(input_uncached=106, output_text=8)


def test_likelihoods() -> None:
    assert read("logprobs").logprobs == [
        Logprob(
            token="Hi",
            logprob=-0.1,
            alternatives=(Logprob(token="Hi", logprob=-0.1), Logprob(token="Hello", logprob=-2.0)),
        ),
        Logprob(token=" you", logprob=-0.5, alternatives=(Logprob(token=" you", logprob=-0.5),)),
    ]


def test_a_picture_is_one_in_markdown() -> None:
    assert read("picture").parts == [Text(text="Here: ![image](data:image/png;base64,iVBORw0KGgo=)")]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"candidates":5}', b'{"candidates":[]}', b"[" * 100_000])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer"):
        GeminiOutbound().read_answer(body, make_call())


def test_an_error_with_a_status_of_success() -> None:
    body = b'{"error":{"code":429,"message":"Slow down","status":"RESOURCE_EXHAUSTED"}}'
    with pytest.raises(AnswerFailed) as caught:
        GeminiOutbound().read_answer(body, make_call())
    assert caught.value.failure.outcome is Outcome.RATE_LIMITED


def write(
    *parts: Part, conversation: Conversation | None = None, **fields: Any
) -> tuple[types.GenerateContentResponse, dict[str, Any]]:
    """The answer as Google's SDK reads it, and its JSON."""
    given: dict[str, Any] = {"id": "r1", "model": "m1", "created": 1, "finish": "stop", "tokens": TOKENS, **fields}
    answer = Answer(parts=list(parts), **given)
    body = GeminiInbound().write_answer(answer, make_call(), conversation or Conversation())
    return types.GenerateContentResponse.model_validate_json(body), json.loads(body)


def test_an_answer_for_googles_clients() -> None:
    read, body = write(Text(text="Hel"), Text(text="lo"))
    assert read.text == "Hello"
    assert body == {
        "candidates": [
            {
                "content": {"parts": [{"text": "Hel"}, {"text": "lo"}], "role": "model"},
                "index": 0,
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 15,
            "candidatesTokenCount": 7,
            "totalTokenCount": 25,
            "cachedContentTokenCount": 4,
            "thoughtsTokenCount": 3,
        },
        "modelVersion": "m1",
        "responseId": "r1",
    }
    empty, body = write(tokens=None)
    assert empty.text == ""
    assert "usageMetadata" not in body


def test_calls_for_googles_clients() -> None:
    read, body = write(
        ToolCall(id="a", name="f", arguments='{"x": [1]}'),
        ToolCall(id="b", name="g", arguments=""),
        ToolCall(id="c", name="h", seal=CLAUDES),
        finish="tool_calls",
    )
    assert [(call.id, call.name, call.args) for call in read.function_calls or ()] == [
        ("a", "f", {"x": [1]}),
        ("b", "g", {}),
        ("c", "h", {}),
    ]
    # So that Gemini takes the conversation over, should a later turn go there.
    signatures = [part.get("thoughtSignature") for part in body["candidates"][0]["content"]["parts"]]
    assert signatures == [UNSIGNED, None, write_seal(CLAUDES, Dialect.GEMINI)]


def test_a_call_that_is_no_object_is_malformed_in_googles_words() -> None:
    read, body = write(Text(text="So:"), ToolCall(id="a", name="f", arguments='{"x"'), finish="tool_calls")
    candidate = body["candidates"][0]
    assert read.candidates is not None
    assert read.candidates[0].finish_reason is types.FinishReason.MALFORMED_FUNCTION_CALL
    assert candidate["finishMessage"] == 'Malformed function call: f({"x")'
    assert candidate["content"]["parts"] == [{"text": "So:"}]


def test_thoughts_are_shown_to_who_asked_and_sealed_ones_given_to_everybody() -> None:
    parts = [Thinking(text="Hm."), Thinking(text="Ah.", seal=CLAUDES), Text(text="So.")]
    sealed = {"text": "Ah.", "thought": True, "thoughtSignature": write_seal(CLAUDES, Dialect.GEMINI)}
    _, hidden = write(*parts)
    read, shown = write(*parts, conversation=SHOWN)
    assert hidden["candidates"][0]["content"]["parts"] == [sealed, {"text": "So."}]
    assert shown["candidates"][0]["content"]["parts"] == [{"text": "Hm.", "thought": True}, sealed, {"text": "So."}]
    assert read.text == "So."


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop_sequence", "STOP"),
        ("length", "MAX_TOKENS"),
        ("refusal", "SAFETY"),
        ("pause", "STOP"),
    ],
)
def test_reasons_for_googles_clients(finish: str, reason: str) -> None:
    read, body = write(Refusal(text="I will not."), finish=finish)
    assert body["candidates"][0]["finishReason"] == reason
    assert read.text == "I will not."


def test_sources_for_googles_clients() -> None:
    read, body = write(
        Thinking(text="", seal=CLAUDES),
        Text(
            text="Zürich won.",
            citations=[
                Citation(url="https://a.example/", title="A", start=0, end=6),
                Citation(url="https://b.example/", title="B"),
            ],
        ),
    )
    assert read.candidates is not None
    grounding = read.candidates[0].grounding_metadata
    assert grounding is not None
    assert [chunk.web.uri for chunk in grounding.grounding_chunks or () if chunk.web] == [
        "https://a.example/",
        "https://b.example/",
    ]
    assert body["candidates"][0]["groundingMetadata"]["groundingSupports"] == [
        {
            "segment": {"partIndex": 1, "startIndex": 0, "endIndex": 7, "text": "Zürich"},
            "groundingChunkIndices": [0],
        }
    ]


def test_likelihoods_for_googles_clients() -> None:
    logprobs = [Logprob(token="Hi", logprob=-0.5, alternatives=(Logprob(token="Ho", logprob=-1.5),))]
    read, body = write(Text(text="Hi"), logprobs=logprobs)
    assert read.candidates is not None
    assert read.candidates[0].avg_logprobs == -0.5
    again = GeminiOutbound().read_answer(json.dumps(body).encode(), make_call())
    assert again.logprobs == logprobs


@pytest.mark.parametrize("name", ["text", "thinking", "tools", "length", "blocked", "grounding", "logprobs"])
def test_gemini_answers_a_client_of_openais(name: str) -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "top_logprobs": 2}
    call = Call(operation="chat", body=json.dumps(body).encode(), model=MODEL)
    decoded = Translation(OpenAIChatInbound(), GeminiOutbound()).decode(sample(f"{name}.json"), call)
    completion = ChatCompletion.model_validate_json(decoded.body)
    answer = read(name)
    assert completion.usage is not None
    assert answer.tokens == decoded.tokens
    assert completion.usage.total_tokens == answer.tokens.input_total + answer.tokens.output_total  # type: ignore[union-attr]
    message = completion.choices[0].message
    texts = [part.text for part in answer.parts if isinstance(part, Text)]
    assert (message.content or "") == "".join(texts)
    assert [call.id for call in message.tool_calls or ()] == [
        part.id for part in answer.parts if isinstance(part, ToolCall)
    ]


def test_counts() -> None:
    assert types.CountTokensResponse.model_validate_json(write_counted(14)).total_tokens == 14
    assert read_counted(b'{"totalTokens": 31, "promptTokensDetails": []}') == 31
    with pytest.raises(AnswerFailed):
        read_counted(b'{"error": {"code": 503, "status": "UNAVAILABLE"}}')
    for body in (b"{}", b"[]", b"{"):
        with pytest.raises(ValueError, match="count"):
            read_counted(body)


def test_errors_in_googles_form() -> None:
    assert describe_error(429, "Slow down", "rate_limited") == {
        "error": {
            "code": 429,
            "message": "Slow down",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "RATE_LIMITED",
                    "domain": "ownkey",
                }
            ],
        }
    }
    assert describe_error(418, "", "x")["error"]["status"] == "INVALID_ARGUMENT"
    assert describe_error(599, "", "x")["error"]["status"] == "INTERNAL"


def test_a_signature_is_base64_for_the_sdk() -> None:
    part = types.Part.model_validate({"text": "", "thoughtSignature": SIGNATURE})
    assert part.thought_signature is not None
    assert types.Part.model_validate({"text": "", "thoughtSignature": UNSIGNED}).thought_signature is not None
