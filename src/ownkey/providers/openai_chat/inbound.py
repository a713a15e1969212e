"""The chat dialect as a client speaks it."""

from __future__ import annotations

from ownkey.providers.conversation import Answer, Conversation
from ownkey.providers.dialect import Call
from ownkey.providers.openai_chat.read_request import read_request
from ownkey.providers.openai_chat.write_answer import write_answer
from ownkey.providers.openai_chat.write_stream import ChatStreamWriter
from ownkey.providers.translation import StreamWriter


class OpenAIChatInbound:
    """Reads chat completion requests and writes chat completions."""

    def read_request(self, call: Call) -> Conversation:
        """The neutral form of `call.body`. Raises RequestError that names the faulty field."""
        return read_request(call.body)

    def write_answer(self, answer: Answer, call: Call, conversation: Conversation) -> bytes:
        """A chat completion."""
        return write_answer(answer, conversation)

    def stream_writer(self, call: Call, conversation: Conversation) -> StreamWriter:
        """A fresh writer of chunks."""
        return ChatStreamWriter(call, conversation)
