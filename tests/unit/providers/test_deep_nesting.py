"""Arrays inside arrays without end: a provider that sends them breaks its own answer and nothing else."""

from __future__ import annotations

import json

import pytest
from stream_reading import decode, decoder_for

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome
from ownkey.providers.adapters import get_adapter
from ownkey.providers.dialect import AnswerFailed, Call
from ownkey.providers.failures import read_failure, read_failure_in_answer

DEEP = b"[" * 100_000 + b"]" * 100_000
DEEP_OBJECTS = b'{"message":' * 20_000 + b"1" + b"}" * 20_000
# As deep as the JSON reader goes, which is deeper than what reads the document after it.
NEARLY = [b'{"message":' * depth + b"1" + b"}" * depth for depth in range(600, 1_000, 20)]


@pytest.mark.parametrize("body", [DEEP, DEEP_OBJECTS, b'{"error":' + DEEP + b"}", *NEARLY])
def test_an_error_body(body: bytes) -> None:
    assert read_failure(503, {}, body).outcome is Outcome.OVERLOADED
    assert read_failure_in_answer(body).outcome is Outcome.OVERLOADED
    assert read_failure(400, {}, b'{"detail":[{"loc":[%b],"msg":%b}]}' % (body, body)).message


@pytest.mark.parametrize("field", ["code", "status", "http_status"])
@pytest.mark.parametrize("value", [b"[" * 900 + b"]" * 900, b'"' + b"4" * 6_000 + b'"', b"4" * 4_000])
def test_a_status_that_is_none(field: str, value: bytes) -> None:
    assert read_failure_in_answer(b'{"error":{"%b":%b}}' % (field.encode(), value)).http_status is None


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("operation", ["chat", "embeddings"])
@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"type":"message","choices":[],"data":[],"content":[],"more":%b}' % DEEP,
        b'{"type":"message","content":[{"type":"tool_use","input":%b}],"choices":%b,"data":%b}' % (DEEP, DEEP, DEEP),
    ],
)
def test_an_answer(dialect: Dialect, operation: str, body: bytes) -> None:
    asked = b'{"messages":[{"role":"user","content":"hi"}],"input":"hi"}'
    with pytest.raises(ValueError, match="not an") as caught:
        get_adapter(Dialect.OPENAI_CHAT, dialect, operation).decode(
            body, Call(operation=operation, body=asked, model="m")
        )

    assert not isinstance(caught.value, AnswerFailed)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@pytest.mark.parametrize("line_end", [b"\n\n", b""])
def test_an_event(name: str, line_end: bytes) -> None:
    decoder = decoder_for(name)
    event = b'data: {"type":"content_block_delta","choices":[{"delta":{"content":"a"}}],"more":%b}' % DEEP
    output = decode(decoder, [event + line_end])

    assert output == b""
    if line_end:
        assert decoder.failure is not None
        assert decoder.failure.outcome is Outcome.STREAM_BROKEN


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_the_usage_of_an_event(name: str) -> None:
    decoder = decoder_for(name)
    usage = b'{"prompt_tokens":1,"more":%b}' % (b"[" * 7_000 + b"]" * 7_000)
    decode(decoder, [b'data: {"type":"message_delta","choices":[],"usage":%b}\n\n' % usage])

    assert decoder.tokens is None


def test_an_error_event() -> None:
    decoder = decoder_for("anthropic")
    decode(decoder, [b"data: " + json.dumps({"type": "error", "error": "x"}).encode().replace(b'"x"', DEEP) + b"\n\n"])

    assert decoder.failure is not None
