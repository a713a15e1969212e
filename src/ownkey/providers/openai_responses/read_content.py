"""Content parts of a client's items: texts, pictures, documents and sound, in one list or as one text."""

from __future__ import annotations

import re
from typing import Any, Final

from ownkey.errors import RequestError
from ownkey.providers.conversation import CacheTTL, Citation, Media, Refusal, Text
from ownkey.providers.openai_responses import fields

_DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+)(?:;[a-z-]+=[^;,]*)*;base64,", re.ASCII | re.IGNORECASE)
_TEXTS: Final = frozenset({"input_text", "output_text", "text"})
_SOUNDS: Final = {"mp3": "audio/mpeg", "wav": "audio/wav"}

ContentPart = Text | Media | Refusal
Foreign = dict[str, Any]


def read_content(value: Any, place: str, foreign: Foreign) -> list[ContentPart]:
    """The parts of a content field. What only OpenAI holds, such as a file by its id, goes to `foreign`."""
    if isinstance(value, str):
        return [Text(text=value)] if value else []
    parts = (
        _read_part(fields.mapping(part, f"{place}[{index}]"), f"{place}[{index}]", foreign)
        for index, part in enumerate(fields.sequence(value, place))
    )
    return [part for part in parts if part is not None]


def _read_part(part: dict[str, Any], place: str, foreign: Foreign) -> ContentPart | None:
    kind = part.get("type")
    if kind in _TEXTS:
        return Text(
            text=fields.text(part.get("text"), f"{place}.text"),
            cache_ttl=_read_breakpoint(part, place),
            citations=_read_annotations(part.get("annotations")),
        )
    if kind == "refusal":
        return Refusal(text=fields.text(part.get("refusal"), f"{place}.refusal"))
    if kind not in ("input_image", "input_file", "input_audio"):
        raise RequestError(f"There is no content part of type {str(kind)[:40]!r}.", param=f"{place}.type")
    if part.get("file_id") is not None:
        foreign[place] = part
        return None
    if kind == "input_image":
        return _read_image(part, place)
    return _read_file(part, place) if kind == "input_file" else _read_audio(part, place)


def _read_image(part: dict[str, Any], place: str) -> Media:
    media = Media(
        kind="image",
        detail=fields.optional_text(part.get("detail"), f"{place}.detail"),
        cache_ttl=_read_breakpoint(part, place),
    )
    url = fields.name(part.get("image_url"), f"{place}.image_url")
    if url.startswith(("https://", "http://")):
        media.url = url
    else:
        media.media_type, media.data = read_data_url(url, f"{place}.image_url")
    return media


def _read_file(part: dict[str, Any], place: str) -> Media:
    media = Media(
        kind="document",
        name=fields.optional_text(part.get("filename"), f"{place}.filename"),
        cache_ttl=_read_breakpoint(part, place),
    )
    if part.get("file_data") is not None:
        media.media_type, media.data = read_data_url(
            fields.text(part["file_data"], f"{place}.file_data"), f"{place}.file_data"
        )
    else:
        media.url = fields.name(part.get("file_url"), f"{place}.file_url")
    return media


def _read_audio(part: dict[str, Any], place: str) -> Media:
    audio = fields.mapping(part.get("input_audio"), f"{place}.input_audio")
    media_type = _SOUNDS.get(str(audio.get("format")))
    if media_type is None:
        raise fields.wrong(f"{place}.input_audio.format", "mp3 or wav")
    return Media(kind="audio", media_type=media_type, data=fields.name(audio.get("data"), f"{place}.input_audio.data"))


def read_data_url(url: str, place: str) -> tuple[str, str]:
    """The media type and the base64 of a data URL."""
    match = _DATA_URL.match(url)
    if match is None:
        raise fields.wrong(place, "a data: URL in base64, or an https:// URL where the field takes one")
    return match[1].lower(), url[match.end() :]


def _read_breakpoint(part: dict[str, Any], place: str) -> CacheTTL | None:
    """OpenAI keeps a prefix for half an hour or for twelve; the neutral words are five minutes and an hour."""
    mark = part.get("prompt_cache_breakpoint")
    if mark is None:
        return None
    return "1h" if fields.mapping(mark, f"{place}.prompt_cache_breakpoint").get("ttl") == "12h" else "5m"


def _read_annotations(value: Any) -> list[Citation]:
    """Web sources. Other annotations point at files of OpenAI's, and no model reads any of them."""
    citations = []
    for annotation in value if isinstance(value, list) else ():
        if isinstance(annotation, dict) and annotation.get("type") == "url_citation":
            url, title = annotation.get("url"), annotation.get("title")
            start, end = annotation.get("start_index"), annotation.get("end_index")
            if isinstance(url, str):
                citations.append(
                    Citation(
                        url=url,
                        title=title if isinstance(title, str) else "",
                        start=start if isinstance(start, int) else None,
                        end=end if isinstance(end, int) else None,
                    )
                )
    return citations
