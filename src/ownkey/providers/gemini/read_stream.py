"""Gemini's stream: whole responses, each with what was added since the last one.

A text's signature comes with any of its pieces or after the last one, so the part that carries it in the neutral form
follows the text. There is no terminator: the event that says why the answer ended is the last one that matters.
"""

from __future__ import annotations

from time import time

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome, Tokens, new_id
from ownkey.providers.conversation import Logprob, Seal
from ownkey.providers.dialect import Call
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.gemini import response as wire
from ownkey.providers.gemini.citations import MOST_CITATIONS, read_citations
from ownkey.providers.gemini.finish import has_ended, read_failed_finish, read_finish, refusal_words
from ownkey.providers.gemini.read_answer import shown_text
from ownkey.providers.gemini.usage import read_usage
from ownkey.providers.sse import EventSplitter, EventTooLong, read_event, split_events
from ownkey.providers.stream_events import (
    Cited,
    Delta,
    Ended,
    PartEnded,
    PartKind,
    PartStarted,
    Sealed,
    Started,
    StreamEvent,
)
from ownkey.providers.unreadable import TOO_DEEP, UNREADABLE


class GeminiStreamReader:
    """See `StreamReader`."""

    def __init__(self, call: Call) -> None:
        self.complete = False
        self.failure: Failure | None = None
        self.tokens: Tokens | None = None
        self.raw_usage: bytes | None = None
        self._call = call
        self._splitter = EventSplitter()
        self._events: list[StreamEvent] = []
        self._started = False
        self._finished = False
        self._count = 0  # parts so far; the open one is the last
        self._open: PartKind | None = None
        self._texts: list[str] = []  # of the open text
        self._text_seals: list[Seal] = []
        self._logprobs: list[Logprob] = []
        self._cited = 0
        self._answered = False
        self._called = False
        self._ids = wire.CallIds()

    def feed(self, data: bytes) -> list[StreamEvent]:
        """The events in these bytes."""
        if self._is_over():
            return []
        try:
            block = self._splitter.feed(data)
        except EventTooLong:
            self.failure = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an endless event.")
            return []
        for event in split_events(block):
            self._read_event(event)
            if self._is_over():
                break
        return self._take()

    def finish(self) -> list[StreamEvent]:
        """What is left: an event without its empty line, or an error that is no event."""
        rest = self._splitter.finish()
        if not self._is_over() and rest.strip():
            self._read_event(rest, whole=False)
        if self._finished and not self._is_over():
            self.complete = True
        return self._take()

    def _is_over(self) -> bool:
        return self.complete or self.failure is not None

    def _take(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        return events

    def _read_event(self, event: bytes, *, whole: bool = True) -> None:
        data = read_event(event).data
        if not data:
            if not event.lstrip().startswith((b"{", b"[")):
                return
            data = event  # errors come as bare JSON at times
        try:
            response = wire.RESPONSE.decode(data)
            if not self._read_error(response, data):
                self._read_response(response)
        except RecursionError:
            self.failure = TOO_DEEP
        except UNREADABLE:
            if not whole and data is not event:
                return  # the standard drops an event that was cut off
            self.failure = self._read_foreign(data)

    def _read_foreign(self, data: bytes) -> Failure:
        """The failure in what is no response: Google puts errors into a list at times."""
        if data.lstrip().startswith(b"["):
            return read_failure_in_answer(data)
        message = "The provider's stream holds something that cannot be read."
        return Failure(outcome=Outcome.STREAM_BROKEN, message=message)

    def _read_error(self, response: wire.Response, data: bytes) -> bool:
        if wire.present(response.error) is None:
            return False
        self.failure = read_failure_in_answer(data)
        return True

    def _read_response(self, response: wire.Response) -> None:
        raw_usage = wire.present(response.usage_metadata)
        tokens = read_usage(raw_usage) if raw_usage is not None else None
        if tokens is not None:
            # The counters are cumulative: the last ones count.
            self.tokens, self.raw_usage = tokens, raw_usage
        if not self._started:
            self._started = True
            self._events.append(
                Started(
                    response.response_id or new_id(), response.model_version or self._call.model, int(time()), tokens
                )
            )
        if not self._finished:
            self._read_content(response)
        if not self._is_over():
            # Usage stands beside the reason of the end; where it does not it may still come.
            self.complete = self._finished and tokens is not None

    def _read_content(self, response: wire.Response) -> None:
        feedback = response.prompt_feedback
        if response.candidates:
            for candidate in response.candidates:
                if not candidate.index:
                    self._read_candidate(candidate)
        elif feedback is not None and feedback.block_reason:
            self._refuse(feedback.block_reason, feedback.block_reason_message)
            self._end("PROHIBITED_CONTENT")

    def _read_candidate(self, candidate: wire.Candidate) -> None:
        if candidate.logprobs_result is not None:
            self._logprobs += wire.read_logprobs(candidate.logprobs_result)
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._read_part(part)
        self._cite(candidate)
        reason = candidate.finish_reason
        if reason is None or not has_ended(reason):
            return
        self.failure = read_failed_finish(reason, candidate.finish_message)
        if self.failure is not None:
            return
        self._close()
        if not self._answered and read_finish(reason, called=False) == "refusal":
            self._refuse(reason, candidate.finish_message)
        self._end(reason)

    def _read_part(self, part: wire.Part) -> None:
        seal = Seal(Dialect.GEMINI, part.thought_signature) if part.thought_signature else None
        if part.function_call is not None:
            self._read_call(part.function_call, seal)
            return
        text = shown_text(part)
        if part.thought:
            if text or seal is not None:
                self._say("thinking", text)
            if seal is not None:
                self._events.append(Sealed(self._count - 1, seal))
            return
        if text:
            self._answered = True
            self._say("text", text)
        if seal is None:
            return
        if self._open == "text":
            self._text_seals.append(seal)
        else:
            self._close()
            self._seal(seal)

    def _read_call(self, called: wire.FunctionCall, seal: Seal | None) -> None:
        self._close()
        self._answered = self._called = True
        index = self._count
        self._count += 1
        self._events.append(PartStarted(index, "tool_call", self._ids.take(called.id), called.name))
        if seal is not None:
            self._events.append(Sealed(index, seal))
        self._events.append(Delta(index, wire.read_arguments(called.args)))
        self._events.append(PartEnded(index))

    def _say(self, kind: PartKind, text: str) -> None:
        """More of a text or of the thoughts."""
        if self._open != kind:
            self._close()
            self._open = kind
            self._events.append(PartStarted(self._count, kind))
            self._count += 1
        if not text:
            return
        if kind == "text":
            self._texts.append(text)
            if self._logprobs:
                self._events.append(Delta(self._count - 1, text, tuple(self._logprobs)))
                self._logprobs = []
                return
        self._events.append(Delta(self._count - 1, text))

    def _close(self) -> None:
        """End the open part, and let a text's signatures follow it."""
        if self._open is None:
            return
        self._events.append(PartEnded(self._count - 1))
        self._open, self._texts = None, []
        seals, self._text_seals = self._text_seals, []
        for seal in seals:
            self._seal(seal)

    def _seal(self, seal: Seal) -> None:
        self._events += (PartStarted(self._count, "thinking"), Sealed(self._count, seal), PartEnded(self._count))
        self._count += 1

    def _cite(self, candidate: wire.Candidate) -> None:
        grounding, cited = wire.present(candidate.grounding_metadata), wire.present(candidate.citation_metadata)
        if grounding is None and cited is None:
            return
        self._cited += 1
        if self._open == "text" and self._cited <= MOST_CITATIONS:
            # A stream's positions are those in the whole text, as though it were one part.
            for citation in read_citations(grounding, cited, "".join(self._texts), ()):
                self._events.append(Cited(self._count - 1, citation))

    def _refuse(self, reason: str, message: str | None) -> None:
        index = self._count
        self._count += 1
        words = refusal_words(reason, message)
        self._events += (PartStarted(index, "refusal"), Delta(index, words), PartEnded(index))

    def _end(self, reason: str) -> None:
        self._finished = True
        self._events.append(Ended(read_finish(reason, called=self._called)))
