"""The turns of a conversation as Claude wants them.

Users and the assistant take turns, so neighbours of one role are merged. A tool's result is a block inside the user's
turn. Instructions in mid-conversation stay where they are for the models that take them there, else they join the
`system` text.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.models import takes_system_turns
from ownkey.providers.conversation import (
    CacheTTL,
    Conversation,
    Media,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from ownkey.providers.freeform import wrap
from ownkey.providers.translation import refuse_speakers
from ownkey.providers.unreadable import UNREADABLE

_TOOL_ID: Final = re.compile(r"[^A-Za-z0-9_-]")
_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, Raw])
_THOUGHTS: Final = ("thinking", "redacted_thinking")

Block = dict[str, Any]


class Written(Struct):
    """`may_budget` is false where the last turns answer tool calls that came without signed thinking."""

    messages: list[Block]
    system: list[Block]
    may_budget: bool


def tool_id(value: str) -> str:
    """Ids of other providers may hold dots and colons, which Claude refuses: a chain may have begun elsewhere."""
    return _TOOL_ID.sub("_", value)[:200]


def write_conversation(conversation: Conversation, model: str) -> Written:
    """The messages and the system text. Raises RequestError for what Claude cannot read."""
    refuse_speakers(conversation.turns, "Claude")
    system = _write_texts(conversation.instructions)
    messages: list[Block] = []
    instructions: list[Block] = []
    for turn in conversation.turns:
        if turn.role == "system":
            instructions += _write_texts(turn.parts)
            continue
        blocks = _write_parts(turn)
        if not blocks:
            continue
        if instructions:
            _place(instructions, messages, system, model, before=turn.role)
            instructions = []
        if messages and messages[-1]["role"] == turn.role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": turn.role, "content": blocks})
    if instructions:
        _place(instructions, messages, system, model, before=None)
    if not messages:
        raise RequestError("There is no message with content.", param="messages")
    may_budget = _may_budget(messages)
    for message in messages:
        message["content"] = _simplify(_results_first(message["content"]))
    return Written(messages, system, may_budget)


def _place(
    instructions: list[Block], messages: list[Block], system: list[Block], model: str, *, before: str | None
) -> None:
    """Claude takes a system message only right after a user's and only at the end or before the assistant's."""
    after_user = bool(messages) and messages[-1]["role"] == "user"
    if after_user and before != "user" and takes_system_turns(model):
        messages.append({"role": "system", "content": instructions})
    else:
        system += instructions


def _may_budget(messages: list[Block]) -> bool:
    turns = [message for message in messages if message["role"] != "system"]
    if len(turns) < 2 or turns[-1]["role"] != "user":
        return True
    in_tool_loop = any(block["type"] == "tool_result" for block in turns[-1]["content"])
    return not in_tool_loop or turns[-2]["content"][0]["type"] in _THOUGHTS


def _results_first(blocks: list[Block]) -> list[Block]:
    """Claude wants the results of tools before whatever else is in their message."""
    results = [block for block in blocks if block["type"] == "tool_result"]
    if not results or len(results) == len(blocks):
        return blocks
    return results + [block for block in blocks if block["type"] != "tool_result"]


def _simplify(blocks: list[Block]) -> str | list[Block]:
    """A single text without anything beside it, as the text itself."""
    only = blocks[0]
    text: str = only.get("text", "")
    return text if len(blocks) == 1 and only["type"] == "text" and len(only) == 2 else blocks


def _write_texts(parts: list[Text] | list[Part]) -> list[Block]:
    blocks = []
    for part in parts:
        if not isinstance(part, Text):
            raise RequestError("Claude takes instructions as text only.", param="messages")
        block = _write_text(part)
        if block is not None:
            blocks.append(block)
    return blocks


def _write_parts(turn: Turn) -> list[Block]:
    blocks: list[Block] = []
    for part in turn.parts:
        block = _write_part(part, turn.role)
        if block is not None:
            blocks.append(block)
    return blocks


def _write_part(part: Part, role: str) -> Block | None:
    match part:
        case Text():
            return _write_text(part)
        case Media():
            if role == "assistant":
                raise RequestError(f"Claude takes no {part.kind} in an assistant's message.", param="messages")
            return _write_media(part)
        case ToolResult():
            return _write_tool_result(part)
        case ToolCall():
            return _write_tool_call(part)
        case Thinking():
            return _write_thinking(part)
        case Refusal():
            return {"type": "text", "text": part.text} if part.text.strip() else None


def _write_text(text: Text) -> Block | None:
    # Claude refuses a text block of nothing, and it says nothing.
    if not text.text or text.text.isspace():
        return None
    return _cached({"type": "text", "text": text.text}, text.cache_ttl)


def _cached(block: Block, ttl: CacheTTL | None) -> Block:
    if ttl is not None:
        block["cache_control"] = {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}
    return block


def _write_thinking(thinking: Thinking) -> Block | None:
    """Claude takes back only what it has signed itself."""
    seal = thinking.seal
    if seal is None or seal.dialect is not Dialect.ANTHROPIC_MESSAGES:
        return None
    if seal.redacted:
        return {"type": "redacted_thinking", "data": seal.data}
    return {"type": "thinking", "thinking": thinking.text, "signature": seal.data}


def _write_tool_call(call: ToolCall) -> Block:
    arguments = wrap(call.arguments) if call.freeform else call.arguments.strip() or "{}"
    try:
        raw = arguments.encode()
        _ARGUMENTS.decode(raw)
    except UNREADABLE:
        raise RequestError(
            f"The arguments of the call {call.id[:80]!r} are not a JSON object.", param="messages"
        ) from None
    block = {"type": "tool_use", "id": tool_id(call.id), "name": call.name, "input": Raw(raw)}
    return _cached(block, call.cache_ttl)


def _write_tool_result(result: ToolResult) -> Block:
    content = []
    for part in result.content:
        block = _write_text(part) if isinstance(part, Text) else _write_media(part)
        if block is not None:
            content.append(block)
    written: Block = {"type": "tool_result", "tool_use_id": tool_id(result.call_id)}
    if content:
        written["content"] = _simplify(content)
    if result.is_error:
        written["is_error"] = True
    return _cached(written, result.cache_ttl)


def _write_media(media: Media) -> Block:
    if media.kind == "audio":
        raise RequestError("Claude does not hear audio.", param="messages")
    if media.kind == "video":
        raise RequestError("Claude does not watch films.", param="messages")
    source = _write_document(media) if media.kind == "document" else _write_source(media, "An image")
    block: Block = {"type": media.kind, "source": source}
    if media.kind == "document" and media.name:
        block["title"] = media.name
    return _cached(block, media.cache_ttl)


def _write_source(media: Media, what: str) -> Block:
    if media.data is None:
        if media.url is None or not media.url.startswith("https://"):
            raise RequestError(f"{what} must be an https:// or a data: URL with base64.", param="messages")
        return {"type": "url", "url": media.url}
    if not media.media_type:
        raise RequestError(f"{what} needs its media type.", param="messages")
    return {"type": "base64", "media_type": media.media_type.lower(), "data": media.data}


def _write_document(media: Media) -> Block:
    kind = (media.media_type or "").lower()
    if media.data is None or not kind.startswith("text/"):
        return _write_source(media, "A file")
    try:
        text = base64.b64decode(media.data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise RequestError("A text file must be base64 of UTF-8.", param="messages") from None
    return {"type": "text", "media_type": "text/plain", "data": text}
