"""The messages and the system text of a client's Messages request, block by block."""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.signatures import read_call_seal, read_redacted, read_signature
from ownkey.providers.conversation import (
    CacheTTL,
    Citation,
    Conversation,
    Media,
    Part,
    Seal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from ownkey.providers.unreadable import UNREADABLE

_ABSENT: Final = Raw(b"null")
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])


class _Message(Struct):
    role: str
    content: Raw = _ABSENT
    clear_at: Raw = _ABSENT
    output_config: Raw = _ABSENT


class _Block(Struct):
    """Every field that a block of any type may have; those that differ from type to type are read later."""

    type: str
    text: str | None = None
    source: Raw = _ABSENT
    content: Raw = _ABSENT
    citations: Raw = _ABSENT
    cache_control: Raw = _ABSENT
    transformations: Raw = _ABSENT
    title: str | None = None
    context: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = _ABSENT
    caller: Raw = _ABSENT
    toolset_name: str | None = None
    tool_name: str | None = None
    tool_use_id: str | None = None
    is_error: bool | None = None


class _Source(Struct):
    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: Raw = _ABSENT


class _CacheControl(Struct):
    type: str
    ttl: str | None = None


class _Citation(Struct):
    type: str = ""
    url: str | None = None
    title: str | None = None


class _CitationsConfig(Struct):
    enabled: bool | None = None


class _Caller(Struct):
    type: str = ""


_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
_CONTENT: Final = msgspec.json.Decoder(str | list[_Block])
_SOURCE: Final = msgspec.json.Decoder(_Source)
_CITATIONS: Final = msgspec.json.Decoder(list[_Citation])
_CITATIONS_CONFIG: Final = msgspec.json.Decoder(_CitationsConfig)
_CALLER: Final = msgspec.json.Decoder(_Caller)
_TTLS: Final[dict[str, CacheTTL]] = {"5m": "5m", "1h": "1h"}

Foreign = dict[str, Any]


def read_messages(raw: Raw, conversation: Conversation) -> None:
    """Add the turns to a conversation. Raises RequestError with the place of what cannot be read."""
    reader = _Reader(conversation.foreign)
    for position, message in enumerate(_decode(_MESSAGES, raw, "messages")):
        place = f"messages[{position}]"
        match message.role:
            case "user" | "assistant":
                parts = reader.read_content(message.content, f"{place}.content", message.role)
                if parts:
                    conversation.turns.append(Turn(role=message.role, parts=parts))
            case "system":
                if bytes(message.clear_at) not in (b"null", b'"never"'):
                    conversation.foreign[f"{place}.clear_at"] = _decode_any(message.clear_at, f"{place}.clear_at")
                if bytes(message.output_config) != b"null":
                    field = f"{place}.output_config"
                    conversation.foreign[field] = _decode_any(message.output_config, field)
                parts = reader.read_content(message.content, f"{place}.content", "system")
                if parts:
                    conversation.turns.append(Turn(role="system", parts=parts))
            case _:
                raise RequestError(f"There is no role {message.role[:40]!r} in a conversation.", param=f"{place}.role")
    reader.give_back_seals(conversation.turns)
    if not conversation.turns:
        raise RequestError("There is no message with content.", param="messages")


def read_system(value: Any, place: str, foreign: Foreign) -> list[Text]:
    """The system text: a text or a list of text blocks."""
    parts = _Reader(foreign).read_content(Raw(msgspec.json.encode(value)), place, "system")
    return [part for part in parts if isinstance(part, Text)]


def read_ttl(value: Any, place: str) -> CacheTTL | None:
    """How long something is worth caching; None for no mark."""
    if value is None:
        return None
    ttl = value.get("ttl") if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.get("type") != "ephemeral" or ttl not in (None, *_TTLS):
        raise RequestError("`cache_control` must be of type ephemeral, with a `ttl` of 5m or 1h.", param=place)
    return _TTLS[ttl or "5m"]


