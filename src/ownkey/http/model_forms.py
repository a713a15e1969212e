"""Lists of models in the form of each client's own library, with what is known of a model beside it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.services.model_list import ModelEntries, ModelEntry

# When most models were made is not known here; the libraries want a time all the same.
_EPOCH: Final = "1970-01-01T00:00:00Z"
_PAGE_LIMIT: Final = 1_000
_ANTHROPIC_PAGE: Final = 20
_GOOGLE_PAGE: Final = 50


def write_list(listed: ModelEntries, dialect: Dialect, query: str) -> dict[str, Any]:
    """The list, or the page of it that `query` asks for where the form has pages. Raises RequestError."""
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        return _anthropic_page(listed.entries, dict(parse_qsl(query)))
    if dialect is Dialect.GEMINI:
        return _google_page(listed.entries, dict(parse_qsl(query)))
    return {"object": "list", "data": [write_model(entry, dialect) for entry in listed.entries]}


def write_model(entry: ModelEntry, dialect: Dialect) -> dict[str, Any]:
    """One model."""
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        return _anthropic_model(entry)
    if dialect is Dialect.GEMINI:
        return _google_model(entry)
    model: dict[str, Any] = {"id": entry.id, "object": "model", "created": 0, "owned_by": entry.owner}
    if entry.model is not None and entry.model.context_tokens is not None:
        model["context_window"] = entry.model.context_tokens
    return {**model, **_own_words(entry)}


def _own_words(entry: ModelEntry) -> dict[str, Any]:
    """Who would pay, who said that the model is there and how long ago, and what it can do: only what is known."""
    if entry.payer is None:
        return {}
    words: dict[str, Any] = {
        "credential": entry.payer.value,
        "source": entry.source,
        "age_seconds": entry.age_seconds,
    }
    if entry.model is not None:
        known = msgspec.to_builtins(entry.model)
        words |= {name: value for name, value in known.items() if name != "id" and value is not None}
    return {"ownkey": words}


def _anthropic_model(entry: ModelEntry) -> dict[str, Any]:
    model = {
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": _EPOCH,
        "lifecycle": "active",
        "max_input_tokens": entry.model.context_tokens if entry.model is not None else None,
        "max_tokens": None,
        "capabilities": None,
        "line": None,
        "deprecated_at": None,
        "retires_at": None,
    }
    return {**model, **_own_words(entry)}


def _anthropic_page(entries: tuple[ModelEntry, ...], query: dict[str, str]) -> dict[str, Any]:
    size = _read_size(query.get("limit"), _ANTHROPIC_PAGE, "limit")
    names = [entry.id for entry in entries]
    after, before = query.get("after_id"), query.get("before_id")
    if before in names:
        end = names.index(before)
        start = max(0, end - size)
        more = start > 0
    else:
        start = names.index(after) + 1 if after in names else 0
        end = start + size
        more = end < len(names)
    page = entries[start:end]
    return {
        "data": [_anthropic_model(entry) for entry in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def _google_model(entry: ModelEntry) -> dict[str, Any]:
    vectors = entry.model is not None and entry.model.embedding is True
    model: dict[str, Any] = {
        "name": f"models/{entry.id}",
        "baseModelId": entry.id,
        "version": "",
        "displayName": entry.id,
        "supportedGenerationMethods": (
            ["embedContent", "batchEmbedContents"]
            if vectors
            else ["generateContent", "streamGenerateContent", "countTokens"]
        ),
    }
    if entry.model is not None and entry.model.context_tokens is not None:
        model["inputTokenLimit"] = entry.model.context_tokens
    return {**model, **_own_words(entry)}


def _google_page(entries: tuple[ModelEntry, ...], query: dict[str, str]) -> dict[str, Any]:
    size = _read_size(query.get("pageSize"), _GOOGLE_PAGE, "pageSize")
    token = query.get("pageToken", "")
    start = int(token) if token.isascii() and token.isdecimal() and len(token) < 10 else 0
    page = entries[start : start + size]
    answer: dict[str, Any] = {"models": [_google_model(entry) for entry in page]}
    if start + size < len(entries):
        answer["nextPageToken"] = str(start + size)
    return answer


def _read_size(text: str | None, default: int, name: str) -> int:
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < 1:
        raise RequestError(f"`{name}` is a number from 1 to {_PAGE_LIMIT:,}.", param=name)
    return min(int(text), _PAGE_LIMIT)
