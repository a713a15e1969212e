"""The OpenAI dialect's stream: bytes pass through, and only what matters is looked at.

Until the first content and from the first `finish_reason` on, every event is parsed. In between, where nearly
all events are, one costs a few substring searches: a JSON string cannot hold an unescaped quote, so
`"error"` in a chunk is a field (or a whole string) and never a part of somebody's text.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.dialect import Call
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.openai_chat.error_event import write_error_event
from ownkey.providers.openai_chat.finish_word import finish_word
from ownkey.providers.openai_chat.usage import read_usage
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
from ownkey.providers.unreadable import TOO_DEEP, UNREADABLE

DONE: Final = b"data: [DONE]\n\n"
# A provider that says nothing for this long is given its way: the client gets what there is.
_HELD_LIMIT_BYTES: Final = 1024 * 1024
_ABSENT: Final = Raw(b"null")
_NOTHING: Final = frozenset({b"null", b'""', b"[]", b"{}"})


class _Delta(Struct):
    content: Raw = _ABSENT
    reasoning_content: Raw = _ABSENT
    reasoning: Raw = _ABSENT
    reasoning_details: Raw = _ABSENT
    refusal: Raw = _ABSENT
    tool_calls: Raw = _ABSENT
    function_call: Raw = _ABSENT
    audio: Raw = _ABSENT


class _Choice(Struct):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None
    error: Raw = _ABSENT


class _GroqExtra(Struct):
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT
    x_groq: _GroqExtra | None = None
    object: str | None = None
    message: Raw = _ABSENT
    type: str | None = None


class _Asked(Struct):
    n: int | None = None


_CHUNK: Final = msgspec.json.Decoder(_Chunk)
_ASKED: Final = msgspec.json.Decoder(_Asked)


class OpenAIStreamDecoder:
    """Passes a stream on unchanged, except for the usage chunk that the client did not ask for.

    See `StreamDecoder` for the attributes.
    """

    def __init__(self, call: Call) -> None:
        self.committed = False
        self.complete = False
        self.failure: Failure | None = None
        self._tokens: Tokens | None = None
        self._raw_usage: bytes | None = None
        self.finish_reason: str | None = None
        self._call = call
        self._splitter = EventSplitter()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._finished: set[int] = set()
        self._flowing = False  # after the first content, before the first end
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
        if self._flowing:
            # A provider writes whole events, so this is the way of nearly every chunk: under a microsecond.
            if not self._splitter.held and data.endswith(b"\n\n") and _is_plain(data):
                self._last = data
                return data
        elif self.failure is not None:
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
        """What is left at the end, and the terminator for a provider that sent none."""
        self._read_last()
        rest = self._splitter.finish()
        output = b""
        if not self.committed and rest.lstrip().startswith((b"{", b"[")):
            # Not a stream at all: some providers answer an error as plain JSON with status 200.
            self._fail(read_failure_in_answer(rest))
        if self.failure is None and rest.strip():
            # Only an event that can be read whole is an event; the spec drops one that was cut off.
            event = rest.rstrip(b"\r\n") + b"\n\n"
            if _is_whole(event):
                output = self.feed(event)
        if self.failure is None and not self.complete and self._all_finished():
            output += self._release() + DONE
            self.complete = True
        return output

    def break_off(self, failure: Failure) -> bytes:
        """The in-band error, as OpenAI's clients raise it. No `[DONE]` follows."""
        return write_error_event(failure)

    def _read_last(self) -> None:
        """Look at the block that was passed on unread last: xAI and Perplexity report usage in every chunk."""
        last, self._last = self._last, b""
        if last.find(b'"usage"') >= 0 or last.find(b"[DONE]") >= 0:
            for event in split_events(last):
                self._keep(event)

    def _hold(self, block: bytes) -> bytes:
        """Keep everything back until there is content; then give out all of it."""
        for event in split_events(block):
            if self._keep(event):
                self._held.append(event)
                self._held_bytes += len(event)
        if self.failure is not None:
            self._held.clear()
            return b""
        if self._held_bytes > _HELD_LIMIT_BYTES:
            return self._release()
        return self._release() if self.committed or self.complete else b""

    def _pass(self, event: bytes) -> bool:
        """Whether the client gets an event after the commit; most of them go unread."""
        if self._flowing and _is_plain(event):
            self._last = event
            return True
        return self._keep(event)

    def _release(self) -> bytes:
        held, self._held = b"".join(self._held), []
        self.committed = True
        self._flowing = not self._finished and not self.complete
        return held

    def _fail(self, failure: Failure) -> None:
        self.failure, self._flowing = failure, False

    def _keep(self, event: bytes) -> bool:
        """Read one event. Whether the client gets it."""
        if self.failure is not None:
            return False
        data = read_event(event).data
        if not data:
            return True
        if data.strip() == b"[DONE]":
            self.complete, self._flowing = True, False
            return True
        try:
            chunk = _CHUNK.decode(data)
        except RecursionError:
            self._fail(TOO_DEEP)
            return False
        except UNREADABLE:
            # Not for us to judge: an extension that the client may understand.
            return True
        raw_usage = bytes(chunk.usage)
        if raw_usage == b"null" and chunk.x_groq is not None:
            raw_usage = bytes(chunk.x_groq.usage)
        if raw_usage != b"null":
            self._read_usage(raw_usage)
        if self._read_error(chunk, data):
            return False
        self._read_choices(chunk)
        return self._call.wants_usage or raw_usage == b"null" or chunk.choices != []

    def _read_error(self, chunk: _Chunk, data: bytes) -> bool:
        errors = [chunk.error, *(choice.error for choice in chunk.choices or ())]
        if chunk.x_groq is not None:
            errors.append(chunk.x_groq.error)
        found = next((bytes(error) for error in errors if bytes(error) not in _NOTHING), None)
        if found is None and "error" in (chunk.object, chunk.type) and bytes(chunk.message) != b"null":
            found = data
        if found is None:
            return False
        self._fail(read_failure_in_answer(found))
        return True

    def _read_choices(self, chunk: _Chunk) -> None:
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self.finish_reason = finish_word(choice.finish_reason)
                self._finished.add(choice.index or 0)
                self.committed, self._flowing = True, False
            elif not self.committed and choice.delta is not None:
                self.committed = _has_content(choice.delta)

    def _read_usage(self, raw: bytes) -> None:
        tokens = read_usage(raw)
        if tokens is not None:
            # Counters of a stream are cumulative: the last ones count.
            self._tokens, self._raw_usage = tokens, raw

    def _all_finished(self) -> bool:
        """Whether every choice that was asked for has said why it ended."""
        if not self._finished:
            return False
        try:
            asked = _ASKED.decode(self._call.body).n or 1
        except UNREADABLE:
            asked = 1
        return len(self._finished) >= asked


