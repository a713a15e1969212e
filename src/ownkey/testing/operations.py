"""What is not text generation: pictures, sound, moderation, ranking, counting, and Google's lists and vectors."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from typing import Any, Final

from msgspec import Struct

from ownkey.domain.provider import Dialect, Provider

_JSON: Final = "application/json"
_SAMPLE_RATE: Final = 8_000


class Sent(Struct, frozen=True):
    """A whole answer, and the usage object in it if there is one."""

    content_type: str
    body: bytes
    usage: dict[str, Any] | None = None


def perform(provider: Provider, method: str, rest: str, body: Any, model: str | None) -> Sent | None:
    """The answer of a provider to a request of such a kind; None where llmock or a speaker answers.

    `body` is the decoded JSON, or the fields of a form.
    """
    fields = body if isinstance(body, dict) else {}
    if method == "GET":
        if (provider.id, rest) == ("openrouter", "/key"):
            return _json({"data": {"label": "sk-or-v1-simulated", "usage": 0, "limit": None, "is_free_tier": False}})
        if provider.dialect is Dialect.GEMINI and rest.partition("?")[0] == "/models":
            return _json({"models": [_google_model(name, provider) for name in provider.models]})
        return None
    if rest in ("/images/generations", "/images/edits"):
        return _draw(fields)
    if rest == "/audio/speech":
        return Sent(
            _SPEECH.get(str(fields.get("response_format", "mp3")), "audio/mpeg"), _say(str(fields.get("input", "")))
        )
    if rest in ("/audio/transcriptions", "/audio/translations"):
        return _hear(fields)
    if rest == "/moderations":
        return _moderate(fields, model)
    if rest == "/rerank":
        return _rank(fields, model)
    size = max(1, len(json.dumps(body)) // 4)
    if rest == "/responses/input_tokens":
        return _json({"object": "response.input_tokens", "input_tokens": size})
    if rest == "/messages/count_tokens":
        return _json({"input_tokens": size})
    if rest.endswith(":countTokens"):
        return _json({"totalTokens": size})
    if rest.endswith(":embedContent"):
        return _json({"embedding": {"values": _vector(fields)}})
    if rest.endswith(":batchEmbedContents"):
        return _json({"embeddings": [{"values": _vector(one)} for one in fields.get("requests", ())]})
    return None


def read_form(raw: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a multipart form; a file is told as its name and size."""
    found = re.search(r'boundary="?([^";]+)', content_type)
    if found is None:
        return {}
    fields: dict[str, Any] = {}
    for part in raw.split(b"--" + found[1].encode())[1:-1]:
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'\bname="([^"]*)"', head)
        file = re.search(rb'filename="([^"]*)"', head)
        if name is not None:
            told = {"filename": file[1].decode(), "bytes": len(content)} if file else content.decode("utf-8", "replace")
            fields[name[1].decode()] = told
    return fields


def _json(value: Any) -> Sent:
    usage = value.get("usage") if isinstance(value, dict) else None
    return Sent(_JSON, json.dumps(value, separators=(",", ":")).encode(), usage)


def _google_model(name: str, provider: Provider) -> dict[str, Any]:
    known = provider.models[name]
    methods = ["embedContent"] if known.embedding else ["generateContent", "countTokens"]
    return {
        "name": f"models/{name}",
        "displayName": name,
        "inputTokenLimit": known.context_tokens or 1_000_000,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
    }


def _draw(fields: dict[str, Any]) -> Sent:
    """One pixel for each picture that was asked for."""
    row = zlib.compress(b"\x00\xff\x00\x00")
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)), (b"IDAT", row), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    count = int(fields.get("n") or 1)
    usage = {"input_tokens": 12, "output_tokens": 272 * count, "total_tokens": 12 + 272 * count}
    usage["input_tokens_details"] = {"text_tokens": 12, "image_tokens": 0}  # type: ignore[assignment]
    picture = {"b64_json": base64.b64encode(png).decode()}
    return _json({"created": 1_760_000_000, "data": [picture] * count, "usage": usage})


_SPEECH: Final = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
}


def _say(text: str) -> bytes:
    """A hundredth of a second of silence for each character, as WAV."""
    samples = b"\x80" * (_SAMPLE_RATE // 100 * len(text))
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, _SAMPLE_RATE,
                         _SAMPLE_RATE, 1, 8, b"data", len(samples))  # fmt: skip
    return header + samples


def _hear(fields: dict[str, Any]) -> Sent:
    file = fields.get("file")
    heard = f"A simulated transcript of {file['filename'] if isinstance(file, dict) else 'nothing'}."
    kind = fields.get("response_format") or "json"
    if kind in ("text", "srt", "vtt"):
        return Sent("text/plain; charset=utf-8", heard.encode() + b"\n")
    if "whisper" in str(fields.get("model")):
        return _json({"text": heard, "usage": {"type": "duration", "seconds": 3}})
    details = {"text_tokens": 0, "audio_tokens": 14}
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": details,
        "output_tokens": 9,
        "total_tokens": 23,
    }
    return _json({"text": heard, "usage": usage})


def _moderate(fields: dict[str, Any], model: str | None) -> Sent:
    inputs = fields.get("input")
    results = [
        {
            "flagged": "violence" in str(one),
            "categories": {"violence": "violence" in str(one)},
            "category_scores": {"violence": 0.9 if "violence" in str(one) else 0.01},
        }
        for one in (inputs if isinstance(inputs, list) else [inputs])
    ]
    return _json({"id": "modr-simulated", "model": model, "results": results})


def _rank(fields: dict[str, Any], model: str | None) -> Sent:
    """By how many words of the query a document holds."""
    words = set(str(fields.get("query", "")).lower().split())
    documents = [one.get("text", "") if isinstance(one, dict) else str(one) for one in fields.get("documents", ())]
    scored = [
        (len(words & set(text.lower().split())) / (len(words) or 1), index) for index, text in enumerate(documents)
    ]
    scored.sort(key=lambda pair: (-pair[0], pair[1]))
    results = [{"index": index, "relevance_score": score} for score, index in scored][: fields.get("top_n")]
    meta = {"billed_units": {"search_units": 1}}
    return _json({"id": "rerank-simulated", "model": model, "results": results, "meta": meta})


def _vector(request: dict[str, Any]) -> list[float]:
    size = request.get("outputDimensionality") or 8
    text = json.dumps(request.get("content"))
    return [((zlib.crc32(f"{position}{text}".encode()) % 2001) - 1000) / 1000 for position in range(int(size))]
