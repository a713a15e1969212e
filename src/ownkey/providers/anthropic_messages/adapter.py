"""Anthropic's dialect: chat completions go in as Messages requests, and come back as chat completions.

What is translated, what is refused and why is said in `anthropic_request` and `anthropic_conversation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.chat_answer import decode_answer
from ownkey.providers.anthropic_messages.chat_request import build_request
from ownkey.providers.anthropic_messages.chat_stream import AnthropicStreamDecoder
from ownkey.providers.dialect import Call, Decoded, StreamDecoder, auth_header, request_url
from ownkey.providers.failures import read_failure

_VERSION_HEADER: Final = "anthropic-version"
_VERSION: Final = "2023-06-01"


class AnthropicMessages:
    """Adapter for every provider that speaks `/messages` in Anthropic's form."""

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """A Messages request. Raises RequestError for what Claude cannot do."""
        if call.operation != "chat":
            raise RequestError(f"{provider.label} has no {call.operation}.", param="model")
        request = build_request(call.body, call.model)
        try:
            body = msgspec.json.encode(request)
        except (RecursionError, UnicodeError):
            # A value that could just be read may be too deep to be written.
            raise RequestError("The body is nested too deeply.") from None
        accept = "text/event-stream" if call.stream else "application/json"
        headers = {"content-type": "application/json", "accept": accept, _VERSION_HEADER: _VERSION, **provider.headers}
        return UpstreamRequest(
            "POST",
            request_url(provider, base_url, "/messages"),
            tuple(headers.items()),
            body,
            auth_header(provider),
        )

    def decode(self, body: bytes, call: Call) -> Decoded:
        """The chat completion of an answer."""
        return decode_answer(body)

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """A decoder that turns events into chunks."""
        return AnthropicStreamDecoder(call)

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)
