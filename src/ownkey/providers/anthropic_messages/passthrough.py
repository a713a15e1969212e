"""Anthropic's dialect on both sides: a Claude client's bytes go to Claude, and Claude's come back.

A request is read one level deep and written back with another `model`; every other value keeps its bytes, but for
reasoning that another provider has sealed. An answer is not touched at all, only its usage is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.count_tokens import read_counted
from ownkey.providers.anthropic_messages.envelope import PATHS, address
from ownkey.providers.anthropic_messages.foreign_seals import take_out
from ownkey.providers.anthropic_messages.passing_stream import PassingStreamDecoder
from ownkey.providers.anthropic_messages.stop_reasons import read_stop_reason
from ownkey.providers.anthropic_messages.usage import decode_usage
from ownkey.providers.dialect import AnswerFailed, Call, Decoded, StreamDecoder
from ownkey.providers.failures import read_failure, read_failure_in_answer
from ownkey.providers.lookalikes import refuse_lookalikes
from ownkey.providers.translation import FINISH_WORDS
from ownkey.providers.unreadable import UNREADABLE

_ABSENT: Final = Raw(b"null")


class _Answer(Struct):
    type: str
    content: list[Raw] | None = None
    stop_reason: str | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_encode: Final = msgspec.json.Encoder().encode


class AnthropicPassthrough:
    """Adapter for Claude's clients at every provider that takes `/messages` in Anthropic's form."""

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """The client's body with the upstream's model name. Raises RequestError for what the provider lacks."""
        if call.operation not in PATHS:
            raise RequestError(f"{provider.label} has no {call.operation}.", param="model")
        try:
            body = _BODY.decode(call.body)
        except UNREADABLE:
            raise RequestError("The body is not a JSON object.") from None
        refuse_lookalikes(body)
        body["model"] = Raw(_encode(call.model))
        messages = take_out(body["messages"]) if "messages" in body else None
        if messages is not None:
            body["messages"] = messages
        return address(provider, base_url, call, _encode(body))

    def decode(self, body: bytes, call: Call) -> Decoded:
        """The answer as it came. Raises AnswerFailed for an error that came with status 200, else ValueError."""
        if call.operation == "count_tokens":
            read_counted(body)
            return Decoded(body=body)
        try:
            answer = _ANSWER.decode(body)
        except UNREADABLE:
            raise ValueError("not an answer in Anthropic's form") from None
        if answer.type == "error":
            raise AnswerFailed(read_failure_in_answer(bytes(answer.error)))
        if answer.content is None:
            raise ValueError("a message without content")
        raw_usage = bytes(answer.usage)
        usage = decode_usage(raw_usage)
        return Decoded(
            body=body,
            tokens=usage.tokens if usage is not None else None,
            raw_usage=raw_usage if usage is not None else None,
            finish_reason=FINISH_WORDS[read_stop_reason(answer.stop_reason)] if answer.stop_reason else None,
        )

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """A decoder that passes events on unchanged."""
        return PassingStreamDecoder()

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)
