"""Gemini's stream for Gemini's clients: events pass through, and only what matters is looked at.

Until the first content every event is parsed. After that one costs a few substring searches, unless it says why the
answer ended: a JSON string cannot hold an unescaped quote, so `"error"` is a field (or a whole string) and never a
part of somebody's text.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.dialect import Call
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.gemini.error_event import write_error_event
from ownkey.providers.gemini.finish import has_ended, read_finish
from ownkey.providers.gemini.usage import read_usage
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
from ownkey.providers.translation import FINISH_WORDS
from ownkey.providers.unreadable import TOO_DEEP, UNREADABLE

# A provider that says nothing for this long is given its way: the client gets what there is.
_HELD_LIMIT_BYTES: Final = 1024 * 1024
_ABSENT: Final = Raw(b"null")
_CALL: Final = b'"functionCall"'
_MARKS: Final = (b'"error"', b'"finishReason"', b'"blockReason"')


class _Part(Struct, rename="camel"):
    text: str | None = None
    function_call: Raw = _ABSENT
    inline_data: Raw = _ABSENT
    executable_code: Raw = _ABSENT
    tool_call: Raw = _ABSENT


class _Content(Struct):
    parts: list[_Part] | None = None


class _Candidate(Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None


class _Feedback(Struct, rename="camel"):
    block_reason: str | None = None


class _Event(Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Raw = _ABSENT
    error: Raw = _ABSENT


class _Config(Struct):
    candidateCount: int | None = None  # noqa: N815 - Google's names, of which both forms are read
    candidate_count: int | None = None


class _Asked(Struct):
    generationConfig: _Config | None = None  # noqa: N815
    generation_config: _Config | None = None


_EVENT: Final = msgspec.json.Decoder(_Event)
_ASKED: Final = msgspec.json.Decoder(_Asked)


class GeminiPassingStream:
    """Passes a stream on unchanged. See `StreamDecoder` for the attributes."""

    def __init__(self, call: Call) -> None:
        self.committed = False
        self.complete = False
        self.failure: Failure | None = None
        self.finish_reason: str | None = None
        self._tokens: Tokens | None = None
        self._raw_usage: bytes | None = None
        self._call = call
        self._splitter = EventSplitter()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._called = False
        self._finished: set[int] = set()
        self._blocked = False
        self._last = b""  # the last block that was passed on unread

    @property
    def tokens(self) -> Tokens | None:
        """The usage that was reported so far, of a broken stream too."""
        self._read_last()
        return self._tokens

    @property
    def raw_usage(self) -> bytes | None:
        """That usage in the provider's words."""
        self._read_last()
        return self._raw_usage

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for these provider bytes."""
        if self.failure is not None:
            return b""
        try:
            block = self._splitter.feed(data)
        except EventTooLong:
            self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an endless event.")
            return b""
        if not block:
            return b""
        if self.committed:
            if _is_plain(block):
                self._called = self._called or block.find(_CALL) >= 0
                self._last = block
                return block
            return b"".join([event for event in split_events(block) if self._keep(event)])
        return self._hold(block)

    def finish(self) -> bytes:
        """What is left at the end: an event without its empty line, or an error that is no event."""
        self._read_last()
        rest = self._splitter.finish()
        output = b""
        if self.failure is None and rest.strip():
            if rest.lstrip().startswith((b"{", b"[")):
                self.failure = read_failure_in_answer(rest)
            else:
                event = rest.rstrip(b"\r\n") + b"\n\n"
                if _is_whole(event):
                    output = self.feed(event)
        if self.failure is None and not self.complete and self._is_finished():
            self.complete = True
            output += self._release()
        return output

    def break_off(self, failure: Failure) -> bytes:
        """The in-band error, as Google's clients raise it."""
        return write_error_event(failure)

    def _read_last(self) -> None:
        """Look at the block that was passed on unread last: usage is in every event, and the last one counts."""
        last, self._last = self._last, b""
        if last.find(b'"usageMetadata"') >= 0:
            for event in split_events(last)[-2:]:
                self._keep(event)

    def _hold(self, block: bytes) -> bytes:
        """Keep everything back until there is content; then give out all of it."""
        for event in split_events(block):
            if self._keep(event):
                self._held.append(event)
                self._held_bytes += len(event)
        if self.failure is not None and not self.committed:
            self._held.clear()
            return b""
        if self._held_bytes > _HELD_LIMIT_BYTES:
            self.committed = True
        return self._release() if self.committed or self.complete else b""

    def _release(self) -> bytes:
        held, self._held = b"".join(self._held), []
        return held

    def _keep(self, event: bytes) -> bool:
        """Read one event. Whether the client gets it."""
        if self.failure is not None:
            return False
        data = read_event(event).data
        if not data:
            if event.lstrip().startswith((b"{", b"[")):
                self.failure = read_failure_in_answer(event)
                return False
            return True
        try:
            read = _EVENT.decode(data)
        except RecursionError:
            self.failure = TOO_DEEP
            return False
        except UNREADABLE:
            # Not for us to judge: an extension that the client may understand.
            return True
        if bytes(read.error) != b"null":
            self.failure = read_failure_in_answer(data)
            return False
        self._read(read)
        return True

    def _read(self, event: _Event) -> None:
        raw_usage = bytes(event.usage_metadata)
        tokens = read_usage(raw_usage) if raw_usage != b"null" else None
        if tokens is not None:
            self._tokens, self._raw_usage = tokens, raw_usage
        for candidate in event.candidates or ():
            parts = candidate.content.parts or () if candidate.content is not None else ()
            for part in parts:
                self._called = self._called or bytes(part.function_call) != b"null"
            self.committed = self.committed or any(_has_content(part) for part in parts)
            reason = candidate.finish_reason
            if reason is not None and has_ended(reason):
                self._finished.add(candidate.index or 0)
                self.finish_reason = FINISH_WORDS[read_finish(reason, called=self._called)]
        if not event.candidates and event.prompt_feedback is not None and event.prompt_feedback.block_reason:
            self._blocked = True
            self.finish_reason = FINISH_WORDS["refusal"]
        if tokens is not None and self._is_finished():
            # Usage stands beside the reason; where it does not it may still come.
            self.complete = self.committed = True

    def _is_finished(self) -> bool:
        """Whether every candidate that was asked for has said why it ended."""
        if self._blocked:
            return True
        if not self._finished:
            return False
        if self._call.body.find(b"andidate") < 0:
            return True
        try:
            asked = _ASKED.decode(self._call.body)
        except UNREADABLE:
            return True
        config = asked.generationConfig or asked.generation_config or _Config()
        return len(self._finished) >= (config.candidateCount or config.candidate_count or 1)


def _is_plain(block: bytes) -> bool:
    """Whether a block holds content and nothing else."""
    return not any(mark in block for mark in _MARKS)


def _has_content(part: _Part) -> bool:
    others = (part.function_call, part.inline_data, part.executable_code, part.tool_call)
    return bool(part.text) or any(bytes(value) != b"null" for value in others)


def _is_whole(event: bytes) -> bool:
    data = read_event(event).data
    try:
        _EVENT.decode(data)
    except UNREADABLE:
        return False
    return bool(data)
