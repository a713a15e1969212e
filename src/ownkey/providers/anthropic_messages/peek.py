"""What routing must know of a Messages request."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ownkey.domain.routing import AUTO, Needs
from ownkey.errors import RequestError
from ownkey.providers.peek import NOTHING, Peek, count_input, read_fields


class _Typed(Struct):
    type: str = ""


class _OutputConfig(Struct):
    format: _Typed | None = None


class _Fields(Struct):
    messages: Raw
    model: str = AUTO
    stream: bool | None = None
    tools: Raw | UnsetType = UNSET
    output_config: _OutputConfig | None = None
    output_format: _Typed | None = None


class _Block(Struct):
    type: str = ""
    content: Raw = Raw(b"null")


class _Message(Struct):
    role: str
    content: str | list[_Block] | None = None


_FIELDS: Final = msgspec.json.Decoder(_Fields)
_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
_BLOCKS: Final = msgspec.json.Decoder(list[_Block])
# Quotes inside JSON strings are escaped, so these find a block's type and hardly ever anything else.
_MEDIA: Final = {"image": b'"image"', "document": b'"document"'}


def peek(body: bytes) -> Peek:
    """Look at a body of `/messages` or `/messages/count_tokens`. Raises RequestError with the faulty field's name."""
    fields = read_fields(_FIELDS, body)
    if not bytes(fields.messages).startswith(b"["):
        raise RequestError("The body is not a valid request: `messages` is not a list.", param="messages")
    media = _find_media(fields.messages)
    config = fields.output_config
    formats = (fields.output_format, config.format if config is not None else None)
    needs = Needs(
        tools=fields.tools is not UNSET and bytes(fields.tools) not in NOTHING,
        images="image" in media,
        documents="document" in media,
        json_schema=any(wanted is not None and wanted.type == "json_schema" for wanted in formats),
        input_tokens=count_input(body, media=bool(media)),
    )
    return Peek(model=fields.model, stream=bool(fields.stream), needs=needs)


def _find_media(messages: Raw) -> set[str]:
    """The kinds of blocks in the messages that are not text, those inside a tool's result included."""
    raw = bytes(messages)
    if not any(mark in raw for mark in _MEDIA.values()):
        return set()
    kinds = set()
    decoded: list[_Message] = read_fields(_MESSAGES, messages, "messages")
    for position, message in enumerate(decoded):
        for index, block in enumerate(message.content if isinstance(message.content, list) else ()):
            kinds.add(block.type)
            if block.type == "tool_result" and bytes(block.content).startswith(b"["):
                place = f"messages[{position}].content[{index}].content"
                kinds.update(inner.type for inner in read_fields(_BLOCKS, block.content, place))
    return kinds & _MEDIA.keys()
