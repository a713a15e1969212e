"""Responses on both sides: a client's bytes go to the provider, and the provider's come back.

A request is read one level deep and written back with another `model`; every other value keeps its bytes, but for
reasoning and ids of other providers' answers. An answer is not touched at all, only its usage is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.errors import RequestError
from ownkey.providers.counters import Count
from ownkey.providers.dialect import AnswerFailed, Call, Decoded, StreamDecoder, auth_header, request_url
from ownkey.providers.failures import read_failure, read_failure_in_answer
from ownkey.providers.lookalikes import refuse_lookalikes
from ownkey.providers.openai_responses.foreign_items import take_out
from ownkey.providers.openai_responses.ids import is_ours
from ownkey.providers.openai_responses.outbound import PATHS, request_headers
from ownkey.providers.openai_responses.passing_stream import PassingStreamDecoder, finish_reason
from ownkey.providers.openai_responses.wire_items import RESPONSE
from ownkey.providers.unreadable import UNREADABLE


class _Counted(Struct):
    input_tokens: Count = None
    error: Raw = Raw(b"null")


_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_COUNTED: Final = msgspec.json.Decoder(_Counted)
_encode: Final = msgspec.json.Encoder().encode


class ResponsesPassthrough:
    """Adapter for clients of `/responses` at every provider that has it."""

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """The client's body with the upstream's model name. Raises RequestError for what is not passed on."""
        if call.operation not in PATHS:
            raise RequestError(f"{provider.label} has no {call.operation}.", param="model")
        try:
            body = _BODY.decode(call.body)
        except UNREADABLE:
            raise RequestError("The body is not a JSON object.") from None
        refuse_lookalikes(body)
        body["model"] = Raw(_encode(call.model))
        _refuse_later_answers(body)
        given = take_out(body["input"]) if "input" in body else None
        if given is not None:
            body["input"] = given
        return UpstreamRequest(
            "POST",
            request_url(provider, base_url, PATHS[call.operation]),
            request_headers(provider, call),
            _encode(body),
            auth_header(provider),
        )

    def decode(self, body: bytes, call: Call) -> Decoded:
        """The answer as it came. Raises AnswerFailed for a response that failed, ValueError for none."""
        if call.operation == "count_tokens":
            return _decode_count(body)
        try:
            response = RESPONSE.decode(body)
        except UNREADABLE:
            raise ValueError("not an answer in the form of Responses") from None
        failure, tokens = response.failure, response.tokens
        raw_usage = response.raw_usage if tokens is not None else None
        if failure is not None:
            raise AnswerFailed(failure, tokens, raw_usage)
        if response.output is None:
            raise ValueError("a response without output")
        return Decoded(body=body, tokens=tokens, raw_usage=raw_usage, finish_reason=finish_reason(response))

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """A decoder that passes events on unchanged."""
        return PassingStreamDecoder(call)

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)


def _refuse_later_answers(body: dict[str, Raw]) -> None:
    # Some providers take a 1 or a text for it as well.
    if bytes(body.get("background", b"null")) not in (b"null", b"false"):
        raise RequestError(
            "`background` is not passed on: the answer would come later, past the gateway, where nobody counts what it "
            "costs. Leave it out, or stream.",
            param="background",
        )
    try:
        previous = msgspec.json.decode(body.get("previous_response_id", b"null"))
    except UNREADABLE:
        return  # the provider will say what is wrong with it
    if is_ours(previous):
        raise RequestError(
            "The previous response came from a provider that stores none. Send the conversation's items as `input`.",
            param="previous_response_id",
        )


def _decode_count(body: bytes) -> Decoded:
    try:
        counted = _COUNTED.decode(body)
    except UNREADABLE:
        raise ValueError("not a count in the form of Responses") from None
    error = bytes(counted.error)
    if error != b"null":
        raise AnswerFailed(read_failure_in_answer(error))
    if counted.input_tokens is None:
        raise ValueError("a count without a number")
    return Decoded(body=body)
