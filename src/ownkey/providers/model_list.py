"""A provider's own list of models, as `GET /models` gives it to one key, and what it says of each.

Providers agree on `data` with an `id` each and on little else. What more they say is read where it is said in a word
that is known here; nothing is concluded from what they leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.settings import check_model
from ownkey.errors import RequestError
from ownkey.providers.dialect import auth_header

_CONTEXT_LIMIT: Final = 1_000_000_000
_TOKEN_LIMIT: Final = 500
# Groq, Mistral, OpenRouter and Together, vLLM, Anthropic, Gemini.
_CONTEXT_WORDS: Final = (
    "context_window",
    "max_context_length",
    "context_length",
    "max_model_len",
    "max_input_tokens",
    "inputTokenLimit",
)
_PREFIX: Final = "models/"  # Gemini's; requests are understood without it too


class ListedModel(Struct, frozen=True, kw_only=True):
    """One entry. None: the provider does not say."""

    id: str
    context_tokens: int | None = None
    tools: bool | None = None
    images: bool | None = None
    json_schema: bool | None = None
    embedding: bool | None = None


class ModelPage(Struct, frozen=True, kw_only=True):
    """One page. `after` is what the next one follows; None at the end."""

    models: tuple[ListedModel, ...]
    after: str | None = None


def build_list_request(provider: Provider, base_url: str, after: str | None = None) -> UpstreamRequest:
    """The request for a page of the list, without the secret."""
    path = "/models"
    # 1000 is the largest page; by default it is 20, Google's 50.
    if provider.dialect is Dialect.ANTHROPIC_MESSAGES:
        path += "?limit=1000" + ("" if after is None else f"&after_id={quote(after, safe='')}")
    elif provider.dialect is Dialect.GEMINI:
        path += "?pageSize=1000" + ("" if after is None else f"&pageToken={quote(after, safe='')}")
    elif after is not None:
        path += f"?after={quote(after, safe='')}"
    headers = (("accept", "application/json"), *provider.headers.items())
    return UpstreamRequest("GET", base_url.rstrip("/") + path, headers, b"", auth_header(provider))


def read_model_page(body: bytes) -> ModelPage | None:
    """The entries that a request could name; None when this is no list of models. Raises ValueError for no JSON."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("the answer is not JSON") from None
    # The list is wrapped in `data`, in `models` or not at all.
    wrapped = answer if isinstance(answer, dict) else {"data": answer}
    entries = next((wrapped[name] for name in ("data", "models") if isinstance(wrapped.get(name), list)), None)
    if entries is None:
        return None
    last = wrapped.get("last_id") if wrapped.get("has_more") is True else wrapped.get("nextPageToken")
    return ModelPage(
        models=tuple(model for entry in entries if (model := _read_entry(entry)) is not None),
        after=last if isinstance(last, str) and 0 < len(last) <= _TOKEN_LIMIT else None,
    )


def _read_entry(entry: Any) -> ListedModel | None:
    if not isinstance(entry, dict):
        return None
    methods = entry.get("supportedGenerationMethods")  # Gemini, which has no `id`
    name = entry.get("id") if methods is None else entry.get("name")
    if not isinstance(name, str):
        return None
    try:
        name = check_model(name.removeprefix(_PREFIX))
    except RequestError:
        return None
    words = _dict(entry.get("capabilities"))  # Mistral, Anthropic
    modalities = _dict(entry.get("architecture")).get("input_modalities")  # OpenRouter
    parameters = entry.get("supported_parameters")  # OpenRouter
    kind = entry.get("type")  # Together
    return ListedModel(
        id=name,
        context_tokens=_read_context(entry),
        tools=_first(_flag(words, "function_calling"), _names(parameters, "tools")),
        images=_first(_flag(words, "vision"), _flag(words, "image_input"), _names(modalities, "image")),
        json_schema=_first(_flag(words, "structured_outputs"), _names(parameters, "structured_outputs")),
        embedding=_first(
            kind == "embedding" if isinstance(kind, str) and kind != "model" else None,
            None if methods is None else _names(methods, "generateContent") is False,
        ),
    )


def _read_context(entry: Mapping[str, Any]) -> int | None:
    found = [entry.get(word) for word in _CONTEXT_WORDS]
    return next((n for n in found if type(n) is int and 0 < n <= _CONTEXT_LIMIT), None)


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _flag(words: Mapping[str, Any], name: str) -> bool | None:
    value = words.get(name)
    if isinstance(value, dict):  # Anthropic's `{"supported": true}`
        value = value.get("supported")
    return value if isinstance(value, bool) else None


def _names(values: object, name: str) -> bool | None:
    return name in values if isinstance(values, list) else None


def _first(*answers: bool | None) -> bool | None:
    return next((answer for answer in answers if answer is not None), None)
