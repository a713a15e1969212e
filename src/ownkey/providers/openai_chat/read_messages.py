"""The messages of a chat completion request in the neutral form."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.conversation import (
    CacheTTL,
    Conversation,
    Media,
    Part,
    Refusal,
    Seal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from ownkey.providers.openai_chat.reasoning_details import Thought, read_details
from ownkey.providers.peek import read_fields


class CacheControl(Struct):
    """Anthropic's mark, which OpenRouter and others take in this dialect."""

    type: str = ""
    ttl: str | None = None


class CacheBreakpoint(Struct):
    """OpenAI's mark."""

    mode: str = ""
    ttl: str | None = None


class _ImageURL(Struct):
    url: str
    detail: str | None = None


class _File(Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _Audio(Struct):
    data: str
    format: str


class _Part(Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageURL | str | None = None
    file: _File | None = None
    input_audio: _Audio | None = None
    thinking: Any = None
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class _Function(Struct):
    name: str
    arguments: str = ""


class _Custom(Struct):
    name: str
    input: str = ""


class _ToolCall(Struct):
    id: str
    type: str = "function"
    function: _Function | None = None
    custom: _Custom | None = None
    extra_content: Any = None


class _Message(Struct):
    role: str
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    cache_control: CacheControl | None = None
    function_call: Any = None
    audio: Any = None
    prefix: bool | None = None


_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
# What each role's content may hold.
_SYSTEM: Final = frozenset({"text"})
_USER: Final = frozenset({"text", "image_url", "file", "input_audio"})
_ASSISTANT: Final = frozenset({"text", "refusal", "thinking"})
_AUDIO_TYPES: Final = {"mp3": "audio/mpeg", "wav": "audio/wav"}


def read_messages(raw: Raw, conversation: Conversation) -> None:
    """Fill in the instructions and the turns. Raises RequestError that names the place of what is wrong."""
    messages = read_fields(_MESSAGES, bytes(raw), "messages")
    if not messages:
        raise RequestError("`messages` is empty.", param="messages")
    _MessageReader(conversation).read(messages)


def cache_ttl(control: CacheControl | None, breakpoint: CacheBreakpoint | None = None) -> CacheTTL | None:
    """How long a marked part is worth caching: 5 minutes unless more was asked for."""
    if breakpoint is not None:
        return "5m" if breakpoint.ttl is None else "1h"  # OpenAI's own are 30 minutes and more
    if control is None or control.type != "ephemeral":
        return None
    return "1h" if control.ttl == "1h" else "5m"


class _MessageReader:
    """Reads message after message; a tool's result gets the name of its call."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._names: dict[str, str] = {}

    def read(self, messages: list[_Message]) -> None:
        conversation = self._conversation
        for position, message in enumerate(messages):
            place = f"messages[{position}]"
            if message.function_call is not None or message.audio or message.prefix:
                self._refuse_legacy(message, place)
            match message.role:
                case "user":
                    self._add("user", list(self._content(message, place, _USER)), message.name)
                case "assistant":
                    self._add("assistant", self._assistant(message, place), message.name)
                case "tool":
                    self._add("user", [self._tool_result(message, place)], None)
                case "system" | "developer":
                    if message.name:  # OpenAI's way to tell examples from the conversation
                        conversation.foreign[f"{place}.name"] = message.name
                    texts = self._texts(message, place)
                    if conversation.turns:
                        self._add("system", list(texts), None)
                    else:
                        conversation.instructions += texts
                case "function":
                    raise RequestError(
                        "Messages of the role `function` are not translated. Use `tool`.", param=f"{place}.role"
                    )
                case role:
                    raise RequestError(f"There is no role {role[:40]!r} in a conversation.", param=f"{place}.role")

    def _add(self, role: Any, parts: list[Part], name: str | None) -> None:
        if parts:
            self._conversation.turns.append(Turn(role=role, parts=parts, name=name or None))

    def _refuse_legacy(self, message: _Message, place: str) -> None:
        if message.function_call is not None:
            raise RequestError("`function_call` is not translated. Use `tool_calls`.", param=f"{place}.function_call")
        for name in ("audio", "prefix"):
            value = getattr(message, name)
            if value:
                self._conversation.foreign[f"{place}.{name}"] = value

    def _texts(self, message: _Message, place: str) -> list[Text]:
        return [part for part in self._content(message, place, _SYSTEM) if isinstance(part, Text)]

    def _tool_result(self, message: _Message, place: str) -> ToolResult:
        call_id = message.tool_call_id
        if not call_id:
            raise RequestError("A tool's message needs the id of its call.", param=f"{place}.tool_call_id")
        content = [part for part in self._content(message, place, _USER) if isinstance(part, Text | Media)]
        marked = cache_ttl(message.cache_control)
        if marked and content:
            content[-1].cache_ttl = None
        name = self._names.get(call_id) or message.name or None
        return ToolResult(call_id=call_id, content=content, name=name, cache_ttl=marked)

    def _assistant(self, message: _Message, place: str) -> list[Part]:
        calls = message.tool_calls or []
        thoughts, seals = _read_thoughts(message, calls)
        parts = self._content(message, place, _ASSISTANT)
        if message.refusal:
            parts.append(Refusal(text=message.refusal))
        for index, call in enumerate(calls):
            read = self._tool_call(call, f"{place}.tool_calls[{index}]")
            read.seal = seals.get(call.id) or _read_extra(call.extra_content)
            parts.append(read)
        return _place_thoughts(thoughts, parts) if thoughts else parts

    def _tool_call(self, call: _ToolCall, place: str) -> ToolCall:
        if call.type == "function" and call.function is not None:
            self._names[call.id] = call.function.name
            return ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments.strip() or "{}")
        if call.type == "custom" and call.custom is not None:
            self._names[call.id] = call.custom.name
            return ToolCall(id=call.id, name=call.custom.name, arguments=call.custom.input, freeform=True)
        raise RequestError("A tool call is of the type `function` or `custom`.", param=place)

    def _content(self, message: _Message, place: str, allowed: frozenset[str]) -> list[Part]:
        content = message.content
        marked = cache_ttl(message.cache_control)
        if not content:
            return []
        if isinstance(content, str):
            return [Text(text=content, cache_ttl=marked)]
        parts: list[Part] = []
        for index, part in enumerate(content):
            where = f"{place}.content[{index}]"
            if part.type not in allowed:
                raise RequestError(
                    f"A message of the role {message.role!r} has no part of type {part.type[:40]!r}.", param=where
                )
            read = self._part(part, where)
            # An empty text says nothing, and some providers refuse it.
            if not (isinstance(read, Text) and not read.text):
                parts.append(read)
        if marked and parts and isinstance(parts[-1], Text | Media):
            parts[-1].cache_ttl = marked
        return parts

    def _part(self, part: _Part, place: str) -> Part:
        ttl = cache_ttl(part.cache_control, part.prompt_cache_breakpoint)
        if part.type == "text" and part.text is not None:
            return Text(text=part.text, cache_ttl=ttl)
        if part.type == "refusal" and part.refusal is not None:
            return Refusal(text=part.refusal)
        if part.type == "image_url" and part.image_url is not None:
            return _read_image(part.image_url, ttl, f"{place}.image_url")
        if part.type == "file" and part.file is not None:
            return self._file(part.file, ttl, f"{place}.file")
        if part.type == "input_audio" and part.input_audio is not None:
            audio = part.input_audio
            kind = _AUDIO_TYPES.get(audio.format) or f"audio/{audio.format}"
            return Media(kind="audio", media_type=kind, data=audio.data, cache_ttl=ttl)
        if part.type == "thinking":
            return Thinking(text=_read_mistral_thinking(part.thinking))
        raise RequestError(f"A part of type {part.type!r} needs `{part.type}`.", param=place)

    def _file(self, file: _File, ttl: CacheTTL | None, place: str) -> Media:
        if file.file_data is None:
            if file.file_id is None:
                raise RequestError("A file needs `file_data`.", param=place)
            self._conversation.foreign[f"{place}.file_id"] = file.file_id
            return Media(kind="document", name=file.filename)
        if file.file_data.startswith("https://"):
            return Media(kind="document", url=file.file_data, name=file.filename, cache_ttl=ttl)
        media_type, data = _read_data_url(file.file_data, "A file", f"{place}.file_data")
        return Media(kind="document", media_type=media_type, data=data, name=file.filename, cache_ttl=ttl)


def _place_thoughts(thoughts: list[Thought], parts: list[Part]) -> list[Part]:
    """The parts of a message with each thought in its place. An answer does not end with thinking, wherever a client
    moved it."""
    placed: list[Part] = []
    taken = 0
    for thought in thoughts:
        while len(placed) < thought.index and taken < len(parts) - 1:
            placed.append(parts[taken])
            taken += 1
        placed.append(thought.part)
    return placed + parts[taken:]


def _read_thoughts(message: _Message, calls: list[_ToolCall]) -> tuple[list[Thought], dict[str, Seal]]:
    """The thinking of an assistant's message and the seals of its calls; most messages have none."""
    if message.reasoning_content is None and message.reasoning is None and message.reasoning_details is None:
        return [], {}
    said = next((text for text in (message.reasoning_content, message.reasoning) if isinstance(text, str)), "")
    return read_details(message.reasoning_details, said, {call.id for call in calls})


def _read_image(image: _ImageURL | str, ttl: CacheTTL | None, place: str) -> Media:
    given = image if isinstance(image, _ImageURL) else _ImageURL(image)
    detail = given.detail if given.detail != "auto" else None
    if given.url.startswith(("https://", "http://")):
        return Media(kind="image", url=given.url, detail=detail, cache_ttl=ttl)
    media_type, data = _read_data_url(given.url, "An image", place)
    return Media(kind="image", media_type=media_type, data=data, detail=detail, cache_ttl=ttl)


def _read_data_url(url: str, what: str, place: str) -> tuple[str, str]:
    """The media type and the base64 of `data:image/png;base64,…`."""
    head, comma, data = url.partition(",")
    if not comma or head[:5].lower() != "data:" or not head.lower().endswith(";base64"):
        raise RequestError(f"{what} must be an https:// or a data: URL with base64.", param=place)
    return head[5:].partition(";")[0].lower(), data


def _read_mistral_thinking(value: Any) -> str:
    """Mistral writes thinking as a part that holds a list of text parts."""
    if isinstance(value, str):
        return value
    texts = [part.get("text") for part in value if isinstance(part, dict)] if isinstance(value, list) else []
    return "".join(text for text in texts if isinstance(text, str))


def _read_extra(extra: Any) -> Seal | None:
    """The signature that Gemini's compatible endpoint puts beside a call: its own API knows it too."""
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return Seal(Dialect.GEMINI, signature) if isinstance(signature, str) and signature else None
