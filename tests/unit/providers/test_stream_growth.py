"""Streams of providers that are long in unusual ways: one of them must not hold up everybody else's."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable
from time import process_time
from typing import Any

import pytest

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call, StreamDecoder

CATALOG = load_catalog()
SMALL, LARGE = 3_000, 12_000
CUSTOM = {"type": "custom", "custom": {"name": "f"}}
ASKED = {
    Dialect.OPENAI_CHAT: {"messages": [{"role": "user", "content": "a"}], "tools": [CUSTOM]},
    Dialect.ANTHROPIC_MESSAGES: {"max_tokens": 9, "messages": [{"role": "user", "content": "a"}]},
}
Event = dict[str, Any]


def decoder(client: Dialect, provider: Dialect) -> StreamDecoder:
    body = json.dumps(ASKED[client]).encode()
    call = Call(operation="chat", body=body, model="m", dialect=client, stream=True)
    return get_adapter(client, provider).stream_decoder(CATALOG["openai"], call)


def write(events: Iterable[Event]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


def texts_without_ends(count: int) -> bytes:
    return write(
        {"type": "response.output_text.delta", "output_index": number, "delta": "a"} for number in range(count)
    )


def calls_at_the_end(count: int) -> bytes:
    output = [
        {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}"} for number in range(count)
    ]
    return write([{"type": "response.completed", "response": {"output": output}}])


def details(count: int) -> bytes:
    entry = {"type": "reasoning.text", "text": "x" * 300, "index": 0}
    return write({"choices": [{"delta": {"reasoning_details": [entry]}}]} for _ in range(count))


def escapes(count: int) -> bytes:
    arguments = json.dumps({"input": "\n" * count * 100})
    call = {"functionCall": {"name": "f", "args": json.loads(arguments)}}
    return write([{"candidates": [{"content": {"parts": [call]}, "finishReason": "STOP"}], "usageMetadata": {}}])


def other_arguments(count: int) -> bytes:
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "c", "name": "f"}}
    piece = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": " " * 500},
    }
    return write([start, *[piece] * count])


def calls_between_texts(count: int) -> bytes:
    piece = {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "x" * 300}}]}}]}
    return write([*[piece] * count, *[{"choices": [{"delta": {"content": "a"}}]}] * count])


CASES: dict[str, tuple[Dialect, Dialect, Callable[[int], bytes]]] = {
    "texts without ends": (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, texts_without_ends),
    "calls at the end": (Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_RESPONSES, calls_at_the_end),
    "details": (Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT, details),
    "escapes": (Dialect.OPENAI_CHAT, Dialect.GEMINI, escapes),
    "other arguments": (Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, other_arguments),
    "calls between texts": (Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT, calls_between_texts),
}


def measure(client: Dialect, provider: Dialect, stream: bytes) -> float:
    """The seconds that a stream takes at its best of two."""
    taken = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            read = decoder(client, provider)
            begun = process_time()
            for start in range(0, len(stream), 65_536):
                read.feed(stream[start : start + 65_536])
            read.finish()
            taken.append(process_time() - begun)
    finally:
        gc.enable()
    return min(taken)


@pytest.mark.parametrize("name", CASES)
def test_the_time_grows_with_the_size(name: str) -> None:
    client, provider, make = CASES[name]

    small, large = measure(client, provider, make(SMALL)), measure(client, provider, make(LARGE))

    # Four times the size takes about four times as long; the square would be sixteen times.
    assert large < 10 * small + 0.05


def test_calls_without_end_break_the_stream() -> None:
    calls = [{"index": number, "id": f"c{number}", "function": {"name": "f"}} for number in range(5_000)]
    read = decoder(Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT)
    for call in calls:
        read.feed(write([{"choices": [{"delta": {"tool_calls": [call]}}]}]))

    assert read.failure is not None
    assert read.failure.outcome is Outcome.STREAM_BROKEN


def test_sources_without_end_are_left_out() -> None:
    source = {"web": {"uri": "https://a.test", "title": "A"}}
    support = {"segment": {"startIndex": 0, "endIndex": 1}, "groundingChunkIndices": [0]}
    grounding = {"groundingChunks": [source], "groundingSupports": [support] * 5_000}
    candidate = {"content": {"parts": [{"text": "a"}]}, "groundingMetadata": grounding, "finishReason": "STOP"}
    read = decoder(Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI)
    output = read.feed(write([{"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1}}]))

    assert read.complete
    assert output.count(b'"citations_delta"') == 1_000


def test_blocks_after_the_end_of_an_answer_and_blocks_without_an_end_leave_a_stream_that_can_be_read() -> None:
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    stop = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "b"}},
        {"type": "content_block_start", "index": 1, "content_block": call},
        {"type": "content_block_start", "index": 1, "content_block": call},
        stop,
        {"type": "content_block_start", "index": 2, "content_block": call},
        {"type": "message_stop"},
    ]
    call_of_client = Call(
        operation="chat", body=b'{"input":"a"}', model="m", dialect=Dialect.OPENAI_RESPONSES, stream=True
    )
    read = get_adapter(Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES).stream_decoder(
        CATALOG["anthropic"], call_of_client
    )
    output = read.feed(write(events))

    assert read.complete
    told = [json.loads(line[6:]) for line in output.split(b"\n") if line.startswith(b"data: ")]
    items = [item["type"] for item in told[-1]["response"]["output"]]
    assert items == ["message", "function_call", "function_call"]
    assert (
        told[-1]["response"]["output"][0]["content"][0]["text"]
        + told[-1]["response"]["output"][0]["content"][1]["text"]
        == "ab"
    )
