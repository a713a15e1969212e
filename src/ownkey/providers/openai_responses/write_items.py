"""Turns as the input items of a provider's request.

Reasoning goes back only if OpenAI sealed it. Ids of items are left out except for reasoning: nothing is stored, and an
id that is looked up in vain is an error there. What the assistant said is one text, since parts of a message of its own
would need an id where the types are checked (vLLM); sources of a text are for people and are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
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
from ownkey.providers.openai_responses.models import takes_breakpoints
from ownkey.providers.translation import refuse_speakers

_CALL_ID_LENGTH: Final = 64
_EXTENSIONS: Final = {"application/pdf": "pdf", "text/plain": "txt", "text/markdown": "md", "text/csv": "csv"}

Item = dict[str, Any]


def write_input(conversation: Conversation, model: str) -> tuple[str | None, list[Item]]:
    """`instructions` and `input`. Raises RequestError for what the dialect cannot say."""
    writer = _ItemWriter(conversation, model)
    instructions, given = None, conversation.instructions
    if len(given) == 1 and given[0].cache_ttl is None:
        instructions = given[0].text
    elif given:
        writer.add_message("developer", given)
    for turn in conversation.turns:
        writer.add(turn)
    return instructions, writer.items


class _ItemWriter:
    """Collects items, turn by turn."""

    def __init__(self, conversation: Conversation, model: str) -> None:
        self.items: list[Item] = []
        self._marks = takes_breakpoints(model)
        self._freeform: set[str] = set()
        refuse_speakers(conversation.turns, "OpenAI's Responses")

    def add(self, turn: Turn) -> None:
        role = "developer" if turn.role == "system" else turn.role
        said: list[Text | Media | Refusal] = []
        for part in turn.parts:
            if isinstance(part, Text | Media | Refusal):
                said.append(part)
                continue
            self.add_message(role, said)
            said = []
            self._add_item(part)
        self.add_message(role, said)

    def add_message(self, role: str, parts: Iterable[Text | Media | Refusal]) -> None:
        """A message, if there is anything in it."""
        given = list(parts)
        content: str | list[Item]
        if role == "assistant" and all(isinstance(part, Text) for part in given):
            content = "".join(part.text for part in given if isinstance(part, Text))
        else:
            content = [part for one in given if (part := self._write_part(one, role)) is not None]
        if content:
            self.items.append({"type": "message", "role": role, "content": content})

    def _add_item(self, part: Part) -> None:
        match part:
            case Thinking():
                seal = part.seal
                if seal is None or seal.dialect is not Dialect.OPENAI_RESPONSES or not seal.data:
                    return
                item = {"type": "reasoning", "summary": _summary(part.text), "encrypted_content": seal.data}
                self.items.append({**item, "id": seal.id} if seal.id else item)
            case ToolCall():
                self._add_call(part)
            case ToolResult():
                kind = "custom_tool_call_output" if part.call_id in self._freeform else "function_call_output"
                self.items.append({"type": kind, "call_id": _call_id(part.call_id), "output": self._write_output(part)})

    def _add_call(self, call: ToolCall) -> None:
        kind, field, text = "function_call", "arguments", call.arguments
        if call.freeform:
            kind, field = "custom_tool_call", "input"
            self._freeform.add(call.id)
        self.items.append({"type": kind, "call_id": _call_id(call.id), "name": call.name, field: text})

    def _write_output(self, result: ToolResult) -> str | list[Item]:
        """The dialect has no flag for a tool that failed, so the words say it."""
        parts = result.content
        if result.is_error and not (parts and isinstance(parts[0], Text) and parts[0].text.lower().startswith("error")):
            parts = [Text(text="Error: "), *parts]
        if all(isinstance(part, Text) and not part.cache_ttl for part in parts) and (len(parts) < 2 or result.is_error):
            return "".join(part.text for part in parts if isinstance(part, Text))
        return [part for one in parts if (part := self._write_part(one, "user")) is not None]

    def _write_part(self, part: Text | Media | Refusal, role: str) -> Item | None:
        if isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text} if role == "assistant" else _text(part.text)
        if isinstance(part, Media):
            if role != "user":
                raise RequestError(f"OpenAI takes no {part.kind} in a turn of this role.", param="messages")
            return self._mark(_write_media(part), part.cache_ttl)
        if not part.text:
            return None
        if role == "assistant":
            return {"type": "output_text", "text": part.text, "annotations": []}
        return self._mark(_text(part.text), part.cache_ttl)

    def _mark(self, part: Item, ttl: CacheTTL | None) -> Item:
        """Older models cache by themselves and know no marks: to them it was advice."""
        if ttl is None or not self._marks:
            return part
        mark = {"mode": "explicit", "ttl": "12h"} if ttl == "1h" else {"mode": "explicit"}
        return {**part, "prompt_cache_breakpoint": mark}


def _call_id(identifier: str) -> str:
    """Ids of other providers may be longer than OpenAI takes; a call and its output are cut alike."""
    if len(identifier) <= _CALL_ID_LENGTH:
        return identifier
    return "call_" + hashlib.sha256(identifier.encode()).hexdigest()[:48]


def _text(text: str) -> Item:
    return {"type": "input_text", "text": text}


def _summary(text: str) -> list[Item]:
    return [{"type": "summary_text", "text": text}] if text else []


def _write_media(media: Media) -> Item:
    url = media.url or f"data:{media.media_type or 'application/octet-stream'};base64,{media.data}"
    if media.kind == "image":
        return {"type": "input_image", "image_url": url, "detail": media.detail or "auto"}
    if media.kind != "document":
        raise RequestError(f"OpenAI's Responses take no {media.kind}.", param="messages")
    if media.url is not None:
        return {"type": "input_file", "file_url": url}
    name = media.name or f"document.{_EXTENSIONS.get(media.media_type or '', 'pdf')}"
    return {"type": "input_file", "filename": name, "file_data": url}