class _Reader:
    """Reads content; `foreign` collects what only Anthropic's dialect has."""

    def __init__(self, foreign: Foreign) -> None:
        self._foreign = foreign
        self._tool_names: dict[str, str] = {}
        self._call_seals: dict[str, Seal] = {}

    def give_back_seals(self, turns: list[Turn]) -> None:
        """Put the seals of tool calls, which came in blocks of their own, into their calls."""
        if not self._call_seals:
            return
        for turn in turns:
            for part in turn.parts:
                if isinstance(part, ToolCall):
                    part.seal = self._call_seals.get(part.id)

    def read_content(self, raw: Raw, place: str, role: str) -> list[Part]:
        """The parts of a text or of a list of blocks."""
        if bytes(raw) == b"null":
            return []
        content = _decode(_CONTENT, raw, place)
        if isinstance(content, str):
            return [Text(text=content)] if content else []
        parts: list[Part] = []
        for position, block in enumerate(content):
            self._read_block(block, f"{place}[{position}]", role, parts)
        return parts

    def _read_block(self, block: _Block, place: str, role: str, parts: list[Part]) -> None:
        match block.type, role:
            case "text", _:
                self._read_text(block, place, parts)
            case "image" | "document", "user" | "tool":
                self._read_media(block, place, parts)
            case "tool_result", "user":
                parts.append(self._read_tool_result(block, place))
            case "tool_reference", "tool":
                parts.append(self._read_tool_reference(block, place))
            case "tool_use", "assistant":
                parts.append(self._read_tool_use(block, place))
            case "thinking" | "redacted_thinking", "assistant":
                self._read_thinking(block, place, parts)
            case (("image" | "document" | "tool_result" | "tool_use" | "thinking" | "redacted_thinking"), _):
                raise RequestError(f"A message of this role has no {block.type}.", param=place)
            case _:
                # A server tool's, an uploaded file, a search result: nobody else knows it.
                self._foreign[place] = {"type": block.type}

    def _read_text(self, block: _Block, place: str, parts: list[Part]) -> None:
        if block.text is None:
            raise RequestError("A text block needs `text`.", param=f"{place}.text")
        if block.text:
            citations = _read_citations(block.citations, f"{place}.citations")
            parts.append(Text(text=block.text, cache_ttl=_ttl(block, place), citations=citations))

    def _read_media(self, block: _Block, place: str, parts: list[Part]) -> None:
        source: _Source = _decode(_SOURCE, block.source, f"{place}.source")
        media = Media(kind="image", cache_ttl=_ttl(block, place))
        if block.type == "document":
            media.kind, media.name = "document", block.title
            self._check_document(block, place)
        elif _given(block.transformations):
            self._foreign[f"{place}.transformations"] = True
        match source.type, media.kind:
            case "base64", _ if source.data is not None and source.media_type is not None:
                media.media_type, media.data = source.media_type, source.data
            case "url", _ if source.url is not None:
                media.url = source.url
                # Anthropic takes no other document from a URL.
                media.media_type = "application/pdf" if media.kind == "document" else None
            case "text", "document" if source.data is not None:
                media.media_type, media.data = "text/plain", base64.b64encode(source.data.encode()).decode()
            case "content", "document":
                parts += self.read_content(source.content, f"{place}.source.content", "tool")
                return
            case "file", _:
                self._foreign[place] = {"type": block.type, "source": {"type": "file"}}
                return
            case _:
                raise RequestError(f"A block of type {block.type} has no such source.", param=f"{place}.source")
        parts.append(media)

    def _check_document(self, block: _Block, place: str) -> None:
        config = _decode(_CITATIONS_CONFIG, block.citations, f"{place}.citations") if _given(block.citations) else None
        if config is not None and config.enabled:
            self._foreign[f"{place}.citations"] = {"enabled": True}
        if block.context:
            self._foreign[f"{place}.context"] = block.context

    def _read_tool_use(self, block: _Block, place: str) -> ToolCall:
        if block.id is None or block.name is None:
            raise RequestError("A tool_use block needs `id` and `name`.", param=place)
        arguments = bytes(block.input)
        try:
            _OBJECT.decode(arguments)
            text = arguments.decode()
        except UNREADABLE:
            raise RequestError("A tool_use block needs an object as its `input`.", param=f"{place}.input") from None
        if _given(block.caller) and _decode(_CALLER, block.caller, f"{place}.caller").type != "direct":
            self._foreign[f"{place}.caller"] = _decode_any(block.caller, f"{place}.caller")
        if block.toolset_name is not None:
            self._foreign[f"{place}.toolset_name"] = block.toolset_name
        self._tool_names[block.id] = block.name
        return ToolCall(id=block.id, name=block.name, arguments=text, cache_ttl=_ttl(block, place))

    def _read_thinking(self, block: _Block, place: str, parts: list[Part]) -> None:
        if block.type == "redacted_thinking":
            if block.data is None:
                raise RequestError("A redacted_thinking block needs `data`.", param=f"{place}.data")
            parts.append(Thinking(seal=read_redacted(block.data)))
            return
        if block.thinking is None:
            raise RequestError("A thinking block needs `thinking`.", param=f"{place}.thinking")
        of_call = read_call_seal(block.signature or "")
        if of_call is not None:
            self._call_seals[of_call[0]] = of_call[1]
        else:
            parts.append(Thinking(text=block.thinking, seal=read_signature(block.signature or "")))

    def _read_tool_result(self, block: _Block, place: str) -> ToolResult:
        if block.tool_use_id is None:
            raise RequestError("A tool_result block needs `tool_use_id`.", param=f"{place}.tool_use_id")
        if block.toolset_name is not None:
            self._foreign[f"{place}.toolset_name"] = block.toolset_name
        content = self.read_content(block.content, f"{place}.content", "tool")
        return ToolResult(
            call_id=block.tool_use_id,
            content=[part for part in content if isinstance(part, Text | Media)],
            name=self._tool_names.get(block.tool_use_id),
            is_error=bool(block.is_error),
            cache_ttl=_ttl(block, place),
        )

    def _read_tool_reference(self, block: _Block, place: str) -> Text:
        """What a search among tools has found. Claude gets its definition there, everybody else has it already."""
        if block.tool_name is None:
            raise RequestError("A tool_reference block needs `tool_name`.", param=f"{place}.tool_name")
        return Text(text=f"The tool {block.tool_name} can be called now.", cache_ttl=_ttl(block, place))


