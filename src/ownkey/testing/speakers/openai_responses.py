"""OpenAI Responses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from ownkey.testing.replies import Reply, Spoken, cut
from ownkey.testing.speakers.sse import encode, named

_CREATED: Final = 1_760_000_000


def usage(reply: Reply) -> dict[str, Any]:
    """The parts are inside the totals."""
    return {
        "input_tokens": reply.input_total,
        "input_tokens_details": {"cached_tokens": reply.cache_read, "cache_write_tokens": reply.cache_write},
        "output_tokens": reply.output_total,
        "output_tokens_details": {"reasoning_tokens": reply.output_reasoning},
        "total_tokens": reply.input_total + reply.output_total,
    }


def speak(reply: Reply, request: dict[str, Any], model: str) -> Spoken:
    """A whole response."""
    told = usage(reply)
    return Spoken(encode(_ended(reply, request, model, told)), told)


def stream(reply: Reply, request: dict[str, Any], model: str) -> list[Spoken]:
    """The same as numbered events."""
    told = usage(reply)
    final = _ended(reply, request, model, told)
    begun = {**final, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    begun["completed_at"] = None
    numbered: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(final["output"]):
        numbered += _item_events(item, index, reply)
    kind = "response.incomplete" if final["status"] == "incomplete" else "response.completed"
    numbered.append({"type": kind, "response": final})
    events = [named({**event, "sequence_number": number}) for number, event in enumerate(numbered)]
    return [*events[:-1], Spoken(events[-1].data, told)]


def _ended(reply: Reply, request: dict[str, Any], model: str, told: dict[str, Any]) -> dict[str, Any]:
    incomplete = {"length": "max_output_tokens", "refusal": None if reply.refusal else "content_filter"}.get(
        reply.ending
    )
    return {
        "id": "resp_simulated",
        "object": "response",
        "created_at": _CREATED,
        "completed_at": _CREATED + 1,
        "status": "incomplete" if incomplete else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "model": model,
        "output": _items(reply),
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": request.get("previous_response_id"),
        "reasoning": request.get("reasoning") or {"effort": None, "summary": None},
        "store": request.get("store", True),
        "temperature": request.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(request.get("text") or {})},
        "tool_choice": request.get("tool_choice", "auto"),
        "tools": request.get("tools") or [],
        "top_p": request.get("top_p", 1.0),
        "top_logprobs": request.get("top_logprobs") or 0,
        "truncation": "disabled",
        "usage": told,
        "user": None,
        "metadata": request.get("metadata") or {},
    }


def _items(reply: Reply) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reply.thinking or reply.seal:
        summary = [{"type": "summary_text", "text": reply.thinking}] if reply.thinking else []
        seal = reply.seal or "c2ltdWxhdGVkLXNlYWw="
        items.append({"id": "rs_simulated", "type": "reasoning", "summary": summary, "encrypted_content": seal})
    for position, query in enumerate(reply.searches):
        action = {"type": "search", "query": query}
        items.append({"id": f"ws_{position}", "type": "web_search_call", "status": "completed", "action": action})
    content: list[dict[str, Any]] = []
    if reply.text:
        logprobs = _logprobs(cut(reply.text, reply.pieces)) if reply.logprobs else []
        text = {"type": "output_text", "text": reply.text, "annotations": _annotations(reply), "logprobs": logprobs}
        content.append(text)
    if reply.refusal:
        content.append({"type": "refusal", "refusal": reply.refusal})
    if content:
        status = "incomplete" if reply.ending == "length" else "completed"
        message = {"id": "msg_simulated", "type": "message", "role": "assistant", "status": status}
        items.append({**message, "content": content})
    for position, call in enumerate(reply.calls):
        item = {"id": f"fc_simulated{position}", "type": "function_call", "status": "completed"}
        item |= {"call_id": f"call_simulated{position}", "name": call.name, "arguments": json.dumps(call.arguments)}
        items.append(item)
    return items


def _item_events(item: dict[str, Any], index: int, reply: Reply) -> Iterator[dict[str, Any]]:
    at = {"item_id": item["id"], "output_index": index}
    empty: dict[str, dict[str, Any]] = {
        "reasoning": {"summary": []},
        "message": {"content": []},
        "function_call": {"arguments": ""},
        "web_search_call": {},
    }
    opened = {**item, **empty[item["type"]]}
    if "status" in opened:
        opened["status"] = "in_progress"
    yield {"type": "response.output_item.added", "output_index": index, "item": opened}
    if item["type"] == "reasoning":
        for part, summary in enumerate(item["summary"]):
            place = {**at, "summary_index": part}
            blank = {"type": "summary_text", "text": ""}
            yield {"type": "response.reasoning_summary_part.added", **place, "part": blank}
            for piece in cut(summary["text"], reply.pieces):
                yield {"type": "response.reasoning_summary_text.delta", **place, "delta": piece}
            yield {"type": "response.reasoning_summary_text.done", **place, "text": summary["text"]}
            yield {"type": "response.reasoning_summary_part.done", **place, "part": summary}
    elif item["type"] == "message":
        for part, content in enumerate(item["content"]):
            yield from _content_events(content, {**at, "content_index": part}, reply)
    elif item["type"] == "function_call":
        for piece in cut(item["arguments"], reply.pieces):
            yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **at, **done}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _content_events(content: dict[str, Any], place: dict[str, Any], reply: Reply) -> Iterator[dict[str, Any]]:
    if content["type"] == "refusal":
        yield {"type": "response.content_part.added", **place, "part": {"type": "refusal", "refusal": ""}}
        for piece in cut(content["refusal"], reply.pieces):
            yield {"type": "response.refusal.delta", **place, "delta": piece}
        yield {"type": "response.refusal.done", **place, "refusal": content["refusal"]}
    else:
        blank = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield {"type": "response.content_part.added", **place, "part": blank}
        for piece in cut(content["text"], reply.pieces):
            logprobs = _logprobs([piece]) if reply.logprobs else []
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": logprobs}
        for number, annotation in enumerate(content["annotations"]):
            noted = {"annotation_index": number, "annotation": annotation}
            yield {"type": "response.output_text.annotation.added", **place, **noted}
        done = {"text": content["text"], "logprobs": content["logprobs"]}
        yield {"type": "response.output_text.done", **place, **done}
    yield {"type": "response.content_part.done", **place, "part": content}


def _annotations(reply: Reply) -> list[dict[str, Any]]:
    length = len(reply.text or "")
    return [
        {"type": "url_citation", "url": url, "title": title, "start_index": 0, "end_index": length}
        for url, title in reply.citations
    ]


def _logprobs(tokens: list[str]) -> list[dict[str, Any]]:
    def entry(token: str, value: float) -> dict[str, Any]:
        return {"token": token, "logprob": value, "bytes": list(token.encode())}

    return [{**entry(token, -0.25), "top_logprobs": [entry(token, -0.25), entry("?", -1.5)]} for token in tokens]
