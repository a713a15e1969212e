"""The chat dialect as a provider speaks it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.errors import RequestError
from ownkey.providers.conversation import Answer, Conversation
from ownkey.providers.dialect import Call, auth_header, request_url
from ownkey.providers.failures import read_failure
from ownkey.providers.openai_chat.read_answer import read_answer
from ownkey.providers.openai_chat.read_stream import ChatStreamReader
from ownkey.providers.openai_chat.write_request import write_request
from ownkey.providers.translation import StreamReader


class OpenAIChatOutbound:
    """Writes chat completion requests and reads chat completions."""

    def write_request(
        self, provider: Provider, base_url: str, call: Call, conversation: Conversation
    ) -> UpstreamRequest:
        """The provider's request. Raises RequestError, with the field's name, for what cannot be carried."""
        if call.operation != "chat":
            raise RequestError(f"{provider.label} has no {call.operation} in this form.", param="model")
        try:
            body = msgspec.json.encode(write_request(provider, call, conversation))
        except (RecursionError, UnicodeError):
            # A value that could just be read may be too deep to be written.
            raise RequestError("The body is nested too deeply.") from None
        accept = "text/event-stream" if call.stream else "application/json"
        headers = (("content-type", "application/json"), ("accept", accept), *provider.headers.items())
        url = request_url(provider, base_url, "/chat/completions")
        return UpstreamRequest("POST", url, headers, body, auth_header(provider))

    def read_answer(self, body: bytes, call: Call) -> Answer:
        """The neutral form of a 2xx answer. Raises AnswerFailed for an error, ValueError for what is no answer."""
        return read_answer(body, call.model)

    def stream_reader(self, call: Call) -> StreamReader:
        """A fresh reader of chunks."""
        return ChatStreamReader(call)

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return read_failure(status, headers, body)
