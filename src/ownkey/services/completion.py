"""The hot path: walk the chain of attempts until a provider answers.

A failure's class alone decides what comes next (`domain.exchange.CONSEQUENCES`). A stream belongs to a provider
from its first content on; until then nothing has reached the client and the chain goes on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Final

from msgspec.structs import replace

from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.envelope import Binding, open_secret
from ownkey.domain.budget import Refusal
from ownkey.domain.credential import CredentialStatus, Secret
from ownkey.domain.exchange import CONSEQUENCES, Failure, UpstreamRequest
from ownkey.domain.routing import (
    TEXT_OPERATIONS,
    Attempt,
    Route,
    Skipped,
    shared_credential_id,
    skipped_as_down,
    skipped_as_refused,
    skipped_as_unshareable,
)
from ownkey.domain.settings import Payer, Snapshot
from ownkey.domain.usage import Outcome, Tokens, TokensSource, UsageEvent, new_id
from ownkey.errors import CredentialUnreadable, RequestError, ThreadUnsupported
from ownkey.providers.adapters import get_adapter
from ownkey.providers.dialect import Adapter, AnswerFailed, Call, StreamDecoder
from ownkey.providers.shared_key_rules import find_unshareable
from ownkey.providers.side_operations.adapter import is_stream, read_content_type
from ownkey.services.answer import Answer, AnswerStream
from ownkey.services.attempt_report import FailedAttempt, exhausted
from ownkey.services.client_headers import add_headers
from ownkey.services.client_request import ClientRequest
from ownkey.services.credential_health import CredentialHealth
from ownkey.services.drains import Drains
from ownkey.services.estimate import Received, estimate_tokens
from ownkey.services.metering import Metering
from ownkey.services.router import Router
from ownkey.services.service_tier import names_tier, read_tier
from ownkey.services.spending import Hold, SpendingService
from ownkey.upstream.pool import TransportFailure, UpstreamPool, UpstreamResponse

# Second tries may add a tenth to the load of a provider in trouble, with a small reserve for quiet hours.
_RETRY_SHARE: Final = 0.1
_RETRY_RESERVE: Final = 10.0
_JITTER_SECONDS: Final = (0.05, 0.2)
_MESSAGE_LIMIT: Final = 300
_RAW_USAGE_LIMIT: Final = 8192

_LEFT: Final = Failure(outcome=Outcome.CLIENT_GONE, message="")
_REQUEST_ID: Final = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_CURED_BY_SUCCESS: Final = (CredentialStatus.UNVERIFIED, CredentialStatus.RATE_LIMITED, CredentialStatus.OUT_OF_CREDIT)

logger = logging.getLogger(__name__)


class CompletionService:
    """Sends requests to providers with the right key, and accounts for every call."""

    def __init__(
        self,
        *,
        router: Router,
        pool: UpstreamPool,
        data_keys: DataKeys,
        metering: Metering,
        spending: SpendingService,
        credential_health: CredentialHealth,
        drains: Drains,
        shared_secrets: Mapping[str, Secret],
        deployment_id: str,
        retry_wait_seconds: float,
    ) -> None:
        self.drains = drains
        self.router, self.pool, self.metering, self.spending = router, pool, metering, spending
        self._data_keys, self._deployment_id = data_keys, deployment_id
        self._credential_health, self._shared_secrets = credential_health, shared_secrets
        self._retry_wait_seconds = retry_wait_seconds
        self._retry_tokens = _RETRY_RESERVE

    async def open(self, snapshot: Snapshot, request: ClientRequest, *, request_id: str | None = None) -> Answer:
        """Answer a request with the first attempt of its chain that works.

        Raises RouteExhausted when none does, NoProvider when there is none, StorageError(usage_queue_full)
        when the call could not be recorded.
        """
        self.metering.check_room()
        self._retry_tokens = min(self._retry_tokens + _RETRY_SHARE, _RETRY_RESERVE)
        route = self.router.route(snapshot, request.route)
        return await _Walk(self, snapshot, request, route, request_id or new_id()).run()

    def open_secret(self, snapshot: Snapshot, attempt: Attempt) -> Secret | None:
        """The secret for an attempt; None for a provider without one. Raises CredentialUnreadable."""
        credential = attempt.credential
        if credential is None:
            return self._shared_secrets.get(attempt.provider.id)
        if snapshot.wrapped_data_key is None or snapshot.wrapping_key_id is None:
            raise CredentialUnreadable("This user's data key is gone, so the stored key cannot be read.")
        data_key = self._data_keys.open(
            snapshot.user_id, snapshot.wrapped_data_key, snapshot.wrapping_key_id, snapshot.data_key_version
        )
        binding = Binding(
            deployment_id=self._deployment_id,
            user_id=snapshot.user_id,
            provider=credential.provider,
            record_id=credential.id,
            generation=credential.generation,
        )
        return open_secret(data_key, credential.sealed, binding)

    async def wait_before_retry(self, failure: Failure) -> bool:
        """Whether a second try with the same credential is worth it; waits as long as that takes."""
        if not CONSEQUENCES[failure.outcome].retry_same:
            return False
        if failure.outcome is Outcome.RATE_LIMITED:
            wait = failure.retry_after_seconds
            if wait is None or wait > self._retry_wait_seconds:
                return False
        elif failure.retry_after_seconds and failure.retry_after_seconds > self._retry_wait_seconds:
            return False
        else:
            wait = failure.retry_after_seconds or random.uniform(*_JITTER_SECONDS)  # noqa: S311  # jitter, no secret
        if self._retry_tokens < 1:
            return False
        self._retry_tokens -= 1
        await asyncio.sleep(wait)
        return True

    def learn(self, snapshot: Snapshot, attempt: Attempt, failure: Failure | None) -> None:
        """Remember what an attempt says about its provider's host and its credential."""
        credential, health = attempt.credential, self.router.health
        key = credential.health_key if credential is not None else shared_credential_id(attempt.provider.id)
        if failure is None:
            health.note_success(attempt.base_url, key)
            if credential is not None and credential.status in _CURED_BY_SUCCESS:
                self._credential_health.note(snapshot.user_id, credential, CredentialStatus.OK)
            return
        consequence = CONSEQUENCES[failure.outcome]
        until = health.note_failure(attempt.base_url, key, failure)
        if credential is not None and consequence.status is not None:
            # The outcome's code, not the provider's words: those are long, in one language, and anybody's.
            reason = failure.outcome.value
            self._credential_health.note(snapshot.user_id, credential, consequence.status, reason, until)


