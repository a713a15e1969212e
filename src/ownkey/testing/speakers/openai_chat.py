"""OpenAI Chat Completions."""

from __future__ import annotations

import json
from typing import Any, Final

from ownkey.testing.replies import Reply, Spoken, cut
from ownkey.testing.speakers.sse import encode, unnamed

_FINISH: Final = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
}
_CREATED: Final = 1_760_000_000


def usage(reply: Reply) -> dict[str, Any]:
    """The parts are inside the totals."""
    return {
        "prompt_tokens": reply.input_total,
        "completion_tokens": reply.output_total,
        "total_tokens": reply.input_total + reply.output_total,
        "prompt_tokens_details": {"cached_tokens": reply.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reply.output_reasoning, "audio_tokens": 0},
    }


def speak(reply: Reply, request: dict[str, Any], model: str) -> Spoken:
    """A whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
    if reply.thinking:
        message["reasoning_content"] = reply.thinking
    if reply.calls:
        message["tool_calls"] = [_call(reply, position) for position in range(len(reply.calls))]
    message["annotations"] = _annotations(reply)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": _logprobs(cut(reply.text or "", reply.pieces)) if reply.logprobs else None,
    }
    choice["finish_reason"] = _finish(reply)
    told = usage(reply)
    return Spoken(encode({**_frame(model, "chat.completion"), "choices": [choice], "usage": told}), told)


def stream(reply: Reply, request: dict[str, Any], model: str) -> list[Spoken]:
    """The same in chunks; usage comes last, if the client asked for it."""
    frame = _frame(model, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> Spoken:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return unnamed({**frame, "choices": [choice]})

    events = [chunk({"role": "assistant", "content": None if reply.text is None else ""})]
    events += [chunk({"reasoning_content": piece}) for piece in cut(reply.thinking or "", reply.pieces)]
    for piece in cut(reply.text or "", reply.pieces):
        events.append(chunk({"content": piece}, logprobs=_logprobs([piece]) if reply.logprobs else None))
    if reply.citations:
        events.append(chunk({"annotations": _annotations(reply)}))
    events += [chunk({"refusal": piece}) for piece in cut(reply.refusal or "", reply.pieces)]
    events += [chunk({"tool_calls": [delta]}) for delta in _call_deltas(reply)]
    events.append(chunk({}, _finish(reply)))
    options = request.get("stream_options") or {}
    if options.get("include_usage"):
        told = usage(reply)
        events.append(Spoken(unnamed({**frame, "choices": [], "usage": told}).data, told))
    return [*events, Spoken(b"data: [DONE]\n\n")]


def _frame(model: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-simulated", "object": kind, "created": _CREATED, "model": model}


def _finish(reply: Reply) -> str:
    # OpenAI itself says `stop` when the model refuses in words; a filter says `content_filter`.
    return "stop" if reply.ending == "refusal" and reply.refusal else _FINISH[reply.ending]


def _call(reply: Reply, position: int) -> dict[str, Any]:
    call = reply.calls[position]
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": f"call_simulated{position}", "type": "function", "function": function}


def _call_deltas(reply: Reply) -> list[dict[str, Any]]:
    starts, rests = [], []
    for position in range(len(reply.calls)):
        call = _call(reply, position)
        pieces = cut(call["function"]["arguments"], reply.pieces)
        starts.append({"index": position, **call, "function": {"name": call["function"]["name"], "arguments": ""}})
        rests.append([{"index": position, "function": {"arguments": piece}} for piece in pieces])
    if not reply.interleave:
        return [delta for start, rest in zip(starts, rests, strict=True) for delta in (start, *rest)]
    longest = max((len(rest) for rest in rests), default=0)
    return [*starts, *(rest[turn] for turn in range(longest) for rest in rests if turn < len(rest))]


def _annotations(reply: Reply) -> list[dict[str, Any]]:
    length = len(reply.text or "")
    return [
        {"type": "url_citation", "url_citation": {"url": url, "title": title, "start_index": 0, "end_index": length}}
        for url, title in reply.citations
    ]


def _logprobs(tokens: list[str]) -> dict[str, Any]:
    def entry(token: str, value: float) -> dict[str, Any]:
        return {"token": token, "logprob": value, "bytes": list(token.encode())}

    content = [{**entry(token, -0.25), "top_logprobs": [entry(token, -0.25), entry("?", -1.5)]} for token in tokens]
    return {"content": content, "refusal": None}
