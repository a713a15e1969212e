"""What routing sees of a Responses request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownkey.domain.routing import AUTO, Needs
from ownkey.errors import RequestError
from ownkey.providers.openai_responses.peek import peek


def look(body: dict[str, Any]) -> Any:
    return peek(json.dumps({"input": "Hi", **body}).encode())


def test_the_least_request() -> None:
    seen = look({})
    assert (seen.model, seen.stream, seen.needs) == (AUTO, False, Needs())


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        ({"tools": []}, Needs()),
        ({"tools": None, "text": {"format": {"type": "text"}}}, Needs()),
        ({"tools": [{"type": "custom", "name": "p"}]}, Needs(tools=True)),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}}, Needs(json_schema=True)),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, Needs(images=True)),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, Needs(documents=True)),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, Needs(audio=True)),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image"}]}]},
            Needs(images=True),
        ),
        ({"input": [{"role": "user", "content": 'an "input_image"'}, {"type": "reasoning", "summary": []}]}, Needs()),
    ],
)
def test_needs(body: dict[str, Any], needs: Needs) -> None:
    assert look(body).needs == needs


def test_a_long_text_needs_a_long_context() -> None:
    assert look({"input": "x" * 80_000}).needs.input_tokens > 9_000


def test_model_and_stream() -> None:
    seen = look({"model": "openai/gpt-5", "stream": True})
    assert (seen.model, seen.stream) == ("openai/gpt-5", True)
    assert peek(b'{"prompt":{"id":"p"},"model":null}').model == AUTO


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"[]", None),
        (b"{", None),
        (b"{}", "input"),
        (b'{"input":null}', "input"),
        (b'{"input":5}', "input"),
        (b'{"input":"Hi","model":5}', "model"),
        (b'{"input":"Hi","stream":"yes"}', "stream"),
        (b'{"input":["input_image"]}', "input[0]"),
        (b'{"input":' + b"[" * 100_000, None),
        (b'{"input":"\xff"}', None),
    ],
)
def test_what_is_wrong_is_named(body: bytes, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        peek(body)
    assert caught.value.param == param
