"""How many tokens a conversation has, roughly, for providers that do not say. Nothing is billed or refused by it."""

from __future__ import annotations

from typing import Final

import msgspec

from ownkey.providers.conversation import Conversation, Media, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from ownkey.providers.unreadable import UNREADABLE

# English prose and code have about four characters to a token, other scripts between one and two.
_ASCII_PER_TOKEN: Final = 4.0
_OTHER_PER_TOKEN: Final = 1.5
_PER_TURN: Final = 4
_PER_TOOL: Final = 12
# A picture of a megapixel; a page of a document is about as much, in some fifty kilobytes. Sound: 32 tokens a second.
_PER_PICTURE: Final = 1_000
_BASE64_PER_PAGE: Final = 70_000
_BASE64_PER_SECOND: Final = 22_000


def estimate(conversation: Conversation) -> int:
    """The estimate, at least 1."""
    total = float(sum(count_text(text.text) for text in conversation.instructions))
    for turn in conversation.turns:
        total += _PER_TURN + sum(_count_part(part) for part in turn.parts)
    for tool in conversation.tools:
        total += _PER_TOOL + count_text(tool.name) + count_text(tool.description or "") + _count_json(tool.schema)
    if conversation.output is not None:
        total += _count_json(conversation.output.schema)
    return max(1, round(total))


def count_text(text: str) -> float:
    """The tokens of a text."""
    if text.isascii():
        return len(text) / _ASCII_PER_TOKEN
    ascii_characters = len(text.encode("ascii", "ignore"))
    return ascii_characters / _ASCII_PER_TOKEN + (len(text) - ascii_characters) / _OTHER_PER_TOKEN


def _count_part(part: Part) -> float:
    if isinstance(part, Text | Refusal | Thinking):
        return count_text(part.text)
    if isinstance(part, ToolCall):
        return _PER_TOOL + count_text(part.name) + count_text(part.arguments)
    if isinstance(part, ToolResult):
        return _PER_TOOL + sum(_count_part(inner) for inner in part.content)
    return _count_media(part)


def _count_media(part: Media) -> float:
    size = len(part.data or "")
    if part.kind == "document":
        return _PER_PICTURE * max(1.0, size / _BASE64_PER_PAGE)
    if part.kind in ("audio", "video"):
        return 32 * max(1.0, size / _BASE64_PER_SECOND)
    return _PER_PICTURE


def _count_json(value: object) -> float:
    if not value:
        return 0
    try:
        return len(msgspec.json.encode(value)) / _ASCII_PER_TOKEN
    except (*UNREADABLE, TypeError):
        return 0
