"""What routing must know of a chat completion request or an embeddings request."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ownkey.domain.routing import AUTO, Needs
from ownkey.errors import RequestError
from ownkey.providers.peek import NOTHING, Peek, count_input, read_fields


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _ResponseFormat(Struct):
    type: str = ""


class _ChatFields(Struct):
    messages: Raw
    model: str = AUTO
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: Raw | UnsetType = UNSET
    functions: Raw | UnsetType = UNSET
    response_format: _ResponseFormat | None = None


class _EmbeddingFields(Struct):
    input: Raw
    model: str = AUTO


class _Part(Struct):
    type: str = ""


class _Message(Struct):
    role: str
    content: str | list[_Part] | None = None


_CHAT: Final = msgspec.json.Decoder(_ChatFields)
_EMBEDDING: Final = msgspec.json.Decoder(_EmbeddingFields)
_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
# Quotes inside JSON strings are escaped, so these find a part's type and hardly ever anything else.
_MEDIA: Final = {"image_url": b'"image_url"', "file": b'"file"', "input_audio": b'"input_audio"'}


def peek(body: bytes) -> Peek:
    """Look at a body of `/chat/completions`. Raises RequestError with the name of the faulty field."""
    fields = read_fields(_CHAT, body)
    if not bytes(fields.messages).startswith(b"["):
        raise RequestError("The body is not a valid request: `messages` is not a list.", param="messages")
    media = _find_media(body, fields.messages)
    needs = Needs(
        tools=any(raw is not UNSET and bytes(raw) not in NOTHING for raw in (fields.tools, fields.functions)),
        images="image_url" in media,
        documents="file" in media,
        audio="input_audio" in media,
        json_schema=fields.response_format is not None and fields.response_format.type == "json_schema",
        input_tokens=count_input(body, media=bool(media)),
    )
    options = fields.stream_options
    return Peek(
        model=fields.model,
        stream=bool(fields.stream),
        needs=needs,
        wants_usage=bool(options and options.include_usage),
    )


def peek_embeddings(body: bytes) -> Peek:
    """Look at a body of `/embeddings`. Raises RequestError with the name of the faulty field."""
    return Peek(model=read_fields(_EMBEDDING, body).model)


def _find_media(body: bytes, messages: Raw) -> set[str]:
    """The kinds of parts in the messages that are not text."""
    if not any(mark in body for mark in _MEDIA.values()):
        return set()
    return {
        part.type
        for message in read_fields(_MESSAGES, messages, "messages")
        if isinstance(message.content, list)
        for part in message.content
        if part.type in _MEDIA
    }
