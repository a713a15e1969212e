"""What routing sees of a Messages request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownkey.domain.routing import Needs
from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.peek import peek
from ownkey.providers.peek import Peek

HELLO = [{"role": "user", "content": "Hello"}]


def look(messages: Any = HELLO, **fields: Any) -> Peek:
    return peek(json.dumps({"messages": messages, **fields}).encode())


def needs(*blocks: Any, **fields: Any) -> Needs:
    return look([{"role": "user", "content": list(blocks)}] if blocks else HELLO, **fields).needs


def test_the_smallest_request() -> None:
    assert look() == Peek()


def test_the_model_and_the_stream() -> None:
    seen = look(model="task:coding", stream=True, max_tokens=5, a_field_of_tomorrow={})

    assert (seen.model, seen.stream) == ("task:coding", True)


def test_abilities() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a.test"}}
    document = {"type": "document", "source": {"type": "url", "url": "https://a.test"}}
    schema = {"type": "json_schema", "schema": {}}

    assert needs(image) == Needs(images=True)
    assert needs(document) == Needs(documents=True)
    assert needs({"type": "tool_result", "tool_use_id": "t", "content": [image]}) == Needs(images=True)
    assert needs({"type": "web_search_tool_result", "content": {"type": "image"}}) == Needs()
    assert needs({"type": "text", "text": 'an "image"'}) == Needs()
    assert needs(tools=[{"type": "web_search_20250305"}]) == Needs(tools=True)
    assert needs(tools=[]) == Needs()
    assert needs(output_config={"format": schema}) == Needs(json_schema=True)
    assert needs(output_format=schema) == Needs(json_schema=True)
    assert needs(output_config={"effort": "low"}) == Needs()


def test_the_size_of_the_input() -> None:
    assert look([{"role": "user", "content": "a" * 80_000}]).needs.input_tokens > 9_000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{}", "messages"),
        (b'{"messages":"a"}', "messages"),
        (b'{"messages":[],"stream":"yes"}', "stream"),
        (b'{"messages":[],"model":3}', "model"),
        (b'{"messages":[{"role":"user","content":[{"type":"image"},3]}]}', "messages[0].content[1]"),
        (
            b'{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"},3]}]}]}',
            "messages[0].content[0].content[1]",
        ),
        (b'{"messages":[],"a":"\xff"}', None),
        (b'{"messages":%b}' % (b"[" * 100_000 + b"]" * 100_000), None),
    ],
)
def test_what_is_no_request_is_refused_by_name(body: bytes, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        peek(body)

    assert caught.value.param == param
