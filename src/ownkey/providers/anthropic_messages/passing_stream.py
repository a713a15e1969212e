"""Claude's stream for Claude's clients: bytes pass through, and only what matters is looked at.

Until the first content and from `message_delta` on, every event is parsed. In between, where nearly all events are,
one costs a search or a few: a JSON string cannot hold an unescaped quote, so `"error"` in an event is a type or a
field and never a part of somebody's text.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.anthropic_messages.error_event import write_error_event
from ownkey.providers.anthropic_messages.stop_reasons import read_stop_reason
from ownkey.providers.anthropic_messages.usage import StreamUsage
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
from ownkey.providers.translation import FINISH_WORDS
from ownkey.providers.unreadable import TOO_DEEP, UNREADABLE

# A provider that says nothing for this long is given its way: the client gets what there is.
_HELD_LIMIT_BYTES: Final = 1024 * 1024
_ABSENT: Final = Raw(b"null")
_CONTENT: Final = b"event: content_block_delta\n"
_TELLING: Final = (b'"message_delta"', b'"message_stop"', b'"error"')
# These blocks begin empty; every other one is content by itself.
_EMPTY_AT_FIRST: Final = frozenset({"text", "thinking"})


class _Delta(Struct):
    text: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None


class _Block(Struct):
    type: str
    text: str | None = None
    thinking: str | None = None


class _Message(Struct):
    usage: Raw = _ABSENT


class _Event(Struct):
    type: str
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


_EVENT: Final = msgspec.json.Decoder(_Event)


class PassingStreamDecoder:
    """Passes Messages events on unchanged. See `StreamDecoder` for the attributes."""

    def __init__(self) -> None:
        self.committed = False
        self.complete = False
        self.failure: Failure | None = None
        self.finish_reason: str | None = None
        self._splitter = EventSplitter()
        self._usage = StreamUsage()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._flowing = False  # after the first content, before the end

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
        if self._flowing:
            # A provider writes whole events, so this is the way of nearly every chunk.
            if not self._splitter.held and data.endswith(b"\n\n") and _is_plain(data):
                return data
        elif self.failure is not None or self.complete:
            return b""
        try:
            block = self._splitter.feed(data)
        except EventTooLong:
            self._fail(Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an endless event."))
            return b""
        if self.committed:
            return b"".join([event for event in split_events(block) if self._pass(event)])
        return self._hold(block)

    def finish(self) -> bytes:
        """What is left at the end: an event without an empty line, or an error that came instead of a stream."""
        rest = self._splitter.finish()
        if self.failure is not None or self.complete or not rest.strip():
            return b""
        if not self.committed and not self._held and rest.lstrip().startswith(b"{"):
            self._fail(read_failure_in_answer(rest))
            return b""
        # Only an event that can be read whole is an event; the spec drops one that was cut off.
        event = rest.rstrip(b"\r\n") + b"\n\n"
        return self.feed(event) if _is_whole(event) else b""

    def break_off(self, failure: Failure) -> bytes:
        """The error event, as Claude's clients raise it."""
        return write_error_event(failure)

    def _hold(self, block: bytes) -> bytes:
        """Keep everything back until there is content; then give out all of it."""
        for event in split_events(block):
            if self._keep(event):
                self._held.append(event)
                self._held_bytes += len(event)
        if self.failure is not None and not self.committed:
            self._held.clear()
        elif self.committed or self.complete or self._held_bytes > _HELD_LIMIT_BYTES:
            held, self._held = b"".join(self._held), []
            self.committed = True
            self._flowing = not self.complete and self.failure is None and self.finish_reason is None
            return held
        return b""

    def _pass(self, event: bytes) -> bool:
        """Whether the client gets an event after the commit; most of them go unread."""
        return (self._flowing and _is_plain(event)) or self._keep(event)

    def _fail(self, failure: Failure) -> None:
        self.failure, self._flowing = failure, False

    def _keep(self, event: bytes) -> bool:
        """Read one event. Whether the client gets it."""
        if self.failure is not None or self.complete:
            return False
        data = read_event(event).data
        if not data:
            return True
        try:
            read = _EVENT.decode(data)
        except RecursionError:
            self._fail(TOO_DEEP)
            return False
        except UNREADABLE:
            # Not for us to judge: an extension that the client may understand.
            return True
        return self._look_at(read)

    def _look_at(self, event: _Event) -> bool:
        match event.type:
            case "message_start":
                self._usage.add(bytes(event.message.usage if event.message is not None else _ABSENT))
            case "content_block_start":
                self.committed = self.committed or _has_content(event.content_block)
            case "content_block_delta":
                self.committed = True
            case "message_delta":
                self._usage.add(bytes(event.usage))
                if event.delta is not None and event.delta.stop_reason:
                    self.finish_reason = FINISH_WORDS[read_stop_reason(event.delta.stop_reason)]
                self._flowing = False
            case "message_stop":
                self.complete, self._flowing = True, False
            case "error":
                self._fail(read_failure_in_answer(bytes(event.error)))
                return False
        return True


def _is_plain(block: bytes) -> bool:
    """Whether a block holds content and nothing else."""
    if block.startswith(_CONTENT) and block.find(b"\n\n") == len(block) - 2:
        return True  # one event, and it says so itself
    return all(block.find(word) < 0 for word in _TELLING)


def _has_content(block: _Block | None) -> bool:
    if block is None:
        return False
    return block.type not in _EMPTY_AT_FIRST or bool(block.text or block.thinking)


def _is_whole(event: bytes) -> bool:
    try:
        _EVENT.decode(read_event(event).data)
    except UNREADABLE:
        return False
    return True
