"""From one dialect to another through the neutral form: an adapter for every pair of two different ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from ownkey.domain.exchange import Failure, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.domain.usage import Tokens
from ownkey.errors import RequestError
from ownkey.providers.conversation import Answer, Conversation, Turn
from ownkey.providers.dialect import Call, Decoded, StreamDecoder
from ownkey.providers.one_call import OneCallReader, keep_first_call
from ownkey.providers.stream_events import CONTENT, Ended, StreamEvent


class StreamWriter(Protocol):
    """Writes a client's stream from events. It never raises for an order of events that `stream_events` allows."""

    def write(self, events: Sequence[StreamEvent], tokens: Tokens | None) -> bytes:
        """The client's bytes for these events. `tokens` is what the provider reported so far."""
        ...

    def finish(self, tokens: Tokens | None) -> bytes:
        """The end of a complete stream: what waits for the final usage, and the dialect's own terminator."""
        ...

    def break_off(self, failure: Failure) -> bytes:
        """The in-band error with which a broken stream ends; its proper terminator never follows."""
        ...


class StreamReader(Protocol):
    """Reads a provider's stream. After `failure` or `complete` nothing more comes of `feed`."""

    @property
    def complete(self) -> bool:
        """Whether the provider ended its stream as its dialect demands."""
        ...

    @property
    def failure(self) -> Failure | None:
        """The error inside the stream."""
        ...

    @property
    def tokens(self) -> Tokens | None:
        """The usage that was reported so far, of a broken stream too."""
        ...

    @property
    def raw_usage(self) -> bytes | None:
        """That usage in the provider's words."""
        ...

    def feed(self, data: bytes) -> list[StreamEvent]:
        """The events in these bytes, however the network cut them."""
        ...

    def finish(self) -> list[StreamEvent]:
        """What is left at the end of the connection."""
        ...


class Inbound(Protocol):
    """A dialect as a client speaks it."""

    def read_request(self, call: Call) -> Conversation:
        """The neutral form of `call.body`. Raises RequestError that names the faulty field."""
        ...

    def write_answer(self, answer: Answer, call: Call, conversation: Conversation) -> bytes:
        """A whole answer in the client's dialect."""
        ...

    def stream_writer(self, call: Call, conversation: Conversation) -> StreamWriter:
        """A fresh writer for one stream."""
        ...


class Outbound(Protocol):
    """A dialect as a provider speaks it."""

    def write_request(
        self, provider: Provider, base_url: str, call: Call, conversation: Conversation
    ) -> UpstreamRequest:
        """The provider's request. Raises RequestError, with the field's name, for what the dialect cannot carry."""
        ...

    def read_answer(self, body: bytes, call: Call) -> Answer:
        """The neutral form of a 2xx answer.

        Raises AnswerFailed when the body is an error after all, ValueError when it is not of this dialect.
        """
        ...

    def stream_reader(self, call: Call) -> StreamReader:
        """A fresh reader for one stream."""
        ...

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means, by the provider's codes rather than its words."""
        ...


class Translation:
    """An `Adapter` between a client's dialect and a provider's."""

    def __init__(self, inbound: Inbound, outbound: Outbound) -> None:
        self._inbound, self._outbound = inbound, outbound

    def encode(self, provider: Provider, base_url: str, call: Call) -> UpstreamRequest:
        """The provider's request. Raises RequestError for what cannot be carried."""
        return self._outbound.write_request(provider, base_url, call, self._inbound.read_request(call))

    def decode(self, body: bytes, call: Call) -> Decoded:
        """The client's answer from the provider's. Raises AnswerFailed and ValueError as `read_answer` does."""
        answer = self._outbound.read_answer(body, call)
        conversation = self._inbound.read_request(call)
        if conversation.parallel_tool_calls is False:
            keep_first_call(answer)
        return Decoded(
            body=self._inbound.write_answer(answer, call, conversation),
            tokens=answer.tokens,
            raw_usage=answer.raw_usage,
            finish_reason=FINISH_WORDS[answer.finish],
        )

    def stream_decoder(self, provider: Provider, call: Call) -> StreamDecoder:
        """A fresh decoder for one stream."""
        conversation = self._inbound.read_request(call)
        reader = self._outbound.stream_reader(call)
        if conversation.parallel_tool_calls is False:
            reader = OneCallReader(reader)
        return TranslatedStream(reader, self._inbound.stream_writer(call, conversation))

    def read_failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What a non-2xx answer means."""
        return self._outbound.read_failure(status, headers, body)


# The words in which usage rows say why an answer ended: OpenAI's, since most rows are from its dialect.
FINISH_WORDS: Final = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
    "pause": "stop",
}


class TranslatedStream:
    """A `StreamDecoder` that reads one dialect and writes another. Nothing goes out before the first content."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._held: list[StreamEvent] = []
        self.committed = False
        self.finish_reason: str | None = None
        self._ended = False

    @property
    def complete(self) -> bool:
        """Whether the stream came to its proper end."""
        return self._reader.complete

    @property
    def failure(self) -> Failure | None:
        """The error inside the stream."""
        return self._reader.failure

    @property
    def tokens(self) -> Tokens | None:
        """The usage that was reported so far."""
        return self._reader.tokens

    @property
    def raw_usage(self) -> bytes | None:
        """That usage in the provider's words."""
        return self._reader.raw_usage

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for these provider bytes."""
        return self._pass(self._reader.feed(data))

    def finish(self) -> bytes:
        """What remains at the end of the provider's stream."""
        return self._pass(self._reader.finish())

    def break_off(self, failure: Failure) -> bytes:
        """The in-band error in the client's dialect."""
        return self._writer.break_off(failure)

    def _pass(self, events: list[StreamEvent]) -> bytes:
        for event in events:
            if type(event) in CONTENT:
                self.committed = True
            elif type(event) is Ended:
                self.finish_reason = FINISH_WORDS[event.finish]
        if not (self.committed or self._reader.complete):
            self._held += events
            return b""
        if self._held:
            events, self._held = [*self._held, *events], []
        tokens = self._reader.tokens
        output = self._writer.write(events, tokens) if events else b""
        if self._reader.complete and not self._ended:
            self._ended = True
            output += self._writer.finish(tokens)
        return output


def refuse_speakers(turns: Sequence[Turn], label: str) -> None:
    """Refuse the names of several users or of several assistants, for a dialect that has no names for participants.

    One name tells nothing; several tell speakers apart. Raises RequestError. `label` is as in `refuse_foreign`.
    """
    for role in ("user", "assistant"):
        if len({turn.name for turn in turns if turn.role == role and turn.name}) > 1:
            raise RequestError(
                f"{label} cannot tell several {role}s apart by `name`. Put the names into the text.", param="messages"
            )


def refuse_foreign(conversation: Conversation, label: str) -> None:
    """Refuse what only the client's own dialect can say. Raises RequestError with the field's name.

    `label` names who cannot carry it, such as "Claude's API".
    """
    for field, value in conversation.foreign.items():
        kind = value.get("type") if isinstance(value, dict) else None
        what = f"`{field[:80]}` ({kind[:40]})" if isinstance(kind, str) else f"`{field[:80]}`"
        raise RequestError(
            f"{label} has nothing like {what}. Leave it out or choose a model of a provider that has it.",
            param=field[:80],
        )
