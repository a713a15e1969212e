"""The content of a message for a provider of the chat dialect."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Sequence
from typing import Any, Final

from ownkey.errors import RequestError
from ownkey.providers.conversation import CacheTTL, Media, Text

Content = str | list[dict[str, Any]]

_AUDIO_FORMATS: Final = {
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/vnd.wave": "wav",
}
_TEXT_TYPES: Final = frozenset({"application/json", "application/xml", "application/yaml"})
_BETWEEN_BLOCKS: Final = "\n\n"
# A client of another dialect has another name for the place, but messages they all have.
_PLACE: Final = "messages"


def write_content(parts: Sequence[Text | Media], *, marks: bool) -> Content:
    """One text where there is nothing but text, as every provider takes it; else a list of parts.

    `marks`: the provider takes `cache_control`.
    """
    texts = [part for part in parts if isinstance(part, Text)]
    marked = marks and any(part.cache_ttl for part in parts)
    if len(texts) == len(parts) and not marked:
        return _BETWEEN_BLOCKS.join(text.text for text in texts)
    content = []
    for part in parts:
        written: dict[str, Any] = {"type": "text", "text": part.text} if isinstance(part, Text) else write_media(part)
        if marks and part.cache_ttl:
            written["cache_control"] = write_mark(part.cache_ttl)
        content.append(written)
    return content


def join_contents(contents: Sequence[Content], between: str) -> Content:
    """Several contents of one speaker as one."""
    texts = [content for content in contents if isinstance(content, str)]
    if len(texts) == len(contents):
        return between.join(texts)
    return [part for content in contents for part in _as_parts(content)]


def _as_parts(content: Content) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def write_mark(ttl: CacheTTL) -> dict[str, str]:
    """Anthropic's cache mark; five minutes is what it means without a word."""
    return {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}


def write_media(media: Media) -> dict[str, Any]:
    """A picture, document or sound as a part of a user's message. Raises RequestError for what has no form here."""
    match media.kind:
        case "image":
            image = {"url": media.url if media.url is not None else _data_url(media)}
            if media.detail and media.detail != "auto":
                image["detail"] = media.detail
            return {"type": "image_url", "image_url": image}
        case "document":
            return _write_document(media)
        case "audio":
            return _write_audio(media)
        case "video":
            raise RequestError("Chat completions take no film.", param=_PLACE)


def _data_url(media: Media) -> str:
    return f"data:{media.media_type or 'application/octet-stream'};base64,{media.data or ''}"


def _write_document(media: Media) -> dict[str, Any]:
    if media.data is None:
        raise RequestError("Chat completions take a document with its data only, not by its URL.", param=_PLACE)
    kind = media.media_type or "application/pdf"
    if kind.startswith("text/") or kind in _TEXT_TYPES:
        return {"type": "text", "text": _read_text(media.data, media.name)}
    name = media.name or f"document{mimetypes.guess_extension(kind) or ''}"
    return {"type": "file", "file": {"filename": name, "file_data": f"data:{kind};base64,{media.data}"}}


def _read_text(data: str, name: str | None) -> str:
    """A text's own words: every model reads them, and few providers take a file that is no PDF."""
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise RequestError("A text document must be UTF-8 in base64.", param=_PLACE) from None
    return f"{name}:\n\n{text}" if name else text


def _write_audio(media: Media) -> dict[str, Any]:
    form = _AUDIO_FORMATS.get((media.media_type or "").partition(";")[0].strip())
    if form is None or media.data is None:
        raise RequestError("Chat completions take sound as wav or mp3, with its data.", param=_PLACE)
    return {"type": "input_audio", "input_audio": {"data": media.data, "format": form}}
