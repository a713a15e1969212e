"""Gemini for Gemini's clients: bytes pass through, to the model that the address names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.errors import RequestError
from ownkey.providers.counted_searches import add_searches, count_queries, read_queries
from ownkey.providers.dialect import AnswerFailed, Call, Decoded, StreamDecoder
from ownkey.providers.failures import read_failure, read_failure_in_answer
from ownkey.providers.gemini import response as wire
from ownkey.providers.gemini.count_tokens import WRAPPER, read_counted
from ownkey.providers.gemini.finish import has_ended, read_finish
from ownkey.providers.gemini.models import resource_name
from ownkey.providers.gemini.outbound import generating, post
from ownkey.providers.gemini.passing_stream import GeminiPassingStream
from ownkey.providers.gemini.seal_return import return_seals
from ownkey.providers.gemini.usage import read_usage
from ownkey.providers.translation import FINISH_WORDS
from ownkey.providers.unreadable import UNREADABLE


class _Embeddings(Struct, rename="camel"):
    embedding: Raw = wire.ABSENT
    embeddings: Raw = wire.ABSENT
    usage_metadata: Raw = wire.ABSENT
    error: Raw = wire.ABSENT


_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_REQUESTS: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_EMBEDDINGS: Final = msgspec.json.Decoder(_Embeddings)
_encode: Final = msgspec.json.Encoder().encode
_WRAPPERS: Final = (WRAPPER, "generate_content_request")


class GeminiPassthrough:
    """Adapter between Gemini's clients and its API."""

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """The client's body, with the upstream's model where the body repeats it."""
        match call.operation:
            case "chat":
                return post(provider, base_url, call, generating(call), return_seals(call.body))
            case "count_tokens":
                return post(provider, base_url, call, "countTokens", _name_model(return_seals(call.body), call.model))
            case "embeddings":
                method = "batchEmbedContents" if is_batch(call.body) else "embedContent"
                return post(provider, base_url, call, method, _name_model(call.body, call.model))
        raise RequestError(f"{provider.label} has no {call.operation}.", param="model")

    def decode(self, body: bytes, call: Call) -> Decoded:
        """The answer as it came. Raises AnswerFailed for an error that came with status 200, else ValueError."""
        try:
            match call.operation:
                case "embeddings":
                    return _decode_embeddings(body)
                case "count_tokens":
                    read_counted(body)
                    return Decoded(body=body)
            return _decode_answer(body, call.model)
        except UNREADABLE:
            raise ValueError("not an answer in Gemini's form") from None

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """A decoder that passes events on unchanged."""
        return GeminiPassingStream(call)

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)


def is_batch(body: bytes) -> bool:
    """Whether a request for embeddings is one for several: the two methods differ in that."""
    try:
        return "requests" in _BODY.decode(body)
    except UNREADABLE:
        raise RequestError("The body is not a JSON object.") from None


def _name_model(body: bytes, model: str) -> bytes:
    """The body with the upstream's model wherever the client wrote its own name for it; Google compares them."""
    name = Raw(_encode(resource_name(model)))
    try:
        fields = _BODY.decode(body)
        if "model" in fields:
            fields["model"] = name
        for wrapper in _WRAPPERS:
            if wrapper in fields:
                fields[wrapper] = Raw(_encode({**_BODY.decode(fields[wrapper]), "model": name}))
        if "requests" in fields:
            requests = _REQUESTS.decode(fields["requests"])
            fields["requests"] = Raw(_encode([{**request, "model": name} for request in requests]))
        return _encode(fields)
    except UNREADABLE:
        raise RequestError("The body is not a request in Gemini's form.") from None


def _decode_answer(body: bytes, model: str) -> Decoded:
    response = wire.RESPONSE.decode(body)
    _refuse_error(response.error, body)
    feedback = response.prompt_feedback
    blocked = feedback is not None and bool(feedback.block_reason)
    if response.candidates is None and not blocked and wire.present(response.usage_metadata) is None:
        raise ValueError("an answer without candidates")
    raw_usage = wire.present(response.usage_metadata)
    queries = [one for candidate in response.candidates or () for one in read_queries(candidate.grounding_metadata)]
    return Decoded(
        body=body,
        tokens=read_usage(raw_usage) if raw_usage else None,
        raw_usage=add_searches(raw_usage, count_queries(queries, model)),
        finish_reason=_finish_word(response, blocked),
    )


def _finish_word(response: wire.Response, blocked: bool) -> str | None:
    if not response.candidates:
        return FINISH_WORDS["refusal"] if blocked else None
    candidate = response.candidates[0]
    reason = candidate.finish_reason
    if reason is None or not has_ended(reason):
        return None
    parts = candidate.content.parts or () if candidate.content is not None else ()
    return FINISH_WORDS[read_finish(reason, called=any(part.function_call is not None for part in parts))]


def _decode_embeddings(body: bytes) -> Decoded:
    answer = _EMBEDDINGS.decode(body)
    _refuse_error(answer.error, body)
    if wire.present(answer.embedding) is None and wire.present(answer.embeddings) is None:
        raise ValueError("an embeddings answer without embeddings")
    raw_usage = wire.present(answer.usage_metadata)
    return Decoded(body=body, tokens=read_usage(raw_usage) if raw_usage else None, raw_usage=raw_usage)


def _refuse_error(error: Raw, body: bytes) -> None:
    if wire.present(error) is not None:
        raise AnswerFailed(read_failure_in_answer(body))
