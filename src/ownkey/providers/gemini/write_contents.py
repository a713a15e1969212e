"""The turns of a conversation as Gemini wants them: user and model, one after the other.

Its own signatures go back to where they came from: a thought's to the call or the text that it stands at.
"""

from __future__ import annotations

from itertools import groupby
from mimetypes import guess_type
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec import Raw

from ownkey.errors import RequestError
from ownkey.providers import freeform
from ownkey.providers.conversation import Conversation, Media, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from ownkey.providers.gemini.media_urls import is_youtube
from ownkey.providers.gemini.models import is_before
from ownkey.providers.gemini.signatures import UNSIGNED, own_signature
from ownkey.providers.unreadable import UNREADABLE

_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, Raw])
# What may stand inside a function's response since Gemini 3; anything else stands beside it.
_INSIDE: Final = ("image/", "application/pdf", "text/plain")
_KINDS: Final = {"image": "image/jpeg", "document": "application/pdf", "audio": "audio/wav", "video": "video/mp4"}

Fields = dict[str, Any]


def write_contents(conversation: Conversation, model: str) -> list[Fields]:
    """`contents`. Raises RequestError for what Gemini cannot be told.

    A turn of a system, which is an instruction in mid-conversation, is not among them: see `write_instructions`.
    """
    writer = _Writer(model)
    said = [turn for turn in conversation.turns if turn.role != "system"]
    # What one side says in a row is one content, and a signature may stand in another turn than its text.
    for role, turns in groupby(said, key=attrgetter("role")):
        parts = [part for turn in turns for part in turn.parts]
        writer.add(role, parts)
    if not writer.contents:
        raise RequestError("There is no message with content.", param="messages")
    for content in writer.contents:
        parts = content["parts"]
        if content["role"] == "user":
            # Gemini wants the answers to its calls right after them.
            parts.sort(key=lambda part: "functionResponse" not in part)
        elif writer.signs:
            first = next((part for part in parts if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", UNSIGNED)
    return writer.contents


def write_instructions(conversation: Conversation) -> Fields | None:
    """`systemInstruction`: all instructions in their order, those of mid-conversation too, as Gemini has one place."""
    texts = [part.text for part in conversation.instructions]
    for turn in conversation.turns:
        if turn.role == "system":
            texts += [_instruction(part) for part in turn.parts]
    parts = [{"text": text} for text in texts if text]
    return {"parts": parts} if parts else None


def _instruction(part: Part) -> str:
    if not isinstance(part, Text):
        raise RequestError("Gemini takes text only for instructions.", param="messages")
    return part.text


class _Writer:
    """Collects the contents, and remembers what each call was of."""

    def __init__(self, model: str) -> None:
        self.contents: list[Fields] = []
        self.signs = not is_before(model, 3)
        self._media_inside = not is_before(model, 3)
        self._names: dict[str, str] = {}

    def add(self, role: str, parts: list[Part]) -> None:
        """Add what one side says."""
        written = self._write_model(parts) if role == "assistant" else self._write_user(parts)
        if not written:
            return
        name = "model" if role == "assistant" else "user"
        if self.contents and self.contents[-1]["role"] == name:
            # Nothing was left of what stood between.
            self.contents[-1]["parts"] += written
        else:
            self.contents.append({"role": name, "parts": written})

    def _write_model(self, parts: list[Part]) -> list[Fields]:
        """An assistant's turn."""
        written: list[Fields] = []
        signing = _find_signing_thought(parts)
        for part in parts:
            if isinstance(part, ToolCall):
                signature = own_signature(part.seal)
                if signature is None and signing is not None:
                    signature, signing = own_signature(signing.seal), None
                written.append(self._write_call(part, signature))
            elif isinstance(part, Thinking):
                if part is not signing:
                    _write_thinking(part, written)
            elif isinstance(part, Text | Refusal):
                if part.text:
                    written.append({"text": part.text})
            elif isinstance(part, Media):
                written.append(_write_media(part))
            else:
                raise RequestError("A tool's result cannot be in the assistant's turn.", param="messages")
        return written

    def _write_user(self, parts: list[Part]) -> list[Fields]:
        """A user's turn."""
        written: list[Fields] = []
        for part in parts:
            if isinstance(part, ToolResult):
                written += self._write_result(part)
            elif isinstance(part, Media):
                written.append(_write_media(part))
            elif isinstance(part, Text | Refusal):
                if part.text:
                    written.append({"text": part.text})
            elif isinstance(part, ToolCall):
                raise RequestError("A tool's call cannot be in the user's turn.", param="messages")
        return written

    def _write_call(self, call: ToolCall, signature: str | None) -> Fields:
        self._names[call.id] = call.name
        arguments = freeform.wrap(call.arguments) if call.freeform else call.arguments.strip() or "{}"
        try:
            _ARGUMENTS.decode(arguments)
        except UNREADABLE:
            raise RequestError(
                f"The arguments of the call `{call.id[:80]}` are not a JSON object.", param="messages"
            ) from None
        called: Fields = {"name": call.name, "args": Raw(arguments.encode())}
        if call.id:
            called["id"] = call.id
        return (
            {"functionCall": called} if signature is None else {"functionCall": called, "thoughtSignature": signature}
        )

    def _write_result(self, result: ToolResult) -> list[Fields]:
        name = result.name or self._names.get(result.call_id)
        if not name:
            raise RequestError(
                f"`{result.call_id[:80]}` is the id of no call before it, and Gemini wants the function's name.",
                param="messages",
            )
        text = "\n".join(part.text for part in result.content if isinstance(part, Text))
        response: Fields = {"name": name, "response": {"error" if result.is_error else "output": text}}
        if result.call_id:
            response["id"] = result.call_id
        inside: list[Fields] = []
        beside: list[Fields] = []
        for part in result.content:
            if isinstance(part, Media):
                media = _write_media(part)
                fits = self._media_inside and media.get("inlineData", {}).get("mimeType", "").startswith(_INSIDE)
                (inside if fits else beside).append(media)
        if inside:
            response["parts"] = inside
        return [{"functionResponse": response}, *beside]


def _find_signing_thought(parts: list[Part]) -> Thinking | None:
    """The thought whose signature is that of the first call, if that has none of its own.

    Dialects whose calls have no place for a seal keep it in a thought before them. A thought right behind a text has
    that text's signature, unless the call follows at once.
    """
    found = None
    for position, part in enumerate(parts):
        if isinstance(part, ToolCall):
            return found if own_signature(part.seal) is None else None
        if isinstance(part, Thinking) and own_signature(part.seal) is not None:
            before = parts[position - 1] if position else None
            after = parts[position + 1] if position + 1 < len(parts) else None
            if isinstance(after, ToolCall) or not isinstance(before, Text):
                found = part
    return None


def _write_thinking(thinking: Thinking, written: list[Fields]) -> None:
    """A thought with Gemini's own signature. Others nobody can read, so they are left out."""
    signature = own_signature(thinking.seal)
    if signature is None:
        return
    if thinking.text:
        written.append({"text": thinking.text, "thought": True, "thoughtSignature": signature})
    elif written and "text" in written[-1] and "thoughtSignature" not in written[-1]:
        written[-1]["thoughtSignature"] = signature
    else:
        written.append({"text": "", "thoughtSignature": signature})


def _write_media(media: Media) -> Fields:
    if media.url is not None:
        if not media.url.startswith(("https://", "http://", "gs://")):
            raise RequestError("Gemini fetches files from https:// addresses only.", param="messages")
        file: Fields = {"fileUri": media.url}
        if media.media_type or not is_youtube(media.url):  # whose films Google knows without being told
            file["mimeType"] = media.media_type or guess_type(media.url.partition("?")[0])[0] or _KINDS[media.kind]
        return {"fileData": file}
    kind = media.media_type or (guess_type(media.name)[0] if media.name else None) or _KINDS[media.kind]
    return {"inlineData": {"mimeType": kind, "data": media.data or ""}}
