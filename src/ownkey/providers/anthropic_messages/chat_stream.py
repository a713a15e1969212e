"""Claude's stream as chat completion chunks.

A chunk is put together from bytes: the text of a delta keeps the JSON that Claude wrote, so it is neither
unescaped nor escaped again.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.anthropic_messages.chat_answer import finish_reason, openai_usage
from ownkey.providers.anthropic_messages.usage import StreamUsage
from ownkey.providers.dialect import Call
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.openai_chat.error_event import write_error_event
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
from ownkey.providers.unreadable import TOO_DEEP, UNREADABLE

_ABSENT: Final = Raw(b"null")
_EMPTY: Final = (b'""', b"null")
_DONE: Final = b"data: [DONE]\n\n"
_KEEP_ALIVE: Final = b": ping\n\n"


class _Delta(Struct):
    type: str = ""
    text: Raw = _ABSENT
    thinking: Raw = _ABSENT
    partial_json: Raw = _ABSENT
    stop_reason: str | None = None


class _Block(Struct):
    type: str
    text: Raw = _ABSENT
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _Message(Struct):
    id: str = ""
    model: str = ""
    usage: Raw = _ABSENT


class _Event(Struct):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


class _Tool(Struct):
    """A tool call under way: its position among the calls and whether its arguments have begun."""

    position: int
    input: bytes
    begun: bool = False


_EVENT: Final = msgspec.json.Decoder(_Event)
_encode: Final = msgspec.json.Encoder().encode


class AnthropicStreamDecoder:
    """Turns Messages events into chat completion chunks. See `StreamDecoder` for the attributes."""

    def __init__(self, call: Call) -> None:
        self.committed = False
        self.complete = False
        self.failure: Failure | None = None
        self.finish_reason: str | None = None
        self._wants_usage = call.wants_usage
        self._splitter = EventSplitter()
        self._usage = StreamUsage()
        self._tools: dict[int, _Tool] = {}
        self._head = b""
        self._started = False

    @property
    def tokens(self) -> Tokens | None:
        """The usage that was reported so far, of a broken stream too."""
        return self._usage.tokens

    @property
    def raw_usage(self) -> bytes | None:
        """That usage in the provider's words."""
        return self._usage.raw

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for these provider bytes."""
        if self.failure is not None or self.complete:
            return b""
        try:
            block = self._splitter.feed(data)
        except EventTooLong:
            self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an endless event.")
            return b""
        output = b"".join([self._translate(read_event(event).data) for event in split_events(block)])
        return output if self.committed else b""

    def break_off(self, failure: Failure) -> bytes:
        """The in-band error in OpenAI's form."""
        return write_error_event(failure)

    def finish(self) -> bytes:
        """Nothing is added at the end: Claude's own `message_stop` has already ended the stream."""
        rest = self._splitter.finish()
        return self.feed(rest.rstrip(b"\r\n") + b"\n\n") if rest.strip() else b""

    def _translate(self, data: bytes) -> bytes:
        if not data or self.failure is not None or self.complete:
            return b""
        try:
            event = _EVENT.decode(data)
        except RecursionError:
            self.failure = TOO_DEEP
            return b""
        except UNREADABLE:
            return b""  # Anthropic may add events; unknown ones are to be ignored
        match event.type:
            case "content_block_delta":
                return self._content(event)
            case "content_block_start":
                return self._block_start(event)
            case "content_block_stop":
                return self._block_stop(event.index)
            case "message_start":
                return self._message_start(event)
            case "message_delta":
                return self._message_delta(event)
            case "message_stop":
                return self._message_stop()
            case "ping":
                return _KEEP_ALIVE if self.committed else b""
            case "error":
                self.failure = read_failure_in_answer(bytes(event.error))
        return b""

    def _message_start(self, event: _Event) -> bytes:
        message = event.message or _Message()
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % (
            _encode(message.id),
            int(time.time()),
            _encode(message.model),
        )
        self._usage.add(bytes(message.usage))
        return b""

    def _block_start(self, event: _Event) -> bytes:
        block = event.content_block
        if block is None:
            return b""
        if block.type == "tool_use":
            tool = _Tool(len(self._tools), bytes(block.input))
            self._tools[event.index] = tool
            call = b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":""}}]}' % (
                tool.position,
                _encode(block.id),
                _encode(block.name),
            )
            return self._chunk(call)
        if block.type == "text" and bytes(block.text) not in _EMPTY:
            return self._chunk(b'{"content":%b}' % bytes(block.text))
        return b""

    def _content(self, event: _Event) -> bytes:
        delta = event.delta
        if delta is None:
            return b""
        text = bytes(delta.text)
        if text not in _EMPTY:
            return self._chunk(b'{"content":%b}' % text)
        arguments = bytes(delta.partial_json)
        if arguments not in _EMPTY:
            tool = self._tools.get(event.index)
            if tool is None:
                return b""
            tool.begun = True
            return self._arguments(tool, arguments)
        thinking = bytes(delta.thinking)
        if thinking not in _EMPTY:
            return self._chunk(b'{"reasoning_content":%b}' % thinking)
        return b""

    def _arguments(self, tool: _Tool, arguments: bytes) -> bytes:
        return self._chunk(b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (tool.position, arguments))

    def _block_stop(self, index: int) -> bytes:
        """A tool without arguments gets no delta, but a client parses what it got: `{}`, not nothing."""
        tool = self._tools.get(index)
        if tool is None or tool.begun:
            return b""
        tool.begun = True
        return self._arguments(tool, _encode(tool.input.decode()))

    def _message_delta(self, event: _Event) -> bytes:
        self._usage.add(bytes(event.usage))
        reason = finish_reason(event.delta.stop_reason) if event.delta else None
        if reason is None:
            return b""
        self.finish_reason = reason
        return self._chunk(b"{}", _encode(reason))

    def _message_stop(self) -> bytes:
        self.complete = True
        if not self.committed:
            # An answer without any content and without a reason: still an answer.
            return self._chunk(b"{}", b'"stop"') + self._end()
        return self._end()

    def _end(self) -> bytes:
        tokens = self.tokens if self._wants_usage else None
        if tokens is None:
            return _DONE
        return self._head + b'],"usage":%b}\n\n' % _encode(openai_usage(tokens)) + _DONE

    def _chunk(self, delta: bytes, reason: bytes = b"null") -> bytes:
        chunk = self._head + b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n' % (delta, reason)
        if self.committed:
            return chunk
        self.committed = True
        role = b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n'
        return self._head + role + chunk
