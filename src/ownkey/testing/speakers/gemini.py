"""Gemini's generateContent."""

from __future__ import annotations

from typing import Any, Final

from ownkey.testing.replies import Reply, Spoken, cut
from ownkey.testing.speakers.sse import encode, unnamed

_FINISH: Final = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "refusal": "SAFETY",
}


def usage(reply: Reply) -> dict[str, Any]:
    """Input includes what was cached; the candidates' tokens exclude the thoughts."""
    told = {
        "promptTokenCount": reply.input_total,
        "candidatesTokenCount": reply.output_text,
        "totalTokenCount": reply.input_total + reply.output_total,
    }
    if reply.cache_read:
        told["cachedContentTokenCount"] = reply.cache_read
    if reply.output_reasoning:
        told["thoughtsTokenCount"] = reply.output_reasoning
    return told


def speak(reply: Reply, request: dict[str, Any], model: str) -> Spoken:
    """A whole answer."""
    told = usage(reply)
    return Spoken(encode(_response(model, _parts(reply, 1), told, reply)), told)


def stream(reply: Reply, request: dict[str, Any], model: str) -> list[Spoken]:
    """Whole parts, one to an event; the last event says why it ended. Usage is in every event and grows."""
    parts = _parts(reply, reply.pieces)
    events = []
    for position, part in enumerate(parts[:-1], start=1):
        so_far = {"promptTokenCount": reply.input_total, "totalTokenCount": reply.input_total + position}
        events.append(unnamed(_response(model, [part], so_far, None), so_far))
    told = usage(reply)
    return [*events, unnamed(_response(model, parts[-1:], told, reply), told)]


def _response(model: str, parts: list[dict[str, Any]], told: dict[str, Any], ended: Reply | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if ended is not None:
        candidate["finishReason"] = _FINISH[ended.ending]
        if ended.citations or ended.searches:
            candidate["groundingMetadata"] = _grounding(ended)
        if ended.logprobs:
            candidate["logprobsResult"] = _logprobs(cut(ended.text or "", ended.pieces))
            candidate["avgLogprobs"] = -0.25
    return {
        "candidates": [candidate],
        "usageMetadata": told,
        "modelVersion": model,
        "responseId": "simulated",
    }


def _parts(reply: Reply, pieces: int) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in cut(reply.thinking or "", pieces)]
    parts += [{"text": piece} for piece in cut(reply.text or "", pieces)]
    for position, call in enumerate(reply.calls):
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": call.arguments}}
        if position == 0 and (reply.thinking or reply.seal):
            # Of parallel calls only the first carries the signature.
            part["thoughtSignature"] = reply.seal or "c2ltdWxhdGVkLXNpZ25hdHVyZQ=="
        parts.append(part)
    return parts or [{"text": ""}]


def _grounding(reply: Reply) -> dict[str, Any]:
    chunks = [{"web": {"uri": url, "title": title}} for url, title in reply.citations]
    length = len((reply.text or "").encode())
    support = {
        "segment": {"startIndex": 0, "endIndex": length, "text": reply.text or ""},
        "groundingChunkIndices": list(range(len(chunks))),
    }
    searched = {"webSearchQueries": list(reply.searches)} if reply.searches else {}
    return {"groundingChunks": chunks, "groundingSupports": [support], **searched}


def _logprobs(words: list[str]) -> dict[str, Any]:
    chosen = [{"token": word, "tokenId": 1, "logProbability": -0.25} for word in words]
    top = [{"candidates": [entry, {"token": "?", "tokenId": 2, "logProbability": -1.5}]} for entry in chosen]
    return {"chosenCandidates": chosen, "topCandidates": top}
