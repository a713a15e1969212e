"""What a request takes from the place where a provider keeps it, or leaves to the provider to choose.

Earlier responses, files, containers, vector stores, caches and stored prompts belong to the account of a key. With the
operator's key that is everybody's account: whoever knows an id could read what another user left there. And a list of
models of its own, as OpenRouter takes it, would spend the operator's money on models that nobody priced beforehand. So
both go with a user's own key alone.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ownkey.providers.unreadable import UNREADABLE

# Where these bytes are nowhere, there is nothing to look for. An escape may hide any name.
_MARKS: Final = (
    b'_id"', b'_ids"', b'"container"', b'"conversation"', b'"models"', b'"route"', b'"prompt"', b'"cachedContent"',
    b'"cached_content"', b'"item_reference"', b"/files/", b"\\u",
)  # fmt: skip
# At the top of a body.
_CHOICES: Final = ("models", "route", "prompt", "conversation")
# Anywhere in it, where the value is an id or a list of ids.
_IDS: Final = frozenset(
    {
        "previous_response_id", "file_id", "file_ids", "vector_store_id", "vector_store_ids", "container",
        "container_id", "cachedContent", "cached_content",
    }
)  # fmt: skip
_FILE_ADDRESSES: Final = frozenset({"fileUri", "file_uri"})
# Schemas, and what models and tools say to each other: there any name may stand for anything.
_FREE: Final = frozenset(
    {"parameters", "input_schema", "inputSchema", "parametersJsonSchema", "schema", "json_schema", "responseSchema",
     "responseJsonSchema", "args", "response", "metadata"}
)  # fmt: skip
_DECODER: Final = msgspec.json.Decoder()


def needs_own_key(body: bytes) -> bool:
    """Whether a request of any dialect names something that is kept at the provider, or models of its own choice."""
    if not any(mark in body for mark in _MARKS):
        return False
    try:
        request = _DECODER.decode(body)
    except UNREADABLE:
        return False  # it goes nowhere
    if not isinstance(request, dict):
        return False
    return any(request.get(name) for name in _CHOICES) or _names_kept(request)


def _names_kept(value: Any) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            if one.get("type") == "item_reference":
                return True
            for name, held in one.items():
                if _is_reference(name, held):
                    return True
                if name not in _FREE and not (name == "input" and one.get("type") == "tool_use"):
                    waiting.append(held)
    return False


def _is_reference(name: str, value: Any) -> bool:
    if name in _IDS:
        return bool(value) and isinstance(value, str | list)
    return name in _FILE_ADDRESSES and isinstance(value, str) and "/files/" in value
