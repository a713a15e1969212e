"""Anthropic Messages."""

from __future__ import annotations

import json
from typing import Any, Final

from ownkey.testing.replies import Reply, Spoken, cut
from ownkey.testing.speakers.sse import encode, named

_FINISH: Final = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}


def usage(reply: Reply) -> dict[str, Any]:
    """Input excludes both kinds of cached input; thinking is inside the output."""
    searched = {"server_tool_use": {"web_search_requests": len(reply.searches)}} if reply.searches else {}
    return {
        **searched,
        "input_tokens": reply.input_uncached,
        "cache_creation_input_tokens": reply.cache_write,
        "cache_read_input_tokens": reply.cache_read,
        "output_tokens": reply.output_total,
        "output_tokens_details": {"thinking_tokens": reply.output_reasoning},
    }


def speak(reply: Reply, request: dict[str, Any], model: str) -> Spoken:
    """A whole message."""
    told = usage(reply)
    message = _message(model, _blocks(reply), told)
    message["stop_reason"], message["stop_sequence"] = _FINISH[reply.ending], reply.stop_sequence
    return Spoken(encode(message), told)


def stream(reply: Reply, request: dict[str, Any], model: str) -> list[Spoken]:
    """Blocks one after the other; input is told at the start, output at the end."""
    told = {**usage(reply), "output_tokens": 1}
    del told["output_tokens_details"]
    told.pop("server_tool_use", None)
    events = [named({"type": "message_start", "message": _message(model, [], told)}, told), named({"type": "ping"})]
    for index, block in enumerate(_blocks(reply)):
        deltas = _deltas(block, reply.pieces)
        events.append(named({"type": "content_block_start", "index": index, "content_block": _opened(block)}))
        events += [named({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
        events.append(named({"type": "content_block_stop", "index": index}))
    delta = {"stop_reason": _FINISH[reply.ending], "stop_sequence": reply.stop_sequence}
    late = ("output_tokens", "output_tokens_details", "server_tool_use")
    final = {name: value for name, value in usage(reply).items() if name in late}
    events.append(named({"type": "message_delta", "delta": delta, "usage": final}, {**told, **final}))
    return [*events, named({"type": "message_stop"})]


def _message(model: str, content: list[dict[str, Any]], told: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_simulated",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": told,
    }


def _blocks(reply: Reply) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if reply.thinking:
        seal = reply.seal or "c2ltdWxhdGVkLXNpZ25hdHVyZQ=="
        blocks.append({"type": "thinking", "thinking": reply.thinking, "signature": seal})
    text = reply.text if reply.text is not None else reply.refusal
    if text:
        block: dict[str, Any] = {"type": "text", "text": text}
        if reply.citations:
            block["citations"] = [_citation(url, title, text) for url, title in reply.citations]
        blocks.append(block)
    for position, call in enumerate(reply.calls):
        blocks.append(
            {"type": "tool_use", "id": f"toolu_simulated{position}", "name": call.name, "input": call.arguments}
        )
    return blocks


def _citation(url: str, title: str, text: str) -> dict[str, Any]:
    return {
        "type": "web_search_result_location",
        "url": url,
        "title": title,
        "cited_text": text,
        "encrypted_index": "c2ltdWxhdGVk",
    }


def _opened(block: dict[str, Any]) -> dict[str, Any]:
    """A block as it is announced: everything that grows is empty."""
    empty: dict[str, dict[str, Any]] = {
        "thinking": {"thinking": "", "signature": ""},
        "text": {"text": ""},
        "tool_use": {"input": {}},
    }
    opened = {**block, **empty[block["type"]]}
    if "citations" in opened:
        opened["citations"] = []
    return opened


def _deltas(block: dict[str, Any], pieces: int) -> list[dict[str, Any]]:
    if block["type"] == "thinking":
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"], pieces)]
        return [*thoughts, {"type": "signature_delta", "signature": block["signature"]}]
    if block["type"] == "text":
        texts = [{"type": "text_delta", "text": piece} for piece in cut(block["text"], pieces)]
        cited = [{"type": "citations_delta", "citation": citation} for citation in block.get("citations", ())]
        return [*texts, *cited]
    written = json.dumps(block["input"])
    return [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *cut(written, pieces)]]
