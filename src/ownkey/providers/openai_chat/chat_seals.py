"""What a provider of the chat dialect wants back of its reasoning, as a seal that others carry for it.

There is no one field for it: DeepSeek wants `reasoning_content` back with tool calls, OpenRouter its
`reasoning_details`, Gemini's compatible endpoint the `extra_content` of a call. Others refuse all of these, so a seal
is given back only to the model that it came from: its `id` is that model's name. Its `data` is the name of the field
that holds the thinking's text, or the whole value of the field in JSON.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from ownkey.domain.provider import Dialect
from ownkey.providers.conversation import Seal, Thinking, ToolCall
from ownkey.providers.unreadable import UNREADABLE

T = TypeVar("T")

_TEXT_FIELDS: Final = ("reasoning_content", "reasoning")
_DETAILS: Final = msgspec.json.Decoder(list[dict[str, Any]])
_EXTRA: Final = msgspec.json.Decoder(dict[str, Any])


def seal_text(field: str, model: str) -> Seal:
    """The seal of thinking that came in a field of text."""
    return Seal(Dialect.OPENAI_CHAT, field, id=model)


def seal_value(value: object, model: str) -> Seal:
    """The seal of `reasoning_details` or of a call's `extra_content`."""
    return Seal(Dialect.OPENAI_CHAT, msgspec.json.encode(value).decode(), id=model)


def open_thinking(parts: list[Thinking], model: str, *, has_calls: bool) -> dict[str, Any]:
    """The fields of an assistant's message that give these parts back."""
    texts: dict[str, list[str]] = {}
    given: list[dict[str, Any]] = []
    for part in parts:
        seal = part.seal
        if seal is None or seal.dialect is not Dialect.OPENAI_CHAT or seal.id != model:
            continue
        if seal.data in _TEXT_FIELDS:
            if has_calls:  # without calls it is ignored at best
                texts.setdefault(seal.data, []).append(part.text)
        elif seal.data.startswith("["):
            details = _decode(_DETAILS, seal.data)
            given += details or []
    fields: dict[str, Any] = {field: "".join(pieces) for field, pieces in texts.items()}
    if given:
        fields["reasoning_details"] = given
    return fields


def open_call(call: ToolCall, model: str) -> dict[str, Any] | None:
    """The `extra_content` of a call."""
    seal = call.seal
    if seal is None or seal.dialect is not Dialect.OPENAI_CHAT or seal.id != model or not seal.data.startswith("{"):
        return None
    return _decode(_EXTRA, seal.data)


def _decode(decoder: msgspec.json.Decoder[T], text: str) -> T | None:
    """A seal has been in a client's hands."""
    try:
        return decoder.decode(text)
    except UNREADABLE:
        return None
