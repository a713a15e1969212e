"""Gemini's native API as a client speaks it. The model and the method are in the address, not in the body."""

from __future__ import annotations

from ownkey.providers.conversation import Answer, Conversation
from ownkey.providers.dialect import Call
from ownkey.providers.gemini.read_request import read_request
from ownkey.providers.gemini.write_answer import write_answer
from ownkey.providers.gemini.write_stream import GeminiStreamWriter
from ownkey.providers.translation import StreamWriter


class GeminiInbound:
    """See `Inbound`. The stream that is written is of server-sent events; `JSONArrayStream` makes a list of it."""

    def read_request(self, call: Call) -> Conversation:
        """The neutral form of `call.body`. Raises RequestError that names the faulty field."""
        return read_request(call.body, counts=call.operation == "count_tokens")

    def write_answer(self, answer: Answer, call: Call, conversation: Conversation) -> bytes:
        """A `GenerateContentResponse`."""
        return write_answer(answer, conversation)

    def stream_writer(self, call: Call, conversation: Conversation) -> StreamWriter:
        """A fresh writer for one stream."""
        return GeminiStreamWriter(conversation)
