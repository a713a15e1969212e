"""Responses across the neutral form: its clients at every other provider, and its providers for every other client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter
from responses_reading import CATALOG, SAMPLES, accumulate, make_call, read_events, sample

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.anthropic_messages.inbound import AnthropicInbound
from ownkey.providers.anthropic_messages.outbound import AnthropicOutbound
from ownkey.providers.dialect import Call, StreamDecoder
from ownkey.providers.gemini.inbound import GeminiInbound
from ownkey.providers.gemini.outbound import GeminiOutbound
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound
from ownkey.providers.openai_chat.outbound import OpenAIChatOutbound
from ownkey.providers.openai_responses.inbound import ResponsesInbound
from ownkey.providers.openai_responses.outbound import ResponsesOutbound
from ownkey.providers.seals import PREFIX
from ownkey.providers.translation import Inbound, Outbound, Translation

WIRE = Path(__file__).parents[3] / "wire"
CHAT, ANTHROPIC, GEMINI = Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI
CLIENTS: dict[Dialect, Inbound] = {CHAT: OpenAIChatInbound(), ANTHROPIC: AnthropicInbound(), GEMINI: GeminiInbound()}
PROVIDERS: dict[Dialect, Outbound] = {
    CHAT: OpenAIChatOutbound(),
    ANTHROPIC: AnthropicOutbound(),
    GEMINI: GeminiOutbound(),
}
USED = Tokens(input_uncached=13, cache_read=4, cache_write=2, output_text=7, output_reasoning=3)
NAMES = sorted(path.stem for path in SAMPLES.glob("*.json"))
_EVENTS: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)

# What each provider's dialect says for the same: a whole stream, and where it is recorded.
STREAMS = [
    (ANTHROPIC, "streams/anthropic.sse"),
    (ANTHROPIC, "streams/anthropic_thinking.sse"),
    (ANTHROPIC, "streams/anthropic_tools.sse"),
    (ANTHROPIC, "streams/anthropic_refusal.sse"),
    (CHAT, "streams/openai.sse"),
    (CHAT, "streams/openai_tools.sse"),
    (CHAT, "streams/deepseek.sse"),
    (CHAT, "streams/openrouter.sse"),
    (CHAT, "streams/no_done.sse"),
    (GEMINI, "gemini/text.sse"),
    (GEMINI, "gemini/thinking.sse"),
    (GEMINI, "gemini/tools.sse"),
    (GEMINI, "gemini/tools_without_ids.sse"),
    (GEMINI, "gemini/length.sse"),
    (GEMINI, "gemini/logprobs.sse"),
    (GEMINI, "gemini/grounding.sse"),
    (GEMINI, "gemini/safety.sse"),
]


def decode(decoder: StreamDecoder, data: bytes, size: int) -> bytes:
    pieces = [decoder.feed(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join([*pieces, decoder.finish()])


@pytest.mark.parametrize(("dialect", "name"), STREAMS, ids=[name for _, name in STREAMS])
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_client_of_responses_at_another_provider(dialect: Dialect, name: str, size: int) -> None:
    call = make_call({"include": ["message.output_text.logprobs"]}, stream=True)
    decoder = Translation(ResponsesInbound(), PROVIDERS[dialect]).stream_decoder(CATALOG["openai"], call)
    output = decode(decoder, (WIRE / name).read_bytes(), size)
    last = read_events(output)[-1]

    assert decoder.complete
    assert last.type in ("response.completed", "response.incomplete")
    response = accumulate(output) if last.type == "response.completed" else last.response
    assert response.output or decoder.finish_reason == "content_filter"
    if decoder.tokens is not None:
        assert response.usage is not None
        assert response.usage.input_tokens == decoder.tokens.input_total
        assert response.usage.output_tokens == decoder.tokens.output_total
        assert response.usage.output_tokens_details.reasoning_tokens == decoder.tokens.output_reasoning
    for item in response.output:
        if item.type == "reasoning":
            assert item.encrypted_content is not None
            assert item.encrypted_content.startswith(PREFIX)
        if item.type == "function_call":
            assert isinstance(json.loads(item.arguments), dict)


@pytest.mark.parametrize(
    ("dialect", "name"),
    [(ANTHROPIC, "streams/anthropic_error_later.sse"), (CHAT, "streams/groq_error.sse"), (GEMINI, "gemini/cut.sse")],
)
def test_a_stream_that_breaks_at_another_provider(dialect: Dialect, name: str) -> None:
    decoder = Translation(ResponsesInbound(), PROVIDERS[dialect]).stream_decoder(
        CATALOG["openai"], make_call(stream=True)
    )
    output = decode(decoder, (WIRE / name).read_bytes(), 10_000)
    assert not decoder.complete
    failure = decoder.failure or Failure(outcome=Outcome.STREAM_BROKEN, message="It broke.")
    blocks = (output + decoder.break_off(failure)).strip().split(b"\n\n")
    numbers = [json.loads(block.partition(b"data: ")[2])["sequence_number"] for block in blocks if block[:1] != b":"]

    assert numbers == list(range(len(numbers)))
    assert blocks[-2].startswith(b"event: error\n")
    assert blocks[-1].startswith(b"event: response.failed\n")


def chat_check(whole: bytes, events: list[dict[str, Any]]) -> str:
    answer = ChatCompletion.model_validate_json(whole)
    for event in events:
        if '"custom"' not in json.dumps(event):  # which OpenAI streams and its SDK does not know
            ChatCompletionChunk.model_validate(event)
    said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
    assert said == (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 29
    return said


def anthropic_check(whole: bytes, events: list[dict[str, Any]]) -> str:
    answer = Message.model_validate_json(whole)
    for event in events:
        _EVENTS.validate_python(event)
    texts = [event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta"]
    assert "".join(texts) == "".join(block.text for block in answer.content if block.type == "text")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (13, 10)
    return "".join(texts)


def gemini_check(whole: bytes, events: list[dict[str, Any]]) -> str:
    answer = json.loads(whole)

    def texts(document: dict[str, Any]) -> str:
        parts = document["candidates"][0].get("content", {}).get("parts", [])
        return "".join(part.get("text", "") for part in parts if not part.get("thought"))

    assert "".join(texts(event) for event in events if event.get("candidates")) == texts(answer)
    assert answer["usageMetadata"]["totalTokenCount"] == 29
    return texts(answer)


REQUESTS: dict[Dialect, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "top_logprobs": 2},
    ANTHROPIC: {"max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
CHECKS: dict[Dialect, Callable[[bytes, list[dict[str, Any]]], str]] = {
    CHAT: chat_check,
    ANTHROPIC: anthropic_check,
    GEMINI: gemini_check,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC, GEMINI])
def test_another_client_at_a_provider_of_responses(dialect: Dialect, name: str) -> None:
    body = json.dumps({"model": "gpt-5", **REQUESTS[dialect]}).encode()
    call = Call(operation="chat", body=body, model="gpt-5", dialect=dialect, stream=True, wants_usage=True)
    adapter = Translation(CLIENTS[dialect], ResponsesOutbound())
    decoded = adapter.decode(sample(f"{name}.json"), call)
    decoder = adapter.stream_decoder(CATALOG["openai"], call)
    output = decode(decoder, sample(f"{name}.sse"), 100)
    lines = [line[5:].strip() for line in output.splitlines() if line.startswith(b"data:")]

    assert decoder.complete
    assert decoder.tokens == decoded.tokens == USED
    assert decoder.finish_reason == decoded.finish_reason
    said = CHECKS[dialect](decoded.body, [json.loads(line) for line in lines if line != b"[DONE]"])
    assert said or name == "refusal"
