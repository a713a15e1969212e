"""A client that wants one call at a time gets one, whatever the provider says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownkey.domain.provider import Dialect, Provider
from ownkey.providers.dialect import Call
from ownkey.providers.gemini.outbound import GeminiOutbound
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound
from ownkey.providers.sse import read_event, split_events
from ownkey.providers.translation import Translation

PROVIDER = Provider(id="gemini", label="Gemini", dialect=Dialect.GEMINI, base_url="https://example.com")
ADAPTER = Translation(OpenAIChatInbound(), GeminiOutbound())


def make_call(parallel: bool | None, *, stream: bool = False) -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "parallel_tool_calls": parallel}
    return Call(operation="chat", body=json.dumps(body).encode(), model="gemini-3.8-flash", stream=stream)


def part(name: str) -> dict[str, Any]:
    return {"functionCall": {"id": name, "name": name, "args": {}}}


def respond(*parts: dict[str, Any]) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": "STOP"}
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 9}}


PARTS = ({"text": "Look: "}, part("a"), part("b"), {"text": "and"}, part("c"))


@pytest.mark.parametrize(("parallel", "names"), [(False, ["a"]), (True, ["a", "b", "c"]), (None, ["a", "b", "c"])])
def test_a_whole_answer(parallel: bool | None, names: list[str]) -> None:
    decoded = ADAPTER.decode(json.dumps(respond(*PARTS)).encode(), make_call(parallel))
    choice = json.loads(decoded.body)["choices"][0]
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == names
    assert choice["message"]["content"] == "Look: and"
    assert choice["finish_reason"] == "tool_calls"
    assert decoded.tokens is not None
    assert decoded.tokens.output_text == 9


@pytest.mark.parametrize(("parallel", "names"), [(False, ["a"]), (True, ["a", "b", "c"])])
def test_a_stream(parallel: bool, names: list[str]) -> None:
    decoder = ADAPTER.stream_decoder(PROVIDER, make_call(parallel, stream=True))
    data = b"data: " + json.dumps(respond(*PARTS)).encode() + b"\n\n"
    output = decoder.feed(data) + decoder.finish()
    chunks = [json.loads(read_event(event).data) for event in split_events(output)[:-1]]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or () if call.get("id")]
    assert [call["function"]["name"] for call in calls] == names
    assert [call["index"] for call in calls] == list(range(len(names)))
    assert "".join(delta.get("content") or "" for delta in deltas) == "Look: and"
    assert decoder.complete
    assert decoder.finish_reason == "tool_calls"
