"""A stream of Responses that passes through: only what matters is looked at.

Until the first content every event is parsed. From then on an event is parsed only if it has a field `response` or
`error`, which its beginning and its end have and no delta: a JSON string cannot hold an unescaped quote, so neither
word with its quotes can be a part of somebody's text.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.dialect import Call
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.openai_responses.error_event import failed_error, write_error
from ownkey.providers.openai_responses.wire_items import ABSENT, WireResponse, finish_of
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
from ownkey.providers.translation import FINISH_WORDS
from ownkey.providers.unreadable import TOO_DEEP, UNREADABLE

# A provider that says nothing for this long is given its way: the client gets what there is.
_HELD_LIMIT_BYTES: Final = 1024 * 1024
_GAVE_UP: Final = Failure(outcome=Outcome.OVERLOADED, message="The provider gave up on its answer.")
# What comes before content, besides the announcement of an item that may stay empty.
_PRELUDE: Final = frozenset(
    {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    }
)
_EMPTY_AT_FIRST: Final = frozenset({"message", "reasoning"})


class _Kind(Struct):
    type: str = ""


class _Event(Struct):
    type: str = ""
    item: _Kind | None = None
    response: Raw = ABSENT
    error: Raw = ABSENT


class _Number(Struct):
    sequence_number: int = -1


_EVENT: Final = msgspec.json.Decoder(_Event)
_NUMBER: Final = msgspec.json.Decoder(_Number)
_RESPONSE: Final = msgspec.json.Decoder(WireResponse)
_KIND: Final = msgspec.json.Decoder(_Kind)
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_encode: Final = msgspec.json.Encoder().encode


class PassingStreamDecoder:
    """Passes a stream on unchanged. See `StreamDecoder` for the attributes."""

    def __init__(self, call: Call) -> None:
        self.committed = False
        self.complete = False
        self.failure: Failure | None = None
        self.finish_reason: str | None = None
        self.tokens: Tokens | None = None
        self.raw_usage: bytes | None = None
        self._call = call
        self._splitter = EventSplitter()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._created = ABSENT
        self._last = b""  # what was passed on last

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for these provider bytes."""
        if self.failure is not None:
            return b""
        # A provider writes whole events, so this is the way of nearly every chunk.
        if self.committed and not self._splitter.held and data.endswith(b"\n\n") and _is_plain(data):
            self._last = data
            return data
        try:
            block = self._splitter.feed(data)
        except EventTooLong:
            self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an endless event.")
            return b""
        if self.committed:
            return b"".join([event for event in split_events(block) if self._pass(event)])
        return self._hold(block)

    def finish(self) -> bytes:
        """What is left at the end. An event that was cut off is none."""
        rest = self._splitter.finish().strip()
        if not rest or self.failure is not None or self.complete:
            return b""
        if not self.committed and rest.startswith((b"{", b"[")):
            # Not a stream at all: an error as plain JSON with status 200.
            self.failure = read_failure_in_answer(rest)
            return b""
        try:
            _EVENT.decode(read_event(rest).data)
        except UNREADABLE:
            return b""
        return self.feed(rest + b"\n\n")

    def break_off(self, failure: Failure) -> bytes:
        """OpenAI's own two events for that, with the numbers that the client expects."""
        number = self._last_number() + 1
        try:
            response: dict[str, Any] = dict(_FIELDS.decode(self._created))
        except UNREADABLE:
            response = {"object": "response", "model": self._call.model, "output": []}
        response.update(status="failed", error=failed_error(failure))
        error = _encode({"type": "error", "sequence_number": number, "error": write_error(failure)})
        failed = _encode({"type": "response.failed", "sequence_number": number + 1, "response": response})
        return b"event: error\ndata: %b\n\nevent: response.failed\ndata: %b\n\n" % (error, failed)

    def _last_number(self) -> int:
        for event in reversed(split_events(self._last)):
            try:
                return _NUMBER.decode(read_event(event).data).sequence_number
            except UNREADABLE:
                continue
        return -1

    def _hold(self, block: bytes) -> bytes:
        """Keep everything back until there is content; then give out all of it."""
        for event in split_events(block):
            if self._keep(event):
                self._held.append(event)
                self._held_bytes += len(event)
        if self.failure is not None:
            # Nothing has reached the client, so another provider may still take over.
            self._held.clear()
            self.committed = False
            return b""
        if not (self.committed or self.complete or self._held_bytes > _HELD_LIMIT_BYTES):
            return b""
        held, self._held = b"".join(self._held), []
        self.committed = True
        return held

    def _pass(self, event: bytes) -> bool:
        """Whether the client gets an event after the commit."""
        if self.failure is None and _is_plain(event):
            self._last = event
            return True
        return self._keep(event)

    def _keep(self, event: bytes) -> bool:
        """Read one event. Whether the client gets it."""
        data = read_event(event).data
        try:
            read = _EVENT.decode(data)
            if self.failure is not None:
                # After an error nothing counts but the usage of the response that failed.
                if read.type == "response.failed":
                    self._count(_RESPONSE.decode(read.response))
                return False
            kept = self._read(read, data)
        except RecursionError:
            self._fail(TOO_DEEP)
            return False
        except UNREADABLE:
            # A comment, `[DONE]`, or an extension that the client may understand.
            return self.failure is None
        if kept:
            self._last = event
        return kept

    def _read(self, event: _Event, data: bytes) -> bool:
        error = bytes(event.error)
        if event.type == "error" or (not event.type and error != b"null"):
            self._fail(read_failure_in_answer(data if error == b"null" else error))
            return False
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            return self._end(event)
        if event.type == "response.created":
            self._created = event.response
        elif event.type == "response.output_item.added":
            self.committed = self.committed or event.item is None or event.item.type not in _EMPTY_AT_FIRST
        elif event.type.startswith("response.") and event.type not in _PRELUDE:
            self.committed = True
        return True

    def _end(self, event: _Event) -> bool:
        response = _RESPONSE.decode(event.response)
        self._count(response)
        failure = response.failure or (_GAVE_UP if event.type == "response.failed" else None)
        if failure is not None:
            self._fail(failure)
            return False
        self.finish_reason = finish_reason(response)
        self.complete = True
        return True

    def _fail(self, failure: Failure) -> None:
        self.failure = self.failure or failure

    def _count(self, response: WireResponse) -> None:
        tokens = response.tokens
        if tokens is not None:
            self.tokens, self.raw_usage = tokens, response.raw_usage


def finish_reason(response: WireResponse) -> str:
    """Why an answer ended, in the words of the records."""
    try:
        kinds = {_KIND.decode(item).type for item in response.output or ()}
    except UNREADABLE:
        kinds = set()
    called = not kinds.isdisjoint({"function_call", "custom_tool_call"})
    return FINISH_WORDS[finish_of(response, called=called, refused=False)]


def _is_plain(block: bytes) -> bool:
    """Whether a block says nothing about the response as a whole."""
    return block.find(b'"response"') < 0 and block.find(b'"error"') < 0
