"""What routing must know of a `GenerateContentRequest` or of a request for embeddings.

The model and whether to stream are in the address: who reads that puts them into what is returned here.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ownkey.domain.routing import Needs
from ownkey.errors import RequestError
from ownkey.providers.peek import NOTHING, Peek, count_input, read_fields


class _Config(Struct):
    responseSchema: Raw | UnsetType = UNSET  # noqa: N815 - Google's names, of which both forms are read
    response_schema: Raw | UnsetType = UNSET
    responseJsonSchema: Raw | UnsetType = UNSET  # noqa: N815
    response_json_schema: Raw | UnsetType = UNSET


class _Fields(Struct):
    contents: Raw
    tools: Raw | UnsetType = UNSET
    generationConfig: _Config | None = None  # noqa: N815
    generation_config: _Config | None = None


class _EmbeddingFields(Struct):
    content: Raw | UnsetType = UNSET
    requests: Raw | UnsetType = UNSET


class _CountFields(Struct):
    contents: Raw | UnsetType = UNSET
    generateContentRequest: Raw | UnsetType = UNSET  # noqa: N815
    generate_content_request: Raw | UnsetType = UNSET


class _Blob(Struct):
    mimeType: str | None = None  # noqa: N815
    mime_type: str | None = None


class _Part(Struct):
    inlineData: _Blob | None = None  # noqa: N815
    inline_data: _Blob | None = None
    fileData: _Blob | None = None  # noqa: N815
    file_data: _Blob | None = None


class _Content(Struct):
    parts: list[_Part] | _Part | None = None


_REQUEST: Final = msgspec.json.Decoder(_Fields)
_EMBEDDING: Final = msgspec.json.Decoder(_EmbeddingFields)
_COUNT: Final = msgspec.json.Decoder(_CountFields)
_CONTENTS: Final = msgspec.json.Decoder(list[_Content] | _Content)
# Quotes inside JSON strings are escaped, so these find a field's name and hardly ever anything else.
_MARKS: Final = (b'"inlineData"', b'"inline_data"', b'"fileData"', b'"file_data"')


def peek(body: bytes) -> Peek:
    """Look at a body of `generateContent`. Raises RequestError with the name of the faulty field."""
    fields = read_fields(_REQUEST, body)
    config = fields.generationConfig or fields.generation_config or _Config()
    types = _media_types(body, fields.contents)
    needs = Needs(
        tools=fields.tools is not UNSET and bytes(fields.tools) not in NOTHING,
        images=any(name.startswith("image/") for name in types),
        documents=any(not name.startswith(("image/", "audio/", "video/")) for name in types),
        audio=any(name.startswith("audio/") for name in types),
        json_schema=any(
            schema is not UNSET and bytes(schema) not in NOTHING
            for schema in (
                config.responseSchema,
                config.response_schema,
                config.responseJsonSchema,
                config.response_json_schema,
            )
        ),
        input_tokens=count_input(body, media=bool(types)),
    )
    return Peek(needs=needs, wants_usage=True)


def peek_count(body: bytes) -> Peek:
    """Look at a body of `countTokens`."""
    fields = read_fields(_COUNT, body)
    for request in (fields.generateContentRequest, fields.generate_content_request):
        if not isinstance(request, UnsetType):
            return peek(bytes(request))
    if fields.contents is UNSET:
        raise RequestError("The body is not a valid request: it has no `contents`.", param="contents")
    return peek(body)


def peek_embeddings(body: bytes) -> Peek:
    """Look at a body of `embedContent` or `batchEmbedContents`."""
    fields = read_fields(_EMBEDDING, body)
    if fields.content is UNSET and fields.requests is UNSET:
        raise RequestError("The body is not a valid request: it has no `content`.", param="content")
    return Peek()


def _media_types(body: bytes, contents: Raw) -> list[str]:
    """The types of all files in the contents."""
    if not any(mark in body for mark in _MARKS):
        return []
    read = read_fields(_CONTENTS, contents, "contents")
    return [
        file.mimeType or file.mime_type or ""
        for content in (read if isinstance(read, list) else [read])
        for part in (content.parts if isinstance(content.parts, list) else [content.parts or _Part()])
        for file in (part.inlineData, part.inline_data, part.fileData, part.file_data)
        if file is not None
    ]
