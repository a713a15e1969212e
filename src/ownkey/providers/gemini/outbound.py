"""Gemini's native API as a provider speaks it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.errors import RequestError
from ownkey.providers.conversation import Answer, Conversation
from ownkey.providers.dialect import Call, auth_header, request_url
from ownkey.providers.failures import read_failure
from ownkey.providers.gemini.count_tokens import wrap_request
from ownkey.providers.gemini.models import model_path
from ownkey.providers.gemini.read_answer import read_answer
from ownkey.providers.gemini.read_stream import GeminiStreamReader
from ownkey.providers.gemini.write_request import build_request
from ownkey.providers.translation import StreamReader


class GeminiOutbound:
    """See `Outbound`. The key goes into the header that the provider's row names, never into the address."""

    def write_request(
        self, provider: Provider, base_url: str, call: Call, conversation: Conversation
    ) -> UpstreamRequest:
        """The provider's request, or one that counts its tokens. Raises RequestError for what Gemini cannot carry."""
        if call.operation not in ("chat", "count_tokens"):
            raise RequestError(f"{provider.label} has no {call.operation}.", param="model")
        counts = call.operation == "count_tokens"
        request = build_request(conversation, call.model)
        try:
            body = msgspec.json.encode(wrap_request(request, call.model) if counts else request)
        except (RecursionError, UnicodeError):
            # A value that could just be read may be too deep to be written.
            raise RequestError("The body is nested too deeply.") from None
        return post(provider, base_url, call, "countTokens" if counts else generating(call), body)

    def read_answer(self, body: bytes, call: Call) -> Answer:
        """The neutral form of a 2xx answer. Raises AnswerFailed and ValueError."""
        return read_answer(body, call)

    def stream_reader(self, call: Call) -> StreamReader:
        """A fresh reader for one stream."""
        return GeminiStreamReader(call)

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)


def generating(call: Call) -> str:
    """The method that answers a conversation."""
    return "streamGenerateContent?alt=sse" if call.stream else "generateContent"


def post(provider: Provider, base_url: str, call: Call, method: str, body: bytes) -> UpstreamRequest:
    """A request to one of a model's methods."""
    accept = "text/event-stream" if call.stream else "application/json"
    headers = {"content-type": "application/json", "accept": accept, **provider.headers}
    url = request_url(provider, base_url, f"/{model_path(call.model)}:{method}")
    return UpstreamRequest("POST", url, tuple(headers.items()), body, auth_header(provider))
