"""Streams of pictures, of transcripts and of sound: the bytes pass, and it is noticed whether they came to an end."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.openai_chat.error_event import write_error_event
from ownkey.providers.side_operations.usage import Reported, read_usage
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
from ownkey.providers.unreadable import UNREADABLE

_NULL: Final = Raw(b"null")


class _Event(Struct):
    type: str | None = None
    usage: Raw = _NULL
    error: Raw = _NULL
    message: Raw = _NULL


_EVENT: Final = msgspec.json.Decoder(_Event)


class SoundStream:
    """Sound as it is made. There is no way to say in it that it broke off: the connection has to say so."""

    def __init__(self) -> None:
        self.committed = self.complete = False
        self.failure: Failure | None = None
        self.tokens: Tokens | None = None
        self.raw_usage: bytes | None = None
        self.finish_reason: str | None = None

    def feed(self, data: bytes) -> bytes:
        """The same bytes."""
        self.committed = True
        return data

    def finish(self) -> bytes:
        """HTTP itself told that this is the end."""
        self.complete = self.committed
        return b""

    def break_off(self, failure: Failure) -> bytes:
        """Nothing can be said."""
        return b""


class EventStream:
    """Events of OpenAI's kind: `….delta` or `….partial_image`, then `….completed` or `….done` with the usage.

    See `StreamDecoder` for the attributes.
    """

    def __init__(self) -> None:
        self.committed = self.complete = False
        self.failure: Failure | None = None
        self.finish_reason: str | None = None
        self._reported = Reported()
        self._splitter = EventSplitter()

    @property
    def tokens(self) -> Tokens | None:
        """The usage that was reported so far."""
        return self._reported.tokens

    @property
    def raw_usage(self) -> bytes | None:
        """That usage in the provider's words."""
        return self._reported.raw

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for these provider bytes: whole events."""
        if self.failure is not None:
            return b""
        try:
            block = self._splitter.feed(data)
        except EventTooLong:
            self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an endless event.")
            return b""
        return b"".join([event for event in split_events(block) if self._keep(event)])

    def finish(self) -> bytes:
        """What is left at the end: only an event that can be read whole is an event."""
        rest = self._splitter.finish().rstrip(b"\r\n") + b"\n\n"
        return self.feed(rest) if self.failure is None and _is_whole(rest) else b""

    def break_off(self, failure: Failure) -> bytes:
        """The in-band error, as OpenAI's clients raise it."""
        return write_error_event(failure)

    def _keep(self, event: bytes) -> bool:
        """Read one event. Whether the client gets it."""
        if self.failure is not None:
            return False
        data = read_event(event).data
        if data.strip() == b"[DONE]":
            self.complete = True
            return True
        try:
            said = _EVENT.decode(data) if data else _Event()
        except UNREADABLE:
            return True
        error = bytes(said.error)
        if error != b"null" or said.type == "error":
            self.failure = read_failure_in_answer(error if error != b"null" else data)
            return False
        if said.type is not None:
            self.committed = True
            self.complete = self.complete or said.type.endswith((".completed", ".done"))
        if bytes(said.usage) != b"null":
            self._reported = read_usage(said.usage, _NULL)
        return True


def _is_whole(event: bytes) -> bool:
    data = read_event(event).data
    try:
        return data.strip() == b"[DONE]" or bool(data and _EVENT.decode(data))
    except UNREADABLE:
        return False
