"""What is kept at a provider under somebody's key, found wherever a request names it, and nothing else taken for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ownkey.providers.kept_objects import needs_own_key

ASK = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    "request_body",
    [
        {"input": "go on", "previous_response_id": "resp_1"},
        {"input": "go on", "conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"input": "x", "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        {"input": "x", "tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
        {"input": "x", "tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        {"messages": [ASK], "container": "container_1"},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}]},
        {"contents": [], "cachedContent": "cachedContents/1"},
        {"contents": [{"parts": [{"fileData": {"fileUri": "https://example.test/v1beta/files/abc"}}]}]},
        {"messages": [ASK], "models": ["a/b", "c/d"]},
        {"messages": [ASK], "route": "fallback"},
    ],
)
def test_it_is_found(request_body: dict[str, Any]) -> None:
    assert needs_own_key(msgspec.json.encode(request_body))


def test_an_escaped_name_is_the_same_name() -> None:
    assert needs_own_key(rb'{"input":"x","previous_respons\u0065_id":"resp_1"}')


SCHEMA = {"type": "object", "properties": {"file_id": {"type": "string"}, "container": {"type": "string"}}}


@pytest.mark.parametrize(
    "request_body",
    [
        {"messages": [ASK]},
        {"input": "x", "previous_response_id": None, "conversation": None},
        {"messages": [{"role": "user", "content": '{"previous_response_id": "resp_1", "models": ["a"]}'}]},
        {"messages": [ASK], "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
        {"messages": [ASK], "tools": [{"name": "f", "input_schema": {"file_id": "odd, but a schema"}}]},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"file_id": "theirs"}}]}]},
        {"contents": [{"parts": [{"functionCall": {"name": "f", "args": {"file_id": "theirs"}}}]}]},
        {"messages": [ASK], "metadata": {"file_id": "a label"}},
        {"input": "x", "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"contents": [{"parts": [{"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}}]}]},
        {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": "4"}]},
    ],
)
def test_what_is_not_kept_there_is_left_alone(request_body: dict[str, Any]) -> None:
    assert not needs_own_key(msgspec.json.encode(request_body))


@pytest.mark.parametrize("body", [b"", b"{", b'["file_id"]', b'{"a":' + b'{"file_id":' * 100_000])
def test_what_is_no_request_names_nothing(body: bytes) -> None:
    assert not needs_own_key(body)
