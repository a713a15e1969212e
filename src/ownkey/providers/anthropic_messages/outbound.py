"""Anthropic's dialect as a provider speaks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.envelope import PATHS, address
from ownkey.providers.anthropic_messages.read_answer import read_answer
from ownkey.providers.anthropic_messages.read_stream import AnthropicStreamReader
from ownkey.providers.anthropic_messages.write_request import Request, build_request
from ownkey.providers.conversation import Answer, Conversation
from ownkey.providers.dialect import Call
from ownkey.providers.failures import read_failure
from ownkey.providers.translation import StreamReader

# What counting takes: the rest says how to answer.
_COUNTED: Final = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config")


class AnthropicOutbound:
    """Claude, and whoever else takes `/messages`."""

    def write_request(
        self, provider: Provider, base_url: str, call: Call, conversation: Conversation
    ) -> UpstreamRequest:
        """A Messages request, or one that counts its input tokens. Raises RequestError for what Claude cannot do."""
        if call.operation not in PATHS:
            raise RequestError(f"{provider.label} has no {call.operation}.", param="model")
        request: Request = build_request(conversation, call.model, stream=call.stream)
        if call.operation == "count_tokens":
            request = {name: request[name] for name in _COUNTED if name in request}
        try:
            body = msgspec.json.encode(request)
        except (RecursionError, UnicodeError):
            # A value that could just be read may be too deep to be written.
            raise RequestError("The body is nested too deeply.") from None
        return address(provider, base_url, call, body)

    def read_answer(self, body: bytes, call: Call) -> Answer:
        """The neutral form of a message."""
        return read_answer(body)

    def stream_reader(self, call: Call) -> StreamReader:
        """A fresh reader of Messages events."""
        return AnthropicStreamReader()

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)
