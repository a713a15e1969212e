"""Chat completion chunks as events.

A delta holds whatever came next: thinking, text, refusal, pieces of calls. Calls may be interleaved with each other,
told by their index; text that arrives while a call is still open waits for its end.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome, Tokens
from ownkey.providers.conversation import Logprob, Seal
from ownkey.providers.dialect import Call
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.openai_chat.answer_wire import (
    ABSENT,
    WireCall,
    WireLogprobs,
    WireMessage,
    details_of,
    first_error,
    is_present,
    read_citations,
    read_created,
    read_finish,
    read_logprobs,
    read_word,
    split_content,
    thinking_of,
)
from ownkey.providers.openai_chat.chat_seals import seal_text, seal_value
from ownkey.providers.openai_chat.stream_calls import CallCollector
from ownkey.providers.openai_chat.stream_details import DetailCollector
from ownkey.providers.openai_chat.usage import read_usage
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
from ownkey.providers.stream_events import (
    Cited,
    Delta,
    Ended,
    KeepAlive,
    PartEnded,
    PartKind,
    PartStarted,
    Sealed,
    Started,
    StreamEvent,
)
from ownkey.providers.unreadable import TOO_DEEP, UNREADABLE


class _Choice(Struct):
    index: int | None = None
    delta: WireMessage | None = None
    finish_reason: str | None = None
    logprobs: WireLogprobs | None = None
    error: Raw = ABSENT


class _GroqExtra(Struct):
    usage: Raw = ABSENT
    error: Raw = ABSENT


class _Chunk(Struct):
    id: Any = None
    model: Any = None
    created: Any = None
    choices: list[_Choice] | None = None
    usage: Raw = ABSENT
    error: Raw = ABSENT
    x_groq: _GroqExtra | None = None
    object: str | None = None
    message: Raw = ABSENT
    type: str | None = None


# No answer has a tenth of them, and each new one is compared with those before it.
_MOST_CALLS: Final = 1_000
_CHUNK: Final = msgspec.json.Decoder(_Chunk)


def _thinks(delta: WireMessage) -> bool:
    """Whether there is thinking in a delta."""
    return bool(delta.reasoning_content or delta.reasoning or delta.reasoning_details)


class ChatStreamReader:
    """Reads the stream of one chat completion. See `StreamReader` for the attributes."""

    def __init__(self, call: Call) -> None:
        self.complete = False
        self.failure: Failure | None = None
        self.tokens: Tokens | None = None
        self.raw_usage: bytes | None = None
        self._model = call.model
        self._splitter = EventSplitter()
        self._events: list[StreamEvent] = []
        self._started = False
        self._next = 0  # the index of the next part
        self._open: PartKind | None = None  # what the part before it is, while it goes on
        self._calls = CallCollector(call.model)
        self._waiting: list[tuple[PartKind, str, tuple[Logprob, ...]]] = []  # what came between a call's pieces
        self._thinking_field = ""
        self._details = DetailCollector()
        self._refused = False
        self._ended = False

    def feed(self, data: bytes) -> list[StreamEvent]:
        """The events in these bytes."""
        if self.failure is not None or self.complete:
            return []
        try:
            block = self._splitter.feed(data)
        except EventTooLong:
            self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an endless event.")
            return []
        for event in split_events(block):
            self._read(read_event(event).data)
        return self._take()

    def finish(self) -> list[StreamEvent]:
        """What is left; a provider that sends no `[DONE]` is done when it has said why its answer ended."""
        rest = self._splitter.finish()
        if not self._started and rest.lstrip().startswith((b"{", b"[")):
            # Not a stream at all: some providers answer an error as plain JSON with status 200.
            self.failure = read_failure_in_answer(rest)
        elif self.failure is None and not self.complete and rest.strip():
            self._read(read_event(rest).data, may_be_cut=True)
        if self.failure is None and self._ended:
            self.complete = True
        return self._take()

    def _take(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        return events

    def _read(self, data: bytes, *, may_be_cut: bool = False) -> None:
        if self.failure is not None or self.complete:
            return
        if not data:
            if self._next and not self._ended:
                self._events.append(KeepAlive())  # a comment: OpenRouter is still at work
            return
        if data.strip() == b"[DONE]":
            self._end(None)
            self.complete = True
            return
        try:
            chunk = _CHUNK.decode(data)
        except RecursionError:
            self.failure = TOO_DEEP
            return
        except UNREADABLE:
            if data.startswith(b"{") and not may_be_cut:
                # To go on would drop a part of the answer without a word.
                self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an unreadable chunk.")
            return
        # A JSON string cannot hold an unescaped quote, so these are fields, or whole strings.
        if data.find(b'"usage"') >= 0:
            self._read_usage(chunk)
        if data.find(b'"error"') >= 0 and self._read_error(chunk, data):
            return
        if not chunk.choices:
            return
        if not self._started:
            # Azure's first chunk has no choices and no id either: it tells what its filter thinks of the prompt.
            self._start(chunk)
        for choice in chunk.choices:
            if not choice.index and not self._ended:
                self._read_choice(choice)

    def _read_error(self, chunk: _Chunk, data: bytes) -> bool:
        extra = chunk.x_groq.error if chunk.x_groq is not None else ABSENT
        found = first_error(chunk.error, extra, *(choice.error for choice in chunk.choices or ()))
        if found is None and "error" in (chunk.object, chunk.type) and is_present(chunk.message):
            found = data
        if found is None:
            return False
        self.failure = read_failure_in_answer(found)
        return True

    def _start(self, chunk: _Chunk) -> None:
        self._started = True
        name, model = read_word(chunk.id), read_word(chunk.model, self._model)
        self._events.append(Started(name, model, read_created(chunk.created)))

    def _read_usage(self, chunk: _Chunk) -> None:
        raw = chunk.usage
        if not is_present(raw) and chunk.x_groq is not None:
            raw = chunk.x_groq.usage
        if not is_present(raw):
            return
        tokens = read_usage(bytes(raw))
        if tokens is not None:
            # Counters of a stream are cumulative: the last ones count.
            self.tokens, self.raw_usage = tokens, bytes(raw)

    def _read_choice(self, choice: _Choice) -> None:
        delta = choice.delta
        if delta is not None:
            given = choice.logprobs
            logprobs = tuple(read_logprobs(given) or ()) if given is not None else ()
            if self._open == "text" and isinstance(delta.content, str) and not delta.refusal:
                # Nearly every chunk. One of tokens without text is the first half of a character.
                if delta.content or logprobs:
                    self._events.append(Delta(self._next - 1, delta.content, logprobs))
                delta.content = None
                if not (delta.tool_calls or delta.annotations or delta.function_call or _thinks(delta)):
                    delta = None
            if delta is not None:
                self._read_delta(delta, logprobs)
        if choice.finish_reason:
            self._end(choice.finish_reason)

    def _read_delta(self, delta: WireMessage, logprobs: tuple[Logprob, ...]) -> None:
        text, inner = split_content(delta.content)
        thinking, field = thinking_of(delta)
        if thinking or inner:
            self._thinking_field = field
            self._say("thinking", thinking or inner, ())
        if delta.reasoning_details:
            self._details.add(details_of(delta))
        self._say("text", text, logprobs)
        if delta.refusal:
            self._refused = True
            self._say("refusal", delta.refusal, logprobs)
        if delta.annotations and self._open == "text":
            self._events += [Cited(self._next - 1, one) for one in read_citations(delta.annotations)]
        calls = delta.tool_calls or ([WireCall(index=0, function=delta.function_call)] if delta.function_call else ())
        if calls:
            self._close()
            for call in calls:
                self._next = self._calls.add(call, self._next, self._events)
            if self._calls.count > _MOST_CALLS:
                self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent calls without end.")

    def _say(self, kind: PartKind, text: str, logprobs: tuple[Logprob, ...]) -> None:
        if not text:
            return
        if self._calls.open:
            self._calls.end_whole(self._events)
        if self._calls.open:
            self._waiting.append((kind, text, logprobs))
            return
        if self._open != kind:
            self._close()
            self._events.append(PartStarted(self._next, kind))
            self._open = kind
            self._next += 1
        self._events.append(Delta(self._next - 1, text, logprobs))

    def _close(self) -> None:
        """End the part that is not a call."""
        kind, self._open = self._open, None
        if kind is None:
            return
        index = self._next - 1
        seal = self._thinking_seal() if kind == "thinking" else None
        if seal is not None:
            self._events.append(Sealed(index, seal))
        self._events.append(PartEnded(index))

    def _thinking_seal(self) -> Seal | None:
        if self._details:
            return seal_value(self._details.take(), self._model)
        return seal_text(self._thinking_field, self._model) if self._thinking_field else None

    def _end(self, word: str | None) -> None:
        """The answer is at its end: everything that is open ends with it."""
        if self._ended:
            return
        self._ended = True
        if not self._started:
            self._start(_Chunk())
        self._close()
        self._next = self._calls.end(self._next, self._events)
        for kind, text, logprobs in self._waiting:
            self._say(kind, text, logprobs)
        if self._details and self._open != "thinking":
            # Sealed reasoning that came without a text, or after it.
            self._close()
            self._events.append(PartStarted(self._next, "thinking"))
            self._open = "thinking"
            self._next += 1
        self._close()
        finish = read_finish(word, calls=self._calls.any, refused=self._refused)
        self._events.append(Ended(finish))
