"""Estimates of what nobody counted: roughly right, never negative, and cheap."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.usage import Tokens
from ownkey.services.estimate import Received, estimate_input, estimate_tokens
from ownkey.services.service_tier import read_tier

STREAMS = Path(__file__).parents[1] / "wire" / "streams"
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "into", "the", "wide", "green", "field")


def chat_event(text: str) -> bytes:
    chunk = {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion.chunk",
        "model": "gpt-5.4-mini",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def claude_event(text: str) -> bytes:
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return b"event: content_block_delta\ndata: " + json.dumps(delta).encode() + b"\n\n"


def responses_event(text: str) -> bytes:
    event = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": text}
    return b"event: response.output_text.delta\ndata: " + json.dumps(event).encode() + b"\n\n"


def gemini_event(text: str) -> bytes:
    part = {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}]}
    return b"data: " + json.dumps(part).encode() + b"\r\n\r\n"


@pytest.mark.parametrize("make", [chat_event, claude_event, responses_event, gemini_event])
@pytest.mark.parametrize("words_per_event", [1, 12])
def test_what_came_is_estimated_in_every_dialect(make, words_per_event: int) -> None:  # type: ignore[no-untyped-def]
    received, said = Received(), ""
    for number in range(300):
        text = "".join(f" {WORDS[(number + n) % len(WORDS)]}" for n in range(words_per_event))
        event = make(text)
        if not said:
            received.sample = event
        said += text
        received.add(event)
    assert received.estimate() == pytest.approx(len(said) / 4, rel=0.3)


def test_a_whole_answer_is_estimated_by_what_it_says() -> None:
    text = " ".join(WORDS * 20)
    received = Received()
    received.add_whole(json.dumps({"id": "x" * 300, "choices": [{"message": {"content": text}}]}).encode())
    assert received.estimate() == pytest.approx(len(text) / 4, rel=0.02)
    received.add_whole(json.dumps({"object": "list", "data": [{"embedding": [0.5] * 1000}]}).encode())
    assert received.estimate() == 0


def test_nothing_that_was_said_is_nothing() -> None:
    received = Received()
    assert received.estimate() == 0
    received.add(b": ping\n\n")
    assert received.estimate() == 0
    received.sample = b"data: {}\n\n"
    assert received.estimate() == 0


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_no_bytes_are_an_error(chunks: list[bytes]) -> None:
    received = Received()
    for chunk in chunks:
        received.sample = chunk
        received.add(chunk)
        assert received.estimate() >= 0


def test_deep_nesting_is_no_error() -> None:
    received = Received()
    received.sample = b"data: " + b"[" * 100_000 + b"\n\n"
    received.add(received.sample)
    assert received.estimate() == 0


def test_a_request_has_about_a_token_for_four_bytes() -> None:
    body = json.dumps({"messages": [{"role": "user", "content": " ".join([*WORDS] * 50)}]}).encode()
    assert estimate_input(body) == len(body) // 4
    assert estimate_input(b"{}") == 1


@pytest.mark.parametrize(
    "form",
    [
        '{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}',
        '{"type":"image","source":{"type":"base64","media_type":"image/png","data":"%s"}}',
        '{"inlineData": {"mimeType": "image/png", "data": "%s"}}',
        '{"type":"file","file":{"file_data":"data:application/pdf;base64,%s"}}',
    ],
)
def test_a_picture_is_not_counted_by_its_bytes(form: str) -> None:
    picture = base64.b64encode(os.urandom(300_000)).decode()
    body = form.replace("%s", picture).encode()
    assert 1000 <= estimate_input(body) <= 1050
    assert 2000 <= estimate_input(body + b"," + body) <= 2100
    # One that is cut off is one, too.
    assert 1000 <= estimate_input(body[:-100]) <= 1050


def test_what_was_reported_is_kept_and_only_the_rest_is_estimated() -> None:
    received = Received()
    for _ in range(40):
        received.sample = chat_event(" word")
        received.add(received.sample)
    early = Tokens(input_uncached=70, cache_read=5, cache_write=6, output_text=2, output_reasoning=3)
    tokens = estimate_tokens(b"x" * 4000, received, early)
    assert (tokens.input_uncached, tokens.cache_read, tokens.cache_write) == (70, 5, 6)
    assert tokens.output_reasoning == 3 and tokens.output_total == received.estimate() > 5
    late = Tokens(input_uncached=70, output_text=500)
    assert estimate_tokens(b"x" * 4000, received, late) == late
    assert estimate_tokens(b"x" * 4000, Received(), None) == Tokens(input_uncached=1000)


@pytest.mark.parametrize(
    ("data", "tier"),
    [
        (b'{"id":"x","service_tier":"flex","choices":[]}', "flex"),
        (b'{\n "service_tier" : "priority"\n}', "priority"),
        (b'{"service_tier":null}', None),
        (b'{"service_tier":"Rob the bank"}', None),
        (b'{"service_tier":7}', None),
        (b'{"metadata":{"service_tier":"flex"}}', None),
        (b'{"choices":[{"message":{"content":"\\"service_tier\\":\\"flex\\""}}]}', None),
        (b'data: {"service_tier":"default"}\n\ndata: {"service_tier":"flex"}\n\ndata: [DONE]\n\n', "flex"),
        (
            b'event: response.created\ndata: {"response":{"service_tier":"auto"}}\n\n'
            b'event: response.completed\ndata: {"type":"response.completed","response":{"service_tier":"flex"}}\n\n',
            "flex",
        ),
        (b'data: {"service_tier":"fl', None),
        (b"", None),
    ],
)
def test_the_class_of_service_is_what_the_answer_says(data: bytes, tier: str | None) -> None:
    assert read_tier(data) == tier


def test_the_recorded_streams_can_all_be_measured() -> None:
    for path in sorted(STREAMS.glob("*.sse")):
        received = Received()
        received.sample = path.read_bytes()
        received.add(received.sample)
        assert received.estimate() >= 0
        read_tier(received.sample)
