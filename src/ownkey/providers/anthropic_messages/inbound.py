"""Anthropic's dialect as a client speaks it: Claude Code, the Anthropic SDKs and what is built on them."""

from __future__ import annotations

from ownkey.providers.anthropic_messages.read_request import read_request
from ownkey.providers.anthropic_messages.write_answer import write_answer
from ownkey.providers.anthropic_messages.write_stream import AnthropicStreamWriter
from ownkey.providers.conversation import Answer, Conversation
from ownkey.providers.dialect import Call
from ownkey.providers.translation import StreamWriter


class AnthropicInbound:
    """A client of `/messages`."""

    def read_request(self, call: Call) -> Conversation:
        """The neutral form of a Messages request. Raises RequestError that names the faulty field."""
        return read_request(call.body)

    def write_answer(self, answer: Answer, call: Call, conversation: Conversation) -> bytes:
        """The message for an answer."""
        return write_answer(answer)

    def stream_writer(self, call: Call, conversation: Conversation) -> StreamWriter:
        """A fresh writer of Messages events."""
        return AnthropicStreamWriter()
