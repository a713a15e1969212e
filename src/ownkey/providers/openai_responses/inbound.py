"""Responses as a client speaks it."""

from __future__ import annotations

from ownkey.providers.conversation import Answer, Conversation
from ownkey.providers.dialect import Call
from ownkey.providers.openai_responses.read_request import read_request
from ownkey.providers.openai_responses.write_answer import write_answer
from ownkey.providers.openai_responses.write_stream import ResponsesStreamWriter
from ownkey.providers.translation import StreamWriter


class ResponsesInbound:
    """Clients of `/responses`. See `translation.Inbound`."""

    def read_request(self, call: Call) -> Conversation:
        """The neutral form of `call.body`. Raises RequestError that names the faulty field."""
        return read_request(call.body)

    def write_answer(self, answer: Answer, call: Call, conversation: Conversation) -> bytes:
        """A whole answer as a Response."""
        return write_answer(answer, call, conversation)

    def stream_writer(self, call: Call, conversation: Conversation) -> StreamWriter:
        """A fresh writer for one stream."""
        return ResponsesStreamWriter(call, conversation)