class _Walk:
    """One request's way along its chain."""

    def __init__(
        self, service: CompletionService, snapshot: Snapshot, request: ClientRequest, route: Route, request_id: str
    ) -> None:
        self.service, self.snapshot, self.request = service, snapshot, request
        self.route, self.request_id = route, request_id
        self.failed: list[FailedAttempt] = []
        self.late_skips: list[Skipped] = []
        self.refusals: list[Refusal] = []
        self.unshareable: str | None = None
        self.dispatched = 0
        self._keys: set[tuple[str, str | None]] = set()

    async def run(self) -> Answer:
        """The first answer.

        Raises RouteExhausted, ThreadUnsupported, and StorageError when nobody can say what a budget has left.
        """
        given_up: set[str] = set()
        for attempt in self.route.attempts:
            if attempt.provider.id in given_up:
                continue
            result = await self._try(attempt)
            if isinstance(result, Failure) and await self.service.wait_before_retry(result):
                result = await self._try(attempt)
            if isinstance(result, Answer):
                return result
            if result is None:
                continue
            consequence = CONSEQUENCES[result.outcome]
            if not consequence.next_provider:
                break
            if not consequence.next_credential:
                given_up.add(attempt.provider.id)
        skipped = (*self.route.skipped, *self.late_skips)
        raise exhausted(skipped, self.failed, self.refusals, unshareable=self.unshareable)

    def moves_on(self, attempt: Attempt) -> bool:
        """Whether this attempt takes over from another key or provider."""
        key = (attempt.provider.id, attempt.credential.id if attempt.credential else None)
        others = bool(self._keys - {key})
        self._keys.add(key)
        return others

    def passed_over(self, attempt: Attempt) -> list[Skipped]:
        """What would have come before this attempt, and was left out."""
        return [*self.route.passed_over(attempt), *self.late_skips]

    def _may_share(self, attempt: Attempt) -> bool:
        """Whether the operator's key may serve this request. Raises ThreadUnsupported: its client can mend that."""
        request = self.request
        found = find_unshareable(request.body, request.route.operation, request.dialect, attempt.model, request.fields)
        if found is None:
            return True
        if found.field == "thread":
            raise ThreadUnsupported(
                "A conversation that Anthropic stores needs a key of your own. Send the whole conversation, without "
                "`thread`.",
                param="thread",
            )
        self.late_skips.append(skipped_as_unshareable(attempt, found.reason))
        self.unshareable = found.field
        return False

    def _may_try(self, attempt: Attempt) -> bool:
        """An endpoint that was broken is given one try at a time: whether this request is to make it."""
        until = self.service.router.health.provider_down_until(attempt.base_url)
        if until is not None:
            self.late_skips.append(skipped_as_down(attempt, until))
        return until is None

    async def _try(self, attempt: Attempt) -> Answer | Failure | None:
        """One upstream call. Every way out of it settles its usage event. None: it was not this request's turn."""
        request, provider = self.request, attempt.provider
        if attempt.payer is Payer.SHARED and not self._may_share(attempt):
            return None
        call = Call(
            operation=request.route.operation,
            body=request.body,
            model=attempt.model,
            dialect=request.dialect,
            content_type=request.content_type,
            stream=request.stream,
            wants_usage=request.wants_usage,
            fields=request.fields,
        )
        dialect = provider.choose_dialect(attempt.model, request.dialect)
        adapter = get_adapter(request.dialect, dialect, call.operation)
        try:
            secret = self.service.open_secret(self.snapshot, attempt)
            upstream_request = adapter.encode(provider, attempt.base_url, call)
            if request.headers and dialect is request.dialect:
                upstream_request = add_headers(upstream_request, request.headers)
        except CredentialUnreadable as error:
            return self._fail(attempt, Failure(outcome=Outcome.UNREADABLE, message=error.message))
        except ThreadUnsupported:
            # The client's library knows this one: it asks again, with a request that every dialect can carry.
            raise
        except RequestError as error:
            # This dialect cannot carry the request; another one of the chain may.
            return self._fail(attempt, Failure(outcome=Outcome.CANNOT_CARRY, message=error.message))
        event_id = new_id()
        hold = await self.service.spending.reserve(
            self.snapshot, attempt, self.request.route.operation, self.request.body, event_id
        )
        if isinstance(hold, Refusal):
            self.refusals.append(hold)
            self.late_skips.append(skipped_as_refused(attempt, hold))
            return None
        if not self._may_try(attempt):
            if hold is not None:
                self.service.spending.release(hold)
            return None
        self.dispatched += 1
        record = _CallRecord(self, attempt, secret, event_id, hold)
        return await self.service.drains.see_through(self._exchange(adapter, call, upstream_request, record), record)

    async def _exchange(
        self, adapter: Adapter, call: Call, upstream_request: UpstreamRequest, record: _CallRecord
    ) -> Answer | Failure:
        """What the provider makes of it. The client may leave meanwhile; cancelling cuts the connection."""
        attempt = record.attempt
        response: UpstreamResponse | None = None
        try:
            response = await self.service.pool.send(upstream_request, record.secret)
            record.note_response(response)
            if 300 <= response.status < 400:
                await response.close()
                return record.fail(_redirected(attempt, response.status))
            if not 200 <= response.status < 300:
                body = await response.read()
                return record.fail(adapter.read_failure(response.status, response.headers, body))
            record.note_request_id(response.headers)
            special = call.operation not in TEXT_OPERATIONS
            content_type = read_content_type(response.headers) if special else None
            if call.stream and not (special and not is_stream(call, response.headers)):
                return await self._open_stream(adapter, call, response, record, content_type)
            body = await response.read()
            if not special:
                record.receive_whole(body)
            decoded = adapter.decode(body, call)
            record.settle(None, decoded.tokens, decoded.raw_usage, decoded.finish_reason)
            return Answer(
                request_id=self.request_id,
                attempt=attempt,
                attempts=self.dispatched,
                body=decoded.body,
                content_type=content_type,
                hold=record.hold,
                skipped=self.passed_over(attempt),
            )
        except TransportFailure as error:
            return record.fail(error.failure)
        except AnswerFailed as error:
            return record.fail(error.failure, error)
        except Exception as error:  # a provider's bytes must not decide how our code ends
            if not isinstance(error, ValueError):
                logger.exception("an answer of %s could not be read", attempt.provider.id)
            if response is not None:
                await response.close()
            message = f"{attempt.provider.label} answered with something that is not a {call.operation} answer."
            return record.fail(Failure(outcome=Outcome.OVERLOADED, message=message))
        except BaseException as error:
            gone = isinstance(error, asyncio.CancelledError)
            record.settle(_LEFT if gone else Failure(outcome=Outcome.INTERNAL, message=""))
            if response is not None:
                await asyncio.shield(response.close())
            raise

    async def _open_stream(
        self, adapter: Adapter, call: Call, response: UpstreamResponse, record: _CallRecord, content_type: str | None
    ) -> Answer | Failure:
        """Read until the provider has said something: from then on the stream is its own."""
        decoder = adapter.stream_decoder(record.attempt.provider, call)
        buffered: list[bytes] = []
        while not (decoder.committed or decoder.complete or decoder.failure):
            chunk = await response.read_chunk()
            if chunk is None:
                buffered.append(decoder.finish())
                break
            record.receive_first(chunk)
            buffered.append(decoder.feed(chunk))
        if decoder.failure is not None or not (decoder.committed or decoder.complete):
            # Even content that came in one piece with an error has not reached the client yet.
            await response.close()
            message = f"{record.attempt.provider.label} ended its stream at once."
            return record.fail(decoder.failure or Failure(outcome=Outcome.STREAM_BROKEN, message=message), decoder)
        record.first_byte()
        stream = AnswerStream(
            response,
            decoder,
            b"".join(buffered),
            record.settle_stream,
            record.clean,
            record.receive,
            record.leave,
        )
        return Answer(
            request_id=self.request_id,
            attempt=record.attempt,
            attempts=self.dispatched,
            stream=stream,
            content_type=content_type,
            hold=record.hold,
            skipped=self.passed_over(record.attempt),
        )

    def _fail(self, attempt: Attempt, failure: Failure) -> Failure:
        self.failed.append(FailedAttempt(attempt, failure))
        self.service.learn(self.snapshot, attempt, failure)
        return failure


