"""What routing must know of a Responses request."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ownkey.domain.routing import AUTO, Needs
from ownkey.errors import RequestError
from ownkey.providers.peek import NOTHING, Peek, count_input, read_fields


class _Format(Struct):
    type: str = ""


class _Text(Struct):
    format: _Format | None = None


class _Fields(Struct):
    input: Raw | UnsetType = UNSET
    prompt: Raw | UnsetType = UNSET
    model: str | None = None
    stream: bool | None = None
    tools: Raw | UnsetType = UNSET
    text: _Text | None = None


class _Part(Struct):
    type: str = ""


class _Item(Struct):
    content: str | list[_Part] | None = None
    output: Raw = Raw(b"null")


_FIELDS: Final = msgspec.json.Decoder(_Fields)
_ITEMS: Final = msgspec.json.Decoder(list[_Item])
_PARTS: Final = msgspec.json.Decoder(list[_Part])
# Quotes inside JSON strings are escaped, so these find a part's type and hardly ever anything else.
_MEDIA: Final = {name: f'"{name}"'.encode() for name in ("input_image", "input_file", "input_audio")}


def peek(body: bytes) -> Peek:
    """Look at a body of `/responses`. Raises RequestError with the name of the faulty field."""
    fields = read_fields(_FIELDS, body)
    given = b"null" if fields.input is UNSET else bytes(fields.input)
    if given == b"null" and fields.prompt is UNSET:
        raise RequestError("The body is not a valid request: `input` is missing.", param="input")
    if not given.startswith((b'"', b"[", b"null")):
        raise RequestError("The body is not a valid request: `input` is neither a text nor a list.", param="input")
    media = _find_media(body, given)
    needs = Needs(
        tools=fields.tools is not UNSET and bytes(fields.tools) not in NOTHING,
        images="input_image" in media,
        documents="input_file" in media,
        audio="input_audio" in media,
        json_schema=bool(fields.text and fields.text.format and fields.text.format.type == "json_schema"),
        input_tokens=count_input(body, media=bool(media)),
    )
    return Peek(model=fields.model or AUTO, stream=bool(fields.stream), needs=needs)


def _find_media(body: bytes, given: bytes) -> set[str]:
    """The kinds of parts in the input that are not text, in tools' outputs too."""
    if not given.startswith(b"[") or not any(mark in body for mark in _MEDIA.values()):
        return set()
    found: set[str] = set()
    for item in read_fields(_ITEMS, given, "input"):
        parts = item.content if isinstance(item.content, list) else []
        output = bytes(item.output)
        if output.startswith(b"["):
            parts = [*parts, *read_fields(_PARTS, output, "input.output")]
        found.update(part.type for part in parts if part.type in _MEDIA)
    return found
