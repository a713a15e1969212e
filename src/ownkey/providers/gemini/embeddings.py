"""Embeddings between OpenAI's form and Gemini's.

A Gemini provider is asked by its own `batchEmbedContents`. Google has an endpoint in OpenAI's form beside it, but that
takes the key in another header and does not know `encoding_format`.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Any, Final, Literal, NoReturn

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.domain.usage import Tokens
from ownkey.errors import RequestError
from ownkey.providers.dialect import Adapter, AnswerFailed, Call, Decoded, StreamDecoder
from ownkey.providers.failures import read_failure, read_failure_in_answer
from ownkey.providers.gemini.fields import read_body, read_integer, read_list, read_object, read_text
from ownkey.providers.gemini.models import resource_name
from ownkey.providers.gemini.outbound import post
from ownkey.providers.gemini.passthrough import is_batch
from ownkey.providers.gemini.usage import read_usage, write_usage
from ownkey.providers.openai_chat.passthrough import OpenAIChat
from ownkey.providers.peek import read_fields
from ownkey.providers.unreadable import UNREADABLE

_ABSENT: Final = Raw(b"null")
_encode: Final = msgspec.json.Encoder().encode


class _OpenAIRequest(Struct):
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    model: Raw = _ABSENT
    user: Raw = _ABSENT


class _Vector(Struct):
    values: Raw


class _GeminiAnswer(Struct, rename="camel"):
    embeddings: list[_Vector] | None = None
    usage_metadata: Raw = _ABSENT
    error: Raw = _ABSENT


class _Embedding(Struct):
    embedding: list[float] | str
    index: int = 0


class _OpenAIAnswer(Struct):
    data: list[_Embedding]


_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_REQUEST: Final = msgspec.json.Decoder(_OpenAIRequest)
_GEMINI: Final = msgspec.json.Decoder(_GeminiAnswer)
_OPENAI: Final = msgspec.json.Decoder(_OpenAIAnswer)
_FLOATS: Final = msgspec.json.Decoder(list[float])


class GeminiEmbeddings:
    """Adapter between OpenAI's clients and a Gemini provider, for the operation `embeddings`."""

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """A `batchEmbedContents` request. Raises RequestError for what Gemini cannot carry."""
        request = read_fields(_REQUEST, call.body)
        for name in _FIELDS.decode(call.body):
            if name not in _OpenAIRequest.__struct_fields__:
                raise RequestError(f"Gemini's embeddings have nothing like `{name[:60]}`.", param=name[:60])
        texts = [request.input] if isinstance(request.input, str) else request.input
        common: dict[str, Any] = {"model": resource_name(call.model)}
        if request.dimensions is not None:
            common["outputDimensionality"] = request.dimensions
        requests = []
        for text in texts:
            if not isinstance(text, str):
                raise RequestError("Gemini embeds texts; only OpenAI's own models know these tokens.", param="input")
            requests.append({**common, "content": {"parts": [{"text": text}]}})
        return post(provider, base_url, call, "batchEmbedContents", _encode({"requests": requests}))

    def decode(self, body: bytes, call: Call) -> Decoded:
        """OpenAI's list of embeddings. Raises AnswerFailed for an error with status 200, else ValueError."""
        try:
            answer = _GEMINI.decode(body)
            if bytes(answer.error) != b"null":
                raise AnswerFailed(read_failure_in_answer(body))
            if answer.embeddings is None:
                raise ValueError("an embeddings answer without embeddings")
            packed = read_fields(_REQUEST, call.body).encoding_format == "base64"
            vectors = [_pack(vector.values) if packed else vector.values for vector in answer.embeddings]
        except (*UNREADABLE, struct.error, OverflowError):
            raise ValueError("not an answer in Gemini's form") from None
        raw_usage = bytes(answer.usage_metadata)
        tokens = read_usage(raw_usage) if raw_usage != b"null" else None
        counted = tokens.input_total if tokens is not None else 0
        document = {
            "object": "list",
            "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
            "model": call.model,
            "usage": {"prompt_tokens": counted, "total_tokens": counted},
        }
        return Decoded(body=_encode(document), tokens=tokens, raw_usage=raw_usage if tokens is not None else None)

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """Embeddings are never streamed."""
        _refuse_stream()

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)


