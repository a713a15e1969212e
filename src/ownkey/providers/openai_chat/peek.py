"""What routing must know of a chat completion request or an embeddings request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.routing import AUTO, Needs
from ownkey.errors import RequestError
from ownkey.providers.peek import NOTHING, Peek, count_input, read_fields


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _ResponseFormat(Struct):
    type: str = ""


class _EmbeddingFields(Struct):
    input: Raw
    model: str = AUTO


class _Part(Struct):
    type: str = ""


class _Message(Struct):
    role: str
    content: str | list[_Part] | None = None


_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_SWITCH: Final = msgspec.json.Decoder(bool | None)
_OPTIONS: Final = msgspec.json.Decoder(_StreamOptions | None)
_FORMAT: Final = msgspec.json.Decoder(_ResponseFormat | None)
_EMBEDDING: Final = msgspec.json.Decoder(_EmbeddingFields)
_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
# Quotes inside JSON strings are escaped, so these find a part's type and hardly ever anything else.
_IMAGE, _FILE, _AUDIO = b'"image_url"', b'"file"', b'"input_audio"'
_MEDIA: Final = frozenset({"image_url", "file", "input_audio"})
_NO_MEDIA: Final[frozenset[str]] = frozenset()
_NO_NEEDS: Final = Needs()


def peek(body: bytes) -> Peek:
    """Look at a body of `/chat/completions`. Raises RequestError with the name of the faulty field."""
    fields = read_fields(_BODY, body)
    messages = fields.get("messages")
    if messages is None:
        raise RequestError(
            "The body is not a valid request: object missing required field `messages`.", param="messages"
        )
    if memoryview(messages)[0] != ord("["):
        raise RequestError("The body is not a valid request: `messages` is not a list.", param="messages")
    media = _find_media(messages) if _holds_media(body) else _NO_MEDIA
    model, stream = fields.get("model"), fields.get("stream")
    options, form = fields.get("stream_options"), fields.get("response_format")
    asked = None if options is None else read_fields(_OPTIONS, options, "stream_options")
    answer = None if form is None else read_fields(_FORMAT, form, "response_format")
    return Peek(
        model=AUTO if model is None else read_fields(_TEXT, model, "model"),
        stream=stream is not None and _is_true(stream),
        needs=_find_needs(fields, media, answer, count_input(body, media=bool(media))),
        wants_usage=asked is not None and bool(asked.include_usage),
        fields=fields,
    )


def _find_needs(
    fields: Mapping[str, Raw], media: frozenset[str], answer: _ResponseFormat | None, input_tokens: int
) -> Needs:
    tools = _is_given(fields.get("tools")) or _is_given(fields.get("functions"))
    if not (tools or media or answer or input_tokens):
        return _NO_NEEDS
    return Needs(
        tools=tools,
        images="image_url" in media,
        documents="file" in media,
        audio="input_audio" in media,
        json_schema=answer is not None and answer.type == "json_schema",
        input_tokens=input_tokens,
    )


def peek_embeddings(body: bytes) -> Peek:
    """Look at a body of `/embeddings`. Raises RequestError with the name of the faulty field."""
    return Peek(model=read_fields(_EMBEDDING, body).model)


def _is_given(raw: Raw | None) -> bool:
    return raw is not None and bytes(raw) not in NOTHING


def _is_true(raw: Raw) -> bool:
    value = bytes(raw)
    return value == b"true" or (value != b"false" and bool(read_fields(_SWITCH, raw, "stream")))


def _holds_media(body: bytes) -> bool:
    """Whether a body may hold anything but text. Searching from the back takes a third of the time."""
    return body.rfind(_IMAGE) >= 0 or body.rfind(_FILE) >= 0 or body.rfind(_AUDIO) >= 0


def _find_media(messages: Raw) -> frozenset[str]:
    """The kinds of parts in the messages that are not text."""
    read = read_fields(_MESSAGES, messages, "messages")
    return _MEDIA & {part.type for message in read if isinstance(message.content, list) for part in message.content}
