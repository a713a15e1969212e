"""Responses as a provider speaks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.errors import RequestError
from ownkey.providers.conversation import Answer, Conversation
from ownkey.providers.dialect import Call, auth_header, request_url
from ownkey.providers.failures import read_failure
from ownkey.providers.openai_responses.read_answer import read_answer
from ownkey.providers.openai_responses.read_stream import ResponsesStreamReader
from ownkey.providers.openai_responses.write_request import build_count_request, build_request
from ownkey.providers.translation import StreamReader

PATHS: Final = {"chat": "/responses", "count_tokens": "/responses/input_tokens"}


class ResponsesOutbound:
    """Providers of `/responses`. See `translation.Outbound`."""

    def write_request(
        self, provider: Provider, base_url: str, call: Call, conversation: Conversation
    ) -> UpstreamRequest:
        """The provider's request. Raises RequestError, with the field's name, for what cannot be carried."""
        if call.operation not in PATHS:
            raise RequestError(f"{provider.label} has no {call.operation}.", param="model")
        if call.operation == "count_tokens":
            request = build_count_request(conversation, call.model)
        else:
            request = build_request(conversation, call.model, stream=call.stream)
        try:
            body = msgspec.json.encode(request)
        except (RecursionError, UnicodeError):
            # A value that could just be read may be too deep to be written.
            raise RequestError("The body is nested too deeply.") from None
        return UpstreamRequest(
            "POST",
            request_url(provider, base_url, PATHS[call.operation]),
            request_headers(provider, call),
            body,
            auth_header(provider),
        )

    def read_answer(self, body: bytes, call: Call) -> Answer:
        """The neutral form of a 2xx answer. Raises AnswerFailed and ValueError."""
        return read_answer(body)

    def stream_reader(self, call: Call) -> StreamReader:
        """A fresh reader for one stream."""
        return ResponsesStreamReader()

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)


def request_headers(provider: Provider, call: Call) -> tuple[tuple[str, str], ...]:
    """The headers of a request, without the secret's."""
    accept = "text/event-stream" if call.stream else "application/json"
    return (("content-type", "application/json"), ("accept", accept), *provider.headers.items())