def _read_citations(raw: Raw, place: str) -> list[Citation]:
    """The sources on the web. Places in documents are known to the client already, and to nobody else."""
    if not _given(raw):
        return []
    return [
        Citation(url=citation.url, title=citation.title or "")
        for citation in _decode(_CITATIONS, raw, place)
        if citation.type == "web_search_result_location" and citation.url
    ]


def _ttl(block: _Block, place: str) -> CacheTTL | None:
    if not _given(block.cache_control):
        return None
    return read_ttl(_decode_any(block.cache_control, f"{place}.cache_control"), f"{place}.cache_control")


def _given(raw: Raw) -> bool:
    return bytes(raw) != b"null"


def _decode_any(raw: Raw, place: str) -> Any:
    return _decode(_ANY, raw, place)


_ANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Any)


def _decode(decoder: Any, raw: Raw, place: str) -> Any:
    """Decode the value of a field. Raises RequestError with the place of the fault inside it."""
    try:
        return decoder.decode(raw)
    except (UnicodeError, RecursionError):
        raise RequestError(f"`{place}` cannot be read.", param=place) from None
    except msgspec.MsgspecError as error:
        what, _, where = str(error).partition(" - at `$")
        raise RequestError(f"`{place}` is not as it should be: {what}.", param=place + where.rstrip("`")) from None
