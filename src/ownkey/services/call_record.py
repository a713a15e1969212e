"""The record of one upstream call: its id exists before the call is made, and it is settled exactly once."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from ownkey.domain.credential import Secret
from ownkey.domain.exchange import Failure
from ownkey.domain.routing import TEXT_OPERATIONS, Attempt
from ownkey.domain.usage import MAY_HAVE_CHARGED, Outcome, Tokens, TokensSource, UsageEvent
from ownkey.providers.dialect import AnswerFailed, StreamDecoder
from ownkey.providers.spoken_text import write_characters
from ownkey.services.answer import AnswerStream
from ownkey.services.attempt_report import FailedAttempt
from ownkey.services.estimate import Received, estimate_tokens
from ownkey.services.service_tier import names_tier, read_tier
from ownkey.services.spending import Hold
from ownkey.upstream.pool import UpstreamResponse

if TYPE_CHECKING:
    from ownkey.services.walk import Walk

LEFT: Final = Failure(outcome=Outcome.CLIENT_GONE, message="")
_MESSAGE_LIMIT: Final = 300
_RAW_USAGE_LIMIT: Final = 8192
# Nothing about the provider or the key.
_SAYS_NOTHING: Final = (Outcome.CLIENT_GONE, Outcome.ACCESS_WITHDRAWN, Outcome.INTERNAL)
_REQUEST_ID: Final = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class CallRecord:
    """The usage event of one upstream call: its id exists before dispatch, it is settled exactly once."""

    def __init__(self, walk: Walk, attempt: Attempt, secret: Secret | None, event_id: str, hold: Hold | None) -> None:
        request = walk.request
        self.walk, self.attempt, self.secret, self.hold = walk, attempt, secret, hold
        self._started = perf_counter()
        self.settled = self._abandoned = False
        self.task: asyncio.Task[Any] | None = None
        self.stream: AnswerStream | None = None
        self.revoked: Failure | None = None
        self._response: UpstreamResponse | None = None
        self._room: int | None = None
        self._received = Received()
        self._tier_in = b""  # the last part of a stream that names the class of service
        event = self.event = UsageEvent(
            id=event_id,
            request_id=walk.request_id,
            user_id=walk.snapshot.user_id,
            occurred_at=datetime.now(UTC),
            attempt=walk.dispatched,
            task=walk.route.task,
            provider=attempt.provider.id,
            model=attempt.model,
            requested_model=request.route.model,
            credential_id=attempt.credential.id if attempt.credential else None,
            payer=attempt.payer,
            operation=request.route.operation,
            streamed=request.stream,
            fallback=walk.moves_on(attempt),
            skipped=walk.note_skipped(attempt),
        )
        walk.service.metering.begin(event, len(request.body))

    def first_byte(self) -> None:
        """The provider has begun to answer; for a stream, with content."""
        self.event.first_byte_ms = self._elapsed_ms()

    def note_response(self, response: UpstreamResponse) -> None:
        """The answer has begun."""
        self.first_byte()
        self._response = response
        if self._room is not None:
            response.limit(self._room)

    def abandon(self, max_bytes: int) -> None:
        """The client has left, and somebody reads on: whatever comes, it was made for nobody."""
        self._abandoned, self._room = True, max_bytes
        if self._response is not None:
            self._response.limit(max_bytes)

    def revoke(self, failure: Failure) -> None:
        """It may not go on. What was used until now is recorded; the provider is cut off."""
        if self.settled or self.revoked is not None:
            return
        self.revoked = failure
        if self.stream is not None:
            self.stream.revoke(failure)
        elif self.task is not None:
            self.task.cancel()

    def find_revocation(self) -> Failure | None:
        """Why it may not go on, if so."""
        return self.revoked

    def leave(self, stream: AnswerStream) -> bool:
        """The client has left a stream. Whether somebody reads on."""
        self._abandoned = True
        return self.walk.service.drains.take_over(stream)

    def receive_whole(self, body: bytes) -> None:
        """An answer that is no stream."""
        self._received.add_whole(body)
        self.event.service_tier = read_tier(body)

    def receive_first(self, chunk: bytes) -> None:
        """A part of a stream, up to its first content."""
        self._received.sample = chunk
        self._tier_in = chunk if names_tier(chunk) else self._tier_in
        self._received.add(chunk)

    def receive(self, chunk: bytes) -> None:
        """A part of a stream."""
        received = self._received
        received.size += len(chunk)
        received.events += chunk.count(b"data:")
        if self._tier_in and names_tier(chunk):
            self._tier_in = chunk

    def note_request_id(self, response: UpstreamResponse) -> None:
        """Keep the provider's own name for this call, if it looks like one."""
        name = response.request_id
        if name and _REQUEST_ID.fullmatch(name):
            self.event.provider_request_id = name if self.secret is None else self.secret.scrub(name)

    def clean(self, failure: Failure) -> Failure:
        """The failure without the secret in what the provider said, and cut to what a person reads."""
        message = failure.message if self.secret is None else self.secret.scrub(failure.message)
        return replace(failure, message=message[:_MESSAGE_LIMIT])

    def fail(self, failure: Failure, reported: StreamDecoder | AnswerFailed | None = None) -> Failure:
        """Settle as failed, scrub the secret from what the provider said, and note the failure on the walk.

        What failed may have reported usage already: input is paid for when it is read.
        """
        failure = self.clean(failure)
        if reported is None:
            self.settle(failure)
        else:
            self.settle(failure, reported.tokens, reported.raw_usage)
        self.walk.failed.append(FailedAttempt(self.attempt, failure))
        return failure

    def settle_stream(self, decoder: StreamDecoder, failure: Failure | None) -> None:
        """Settle at the end of a stream, with whatever usage it reported until then.

        Of a stream that was cut short before it said why it ended, what it reported is not all.
        """
        self.event.service_tier = read_tier(self._tier_in)
        ended = decoder.finish_reason is not None and decoder.tokens is not None
        whole = decoder.complete or not decoder.committed or ended
        self.settle(failure, decoder.tokens, decoder.raw_usage, decoder.finish_reason, whole=whole)

    def settle(
        self,
        failure: Failure | None,
        tokens: Tokens | None = None,
        raw_usage: bytes | None = None,
        finish_reason: str | None = None,
        *,
        whole: bool = True,
    ) -> None:
        """Hand the event over and tell the health board. Only the first call counts."""
        if self.settled:
            return
        self.settled = True
        event = self.event
        if self._abandoned and (failure is None or failure.outcome is Outcome.ANSWER_TOO_LARGE):
            failure = LEFT  # read on to its end, or to as much of it as is read for nobody
        event.duration_ms = self._elapsed_ms()
        event.outcome = Outcome.OK if failure is None else failure.outcome
        event.http_status = 200 if failure is None else failure.http_status
        event.tokens, event.raw_usage, event.finish_reason = tokens, self._clean_usage(raw_usage), finish_reason
        event.tokens_source = TokensSource.NONE if tokens is None else TokensSource.REPORTED
        if event.operation == "speech" and raw_usage is None and self._was_spoken():
            event.raw_usage = write_characters(self.walk.request.body)
        cut_short = not whole or self._is_unreported(tokens)
        if cut_short and event.operation in TEXT_OPERATIONS:
            event.tokens = estimate_tokens(self.walk.request.body, self._received, tokens)
            event.tokens_source = TokensSource.ESTIMATED
        if failure is not None and failure.provider_request_id:
            event.provider_request_id = failure.provider_request_id
        walk = self.walk
        walk.service.metering.record(event)
        if self.hold is not None:
            walk.service.spending.settle(self.hold, event)
        if failure is None or failure.outcome not in _SAYS_NOTHING:
            walk.service.learn(walk.snapshot, self.attempt, failure)
        # Nothing is cut any more. Each of them leads back here.
        self.task = self.stream = self._response = None
        walk.note_settled()

    def _is_unreported(self, tokens: Tokens | None) -> bool:
        """Whether the provider will charge for what it served, and has not said for how much."""
        served = self.event.outcome in (Outcome.OK, Outcome.CLIENT_GONE, Outcome.ACCESS_WITHDRAWN)
        return tokens is None and served and self.event.operation in TEXT_OPERATIONS

    def _was_spoken(self) -> bool:
        """Whether sound has come: then all of the text is charged for, however much of it was heard."""
        return self.event.outcome in MAY_HAVE_CHARGED and self._response is not None

    def _clean_usage(self, raw_usage: bytes | None) -> bytes | None:
        if raw_usage is None or len(raw_usage) > _RAW_USAGE_LIMIT:
            return None
        if self.secret is None:
            return raw_usage
        return self.secret.scrub(raw_usage.decode("utf-8", "replace")).encode()

    def _elapsed_ms(self) -> int:
        return round((perf_counter() - self._started) * 1000)