class _CallRecord:
    """The usage event of one upstream call: its id exists before dispatch, it is settled exactly once."""

    def __init__(self, walk: _Walk, attempt: Attempt, secret: Secret | None, event_id: str, hold: Hold | None) -> None:
        request = walk.request
        self.walk, self.attempt, self.secret, self.hold = walk, attempt, secret, hold
        self._started = perf_counter()
        self._settled = self._abandoned = False
        self._response: UpstreamResponse | None = None
        self._room: int | None = None
        self._received = Received()
        self._tier_in = b""  # the last part of a stream that names the class of service
        self.event = UsageEvent(
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
        )

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
        self._received.add(chunk)
        if self._tier_in and names_tier(chunk):
            self._tier_in = chunk

    def note_request_id(self, headers: Mapping[str, str]) -> None:
        """Keep the provider's own name for this call, if it looks like one."""
        name = headers.get("x-request-id") or headers.get("request-id") or ""
        if _REQUEST_ID.fullmatch(name):
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
        if self._settled:
            return
        self._settled = True
        event = self.event
        if self._abandoned and (failure is None or failure.outcome is Outcome.ANSWER_TOO_LARGE):
            failure = _LEFT  # read on to its end, or to as much of it as is read for nobody
        event.duration_ms = self._elapsed_ms()
        event.outcome = Outcome.OK if failure is None else failure.outcome
        event.http_status = 200 if failure is None else failure.http_status
        event.tokens, event.raw_usage, event.finish_reason = tokens, self._clean_usage(raw_usage), finish_reason
        event.tokens_source = TokensSource.NONE if tokens is None else TokensSource.REPORTED
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
        if failure is None or failure.outcome not in (Outcome.CLIENT_GONE, Outcome.INTERNAL):
            walk.service.learn(walk.snapshot, self.attempt, failure)

    def _is_unreported(self, tokens: Tokens | None) -> bool:
        """Whether the provider will charge for what it served, and has not said for how much."""
        served = self.event.outcome in (Outcome.OK, Outcome.CLIENT_GONE)
        return tokens is None and served and self.event.operation in TEXT_OPERATIONS

    def _clean_usage(self, raw_usage: bytes | None) -> bytes | None:
        if raw_usage is None or len(raw_usage) > _RAW_USAGE_LIMIT:
            return None
        if self.secret is None:
            return raw_usage
        return self.secret.scrub(raw_usage.decode("utf-8", "replace")).encode()

    def _elapsed_ms(self) -> int:
        return round((perf_counter() - self._started) * 1000)


def _redirected(attempt: Attempt, status: int) -> Failure:
    message = f"{attempt.provider.label} redirects elsewhere, where no key of yours is sent."
    return Failure(outcome=Outcome.UNREACHABLE, message=message, http_status=status)