def _is_plain(block: bytes) -> bool:
    """Whether a block holds content and nothing else.

    Written for speed: a search from the front costs 0.25 µs on 340 bytes, one from the back finds `finish_reason` in
    0.09 µs, and a single character is found by `memchr`. `in` would first try to take the bytes for a number, and the
    exception that this makes costs more than the search.
    """
    if block.find(b'"error"') >= 0:
        return False
    position = block.rfind(b'"finish_reason":')
    if position > 0 and block.startswith((b"null", b" null"), position + 16) and block.find(b"\n") == len(block) - 2:
        return True  # one event of one line that says `"finish_reason":null`
    return not (
        block.find(b'"finish_reason":"') >= 0
        or block.find(b'"finish_reason": "') >= 0
        or block.find(b'"usage"') >= 0
        or block.find(b"[DONE]") >= 0  # anywhere: a comment may follow it
    )


def _has_content(delta: _Delta) -> bool:
    values = (
        delta.content,
        delta.tool_calls,
        delta.reasoning_content,
        delta.reasoning,
        delta.reasoning_details,
        delta.refusal,
        delta.function_call,
        delta.audio,
    )
    return any(bytes(value) not in _NOTHING for value in values)


def _is_whole(event: bytes) -> bool:
    data = read_event(event).data
    if data.strip() == b"[DONE]":
        return True
    try:
        _CHUNK.decode(data)
    except UNREADABLE:
        return False
    return bool(data)
