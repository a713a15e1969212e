"""Pictures, sound, moderation, ranking: what goes out, what is read of what comes back."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from ownkey.domain.provider import Offer
from ownkey.domain.usage import Outcome, Tokens
from ownkey.errors import RequestError
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import AnswerFailed, Call
from ownkey.providers.side_operations.adapter import SideOperations, is_stream, read_content_type
from ownkey.providers.side_operations.peek import peek

CATALOG = load_catalog()
ADAPTER = SideOperations()


def call(operation: str, body: object = None, *, stream: bool = False, content_type: str = "application/json") -> Call:
    raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    return Call(operation=operation, body=raw, model="upstream-model", stream=stream, content_type=content_type)


@pytest.mark.parametrize(
    ("provider", "operation", "url"),
    [
        ("openai", "images", "https://api.openai.com/v1/images/generations"),
        ("groq", "speech", "https://api.groq.com/openai/v1/audio/speech"),
        ("openai", "moderations", "https://api.openai.com/v1/moderations"),
        ("together", "rerank", "https://api.together.xyz/v1/rerank"),
        # Cohere's own API is beside the base URL of its compatible one, at the same host.
        ("cohere", "rerank", "https://api.cohere.ai/v2/rerank"),
    ],
)
def test_the_body_passes_with_another_model(provider: str, operation: str, url: str) -> None:
    row = CATALOG[provider]
    body = b'{ "model":"auto", "prompt" : "Gr\xc3\xbc\\u00fc", "n":1.0}'
    request = ADAPTER.encode(row, row.base_url, call(operation, body))

    assert request.url == url
    assert request.body == b'{"model":"upstream-model","prompt":"Gr\xc3\xbc\\u00fc","n":1.0}'
    assert request.auth_header == ("authorization", "Bearer ")


def test_a_secret_goes_to_the_host_it_was_stored_with_only() -> None:
    request = ADAPTER.encode(CATALOG["cohere"], "https://proxy.test/cohere/v1", call("rerank"))
    assert request.url == "https://proxy.test/v2/rerank"


def test_a_form_passes_in_pieces_with_another_model() -> None:
    made = httpx2.Request("POST", "http://x.test", data={"model": "auto"}, files={"file": ("a.wav", b"\x00" * 99)})
    body, kind = made.read(), made.headers["content-type"]
    row = CATALOG["groq"]
    request = ADAPTER.encode(row, row.base_url, call("transcriptions", body, content_type=kind))

    assert dict(request.headers)["content-type"] == kind
    assert isinstance(request.body, tuple)
    assert b"".join(request.body) == body.replace(b"auto", b"upstream-model")
    assert request.body_bytes == len(body) + len("upstream-model") - len("auto")


def test_what_a_provider_lacks_is_refused() -> None:
    with pytest.raises(RequestError, match="Groq has no image edits"):
        ADAPTER.encode(CATALOG["groq"], CATALOG["groq"].base_url, call("image_edits"))
    with pytest.raises(RequestError):
        ADAPTER.encode(CATALOG["openai"], CATALOG["openai"].base_url, call("images", b"[]"))


@pytest.mark.parametrize(
    ("operation", "answer", "tokens", "raw"),
    [
        (
            "images",
            {
                "data": [{"b64_json": "QQ=="}],
                "usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210},
            },
            Tokens(input_uncached=50, output_text=4160),
            True,
        ),
        ("images", {"data": [{"url": "https://x.test/a.png"}]}, None, False),
        (
            "transcriptions",
            {"text": "a", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 9, "total_tokens": 23}},
            Tokens(input_uncached=14, output_text=9),
            True,
        ),
        ("transcriptions", {"text": "a", "usage": {"type": "duration", "seconds": 9}}, None, True),
        (
            "transcriptions",
            {"text": "a", "usage": {"prompt_tokens": 4, "completion_tokens": 5, "prompt_audio_seconds": 3}},
            Tokens(input_uncached=4, output_text=5),
            True,
        ),
        ("rerank", {"results": [], "meta": {"billed_units": {"search_units": 1}}}, None, True),
        ("rerank", {"results": [], "usage": {"total_tokens": 40}}, Tokens(input_uncached=40), True),
        ("moderations", {"results": [{"flagged": False}]}, None, False),
        ("images", {"data": [], "usage": "none"}, None, False),
    ],
)
def test_an_answer_passes_and_its_usage_is_read(operation: str, answer: Any, tokens: Tokens | None, raw: bool) -> None:
    body = json.dumps(answer, indent=1).encode()
    decoded = ADAPTER.decode(body, call(operation))

    assert decoded.body is body
    assert decoded.tokens == tokens
    assert (decoded.raw_usage is not None) is raw


def test_a_transcript_may_be_plain_text_and_a_picture_may_not() -> None:
    assert ADAPTER.decode(b"1\n00:00:00,000 --> 00:00:01,000\nHi", call("transcriptions")).tokens is None
    with pytest.raises(ValueError, match="not an answer"):
        ADAPTER.decode(b"<html>", call("images"))


def test_an_error_that_came_with_200() -> None:
    with pytest.raises(AnswerFailed) as caught:
        ADAPTER.decode(b'{"error":{"message":"no","code":"insufficient_quota"}}', call("images"))
    assert caught.value.failure.outcome is Outcome.CREDIT_EXHAUSTED


def events(*pieces: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in pieces)


PICTURE = events(
    {"type": "image_generation.partial_image", "b64_json": "QQ==" * 900, "partial_image_index": 0},
    {"type": "image_generation.completed", "b64_json": "QQ==", "usage": {"input_tokens": 8, "output_tokens": 272}},
)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_stream_of_events_passes_unchanged(size: int) -> None:
    decoder = ADAPTER.stream_decoder(CATALOG["openai"], call("images", stream=True))
    output = b"".join(decoder.feed(PICTURE[at : at + size]) for at in range(0, len(PICTURE), size)) + decoder.finish()

    assert output == PICTURE
    assert decoder.committed and decoder.complete and decoder.failure is None
    assert decoder.tokens == Tokens(input_uncached=8, output_text=272)


def test_a_stream_that_breaks_or_fails() -> None:
    decoder = ADAPTER.stream_decoder(CATALOG["openai"], call("images", stream=True))
    decoder.feed(PICTURE[: len(PICTURE) // 2])
    assert decoder.finish() == b"" and not decoder.complete
    failing = ADAPTER.stream_decoder(CATALOG["openai"], call("transcriptions", stream=True))
    assert failing.feed(events({"type": "error", "error": {"message": "no", "code": "rate_limit_exceeded"}})) == b""
    assert failing.failure is not None and failing.failure.outcome is Outcome.RATE_LIMITED
    assert not failing.committed
    assert b'"error"' in failing.break_off(failing.failure)


def test_sound_passes_and_cannot_say_that_it_broke() -> None:
    decoder = ADAPTER.stream_decoder(CATALOG["openai"], call("speech", {"input": "a"}, stream=True))
    assert not decoder.committed
    assert decoder.feed(b"ID3\x00") == b"ID3\x00" and decoder.committed and not decoder.complete
    assert decoder.finish() == b"" and decoder.complete
    told = ADAPTER.stream_decoder(CATALOG["openai"], call("speech", {"stream_format": "sse"}, stream=True))
    spoken = events({"type": "speech.audio.delta", "audio": "QQ=="}, {"type": "speech.audio.done", "usage": None})
    assert told.feed(spoken) == spoken and told.complete


def test_who_ignores_that_a_stream_was_asked_for_is_read_whole() -> None:
    asked = call("transcriptions", stream=True)
    assert not is_stream(asked, {"content-type": "application/json"})
    assert is_stream(asked, {"content-type": "text/event-stream; charset=utf-8"})
    assert is_stream(call("speech", stream=True), {"content-type": "audio/mpeg"})


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("application/json; charset=utf-8", "application/json"),
        ("text/html; charset=utf-8", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("audio/x\r\nset-cookie: a", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_only_harmless_types_are_passed_on(given: str, passed: str) -> None:
    assert read_content_type({"content-type": given}) == passed


def test_what_is_seen_of_a_request() -> None:
    assert peek(b'{"prompt":"a"}', "images", "application/json").model == "auto"
    seen = peek(b'{"model":"m","stream":true}', "images", "application/json")
    assert (seen.model, seen.stream) == ("m", True)
    assert peek(b'{"model":"m"}', "speech", "application/json").stream
    with pytest.raises(RequestError):
        peek(b'{"model":7}', "images", "application/json")
    with pytest.raises(RequestError):
        peek(b"{}", "transcriptions", "application/json")


def test_a_path_of_ones_own_needs_no_slash_of_the_base_url() -> None:
    row = replace(CATALOG["openai"], operations={"rerank": Offer(path="/other/rank")})
    assert ADAPTER.encode(row, "https://x.test/a/b/", call("rerank")).url == "https://x.test/other/rank"
