"""The adapter of these operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Offer, Provider, SideOperation
from ownkey.errors import RequestError
from ownkey.providers.dialect import AnswerFailed, Call, Decoded, StreamDecoder, auth_header, request_url
from ownkey.providers.failures import read_failure, read_failure_in_answer
from ownkey.providers.lookalikes import refuse_lookalikes
from ownkey.providers.side_operations.forms import Pieces, read_form
from ownkey.providers.side_operations.peek import FORMS
from ownkey.providers.side_operations.streams import EventStream, SoundStream
from ownkey.providers.side_operations.usage import read_usage
from ownkey.providers.unreadable import UNREADABLE

PATHS: Final[dict[SideOperation, str]] = {
    "images": "/images/generations",
    "image_edits": "/images/edits",
    "speech": "/audio/speech",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
    "moderations": "/moderations",
    "rerank": "/rerank",
}
# A transcript may be asked for as plain text or as subtitles.
_NOT_ONLY_JSON: Final = ("transcriptions", "translations")
# What a browser would do with an answer is not for a provider to decide: only these types are passed on.
_TYPES: Final = re.compile(
    r"(?:audio|video)/[\w.+-]+|image/(?:png|jpeg|webp|gif|avif)|text/(?:plain|vtt|event-stream)"
    r"|application/(?:json|x-subrip)"
)
_OTHER_TYPE: Final = "application/octet-stream"
_NULL: Final = Raw(b"null")


class _Answer(Struct):
    usage: Raw = _NULL
    meta: Raw = _NULL
    error: Raw = _NULL


_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_ANSWER: Final = msgspec.json.Decoder(_Answer)


class SideOperations:
    """Adapter of every provider that has such operations."""

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """The client's request with the upstream's model. Raises RequestError for what the provider lacks."""
        operation = cast(SideOperation, call.operation)
        offer = provider.operations.get(operation)
        if offer is None:
            raise RequestError(f"{provider.label} has no {operation.replace('_', ' ')}.", param="model")
        if operation in FORMS:
            form = read_form(call.body, call.content_type)
            body: bytes | Pieces = form.replace("model", call.model)
            content_type = form.content_type
        else:
            body, content_type = _with_model(call.body, call.model), "application/json"
        headers = (("content-type", content_type), ("accept", "*/*"), *provider.headers.items())
        return UpstreamRequest("POST", _url(provider, base_url, operation, offer), headers, body, auth_header(provider))

    def decode(self, body: bytes, call: Call) -> Decoded:
        """The answer as it came. Raises AnswerFailed for an error that came with status 200, else ValueError."""
        try:
            answer = _ANSWER.decode(body)
        except UNREADABLE:
            if call.operation in _NOT_ONLY_JSON:
                return Decoded(body=body)
            raise ValueError("not an answer in JSON") from None
        error = bytes(answer.error)
        if error != b"null":
            raise AnswerFailed(read_failure_in_answer(error))
        reported = read_usage(answer.usage, answer.meta)
        return Decoded(body=body, tokens=reported.tokens, raw_usage=reported.raw)

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """A decoder for sound, or for events."""
        return EventStream() if call.operation != "speech" or asks_for_events(call.body) else SoundStream()

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)


def read_content_type(headers: Mapping[str, str]) -> str:
    """The type under which the client gets the answer; `headers` are the provider's, under lower-case names."""
    given = headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if not _TYPES.fullmatch(kind):
        return _OTHER_TYPE
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def is_stream(call: Call, headers: Mapping[str, str]) -> bool:
    """Whether the provider streams: some ignore that they were asked to."""
    return call.operation == "speech" or headers.get("content-type", "").startswith("text/event-stream")


def asks_for_events(body: bytes) -> bool:
    """Whether speech was asked for as events with base64 in them."""
    try:
        return bytes(_BODY.decode(body).get("stream_format", _NULL)) == b'"sse"'
    except UNREADABLE:
        return False


def _with_model(body: bytes, model: str) -> bytes:
    try:
        fields = _BODY.decode(body)
    except UNREADABLE:
        raise RequestError("The body is not a JSON object.") from None
    refuse_lookalikes(fields)
    fields["model"] = Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def _url(provider: Provider, base_url: str, operation: SideOperation, offer: Offer) -> str:
    if offer.path is None:
        return request_url(provider, base_url, PATHS[operation])
    # The host stays the one that the secret was stored with.
    parts = urlsplit(request_url(provider, base_url, ""))
    return urlunsplit((parts.scheme, parts.netloc, offer.path, "", ""))