class OpenAIEmbeddings:
    """Adapter between Gemini's clients and a provider in OpenAI's form, for the operation `embeddings`.

    What a text is for (`taskType`, `title`) is advice that only Google's models take, so it is left out.
    """

    def __init__(self) -> None:
        self._openai: Adapter = OpenAIChat()

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """An `/embeddings` request. Raises RequestError for anything but text."""
        fields = read_body(call.body)
        requests = read_list(fields["requests"]) if "requests" in fields else [fields]
        texts, sizes = [], set()
        for position, request in enumerate(requests):
            place = f"requests[{position}]" if "requests" in fields else ""
            text, size = _read_request(request, place)
            texts.append(text)
            sizes.add(size)
        if len(sizes) > 1:
            raise RequestError("All texts of one request must have the same `outputDimensionality`.", param="requests")
        body: dict[str, Any] = {"model": call.model, "input": texts}
        if sizes and (size := sizes.pop()) is not None:
            body["dimensions"] = size
        return self._openai.encode(provider, base_url, replace(call, body=_encode(body)))

    def decode(self, body: bytes, call: Call) -> Decoded:
        """Gemini's `embeddings`, or its `embedding` where the client asked for one."""
        decoded = self._openai.decode(body, call)
        try:
            data = sorted(_OPENAI.decode(body).data, key=lambda entry: entry.index)
            vectors = [{"values": _unpack(entry.embedding)} for entry in data]
        except (*UNREADABLE, struct.error, binascii.Error):
            raise ValueError("not an embeddings answer in the OpenAI form") from None
        document: dict[str, Any]
        if is_batch(call.body):
            document = {"embeddings": vectors}
        elif vectors:
            document = {"embedding": vectors[0]}
        else:
            raise ValueError("an embeddings answer without embeddings")
        if decoded.tokens is not None:
            document["usageMetadata"] = _input_usage(decoded.tokens)
        return replace(decoded, body=_encode(document))

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """Embeddings are never streamed."""
        _refuse_stream()

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return self._openai.read_failure(status, headers, body)


def _read_request(value: Any, place: str) -> tuple[str, int | None]:
    """The text of one request, and how long its vector shall be."""
    fields = read_object(value, place)
    front = f"{place}." if place else ""
    content = read_object(fields.pop("content", None), f"{front}content")
    texts = []
    for position, part in enumerate(read_list(content.get("parts", []))):
        where = f"{front}content.parts[{position}]"
        inner = read_object(part, where)
        if set(inner) != {"text"}:
            raise RequestError("Only texts are embedded here.", param=where)
        texts.append(read_text(inner["text"], f"{where}.text"))
    size = fields.pop("outputDimensionality", None)
    for name in ("model", "taskType", "title"):
        fields.pop(name, None)
    for name in fields:
        raise RequestError(f"Embeddings of OpenAI's form have nothing like `{name[:60]}`.", param=f"{front}{name[:60]}")
    return "\n".join(texts), None if size is None else read_integer(size, f"{front}outputDimensionality")


def _pack(values: Raw) -> str:
    """A vector as OpenAI packs it: little-endian floats of 32 bits in base64."""
    floats = _FLOATS.decode(values)
    return base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()


def _unpack(vector: list[float] | str) -> list[float]:
    """A vector as numbers, of a provider that packs it unasked."""
    if isinstance(vector, list):
        return vector
    packed = base64.b64decode(vector, validate=True)
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))


def _input_usage(tokens: Tokens) -> dict[str, int]:
    usage = write_usage(tokens)
    del usage["candidatesTokenCount"]
    return usage


def _refuse_stream() -> NoReturn:
    raise RequestError("Embeddings are not streamed.", param="stream")
