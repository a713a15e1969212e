"""One request's way along its chain of attempts.

A failure's class alone decides what comes next (`domain.exchange.CONSEQUENCES`). A stream belongs to a provider
from its first content on; until then nothing has reached the client and the chain goes on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from ownkey.crypto.data_keys import DataKeyCold
from ownkey.domain.budget import Refusal
from ownkey.domain.credential import Secret
from ownkey.domain.exchange import CONSEQUENCES, Failure, UpstreamRequest
from ownkey.domain.policy import Policy
from ownkey.domain.routing import (
    TEXT_OPERATIONS,
    Attempt,
    Route,
    Skipped,
    skipped_as_down,
    skipped_as_refused,
    skipped_as_unshareable,
)
from ownkey.domain.settings import Payer, Snapshot
from ownkey.domain.usage import Outcome, SkippedHop, new_id
from ownkey.errors import CredentialUnreadable, RequestError, ThreadUnsupported
from ownkey.providers.adapters import get_adapter
from ownkey.providers.dialect import Adapter, AnswerFailed, Call
from ownkey.providers.shared_key_rules import find_unshareable
from ownkey.providers.side_operations.adapter import is_stream, read_content_type
from ownkey.services.answer import Answer, AnswerStream
from ownkey.services.attempt_report import FailedAttempt, exhausted
from ownkey.services.call_record import LEFT, CallRecord
from ownkey.services.client_headers import add_headers
from ownkey.services.client_request import ClientRequest
from ownkey.services.presence import Presence
from ownkey.services.running_calls import (
    FORBIDDEN_PROVIDER,
    WITHDRAWN_KEY,
    Access,
    withdrawn,
)
from ownkey.upstream.pool import TransportFailure, UpstreamResponse

if TYPE_CHECKING:
    from ownkey.services.completion import CompletionService

logger = logging.getLogger(__name__)

# As many as a person reads.
_NOTED_HOPS: Final = 16


class Walk:
    """One request's way along its chain."""

    def __init__(
        self,
        service: CompletionService,
        snapshot: Snapshot,
        request: ClientRequest,
        route: Route,
        request_id: str,
        access: Access,
        presence: Presence | None,
    ) -> None:
        self.service, self.snapshot, self.request = service, snapshot, request
        self.access, self.user_id, self.presence = access, snapshot.user_id, presence
        self._record: CallRecord | None = None
        self._looking = True
        self._withdrawn: str | None = None
        self._latest = snapshot
        self._policy = self.route_policy = service.router.policy
        self.route, self.request_id = route, request_id
        self.failed: list[FailedAttempt] = []
        self.late_skips: list[Skipped] = []
        self.refusals: list[Refusal] = []
        self.unshareable: str | None = None
        self.dispatched = 0
        self._keys: set[tuple[str, str | None]] = set()
        # How many of what was left out are on the books: of the route, and of what came to light on the way.
        self._noted = (0, 0)

    async def see_through(self) -> Answer:
        """As `run`; meanwhile, and until the last byte of a stream, it hears of what is withdrawn from its user."""
        self.service.running.begin(self)
        try:
            return await self.run()
        finally:
            self._looking = False
            self.note_settled()

    def note_settled(self) -> None:
        """A call is over. So is the request, unless another call follows."""
        if not self._looking and (self._record is None or self._record.settled):
            # It knows this walk, too: the two would wait for the garbage collector, and the secret with them.
            self._record = None
            self.service.running.end(self)

    def withdraw(self, message: str) -> None:
        """The caller may not go on."""
        self._withdrawn = message
        self._cut(message)

    def find_secret(self) -> Secret | None:
        """The key of the call that is under way."""
        record = self._record  # once: another thread may ask
        return None if record is None else record.secret

    def adopt(self, snapshot: Snapshot) -> None:
        """The user's settings are these now: a key that is not theirs any more is not used any longer."""
        self._latest = snapshot
        if self._record is not None and not self._holds(self._record.attempt):
            self._cut(WITHDRAWN_KEY)

    def obey(self, policy: Policy) -> None:
        """The policy is this one now."""
        self._policy = policy
        if self._record is not None and not self._allows(self._record.attempt):
            self._cut(FORBIDDEN_PROVIDER)

    def _cut(self, message: str) -> None:
        if self._record is not None:
            self._record.revoke(Failure(outcome=Outcome.ACCESS_WITHDRAWN, message=message))

    def _holds(self, attempt: Attempt) -> bool:
        held = attempt.credential
        return held is None or any(
            one.id == held.id and one.generation == held.generation for one in self._latest.credentials
        )

    def _allows(self, attempt: Attempt) -> bool:
        policy, provider = self._policy, attempt.provider.id
        return policy.allows(provider) and (
            attempt.credential is not None or provider in policy.shared_for(self.user_id)
        )

    def _was_withdrawn(self) -> bool:
        return self._withdrawn is not None

    def _may_use(self, attempt: Attempt) -> bool:
        """Whether this attempt, which was planned earlier, is still one. Raises AuthError(access_withdrawn)."""
        if self._withdrawn is not None:
            raise withdrawn(self._withdrawn)
        return (self._latest is self.snapshot or self._holds(attempt)) and (
            self._policy is self.route_policy or self._allows(attempt)
        )

    async def run(self) -> Answer:
        """The first answer.

        Raises RouteExhausted, ThreadUnsupported, AuthError(access_withdrawn), DataKeyClosed when the user's keys cannot
        be opened here and now, and StorageError when nobody can say what a budget has left.
        """
        given_up: set[str] = set()
        for attempt in self.route.attempts:
            if attempt.provider.id in given_up or not self._may_use(attempt):
                continue
            result = await self._try(attempt)
            if isinstance(result, Failure) and await self.service.wait_before_retry(result):
                result = await self._try(attempt) if self._may_use(attempt) else None
            if isinstance(result, Answer):
                return result
            if result is None:
                continue
            if result.outcome is Outcome.ACCESS_WITHDRAWN:
                raise withdrawn(result.message)
            consequence = CONSEQUENCES[result.outcome]
            if not consequence.next_provider:
                break
            if not consequence.next_credential:
                given_up.add(attempt.provider.id)
        if self._withdrawn is not None:
            raise withdrawn(self._withdrawn)
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

    def note_skipped(self, attempt: Attempt) -> tuple[SkippedHop, ...]:
        """What was passed over since the attempt before, for the books."""
        planned, late = self.route.passed_over(attempt), self.late_skips
        if not planned and not late:
            return ()
        new = [*planned[self._noted[0] :], *late[self._noted[1] :]][:_NOTED_HOPS]
        self._noted = (len(planned), len(late))
        return tuple(dict.fromkeys(SkippedHop(hop.provider, hop.payer, hop.reason) for hop in new))

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
        health = self.service.router.health
        until = None if health.calm else health.provider_down_until(attempt.base_url)
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
            try:
                secret = self.service.open_secret(self.snapshot, attempt)
            except DataKeyCold:
                # All keys of this user lie under one data key. Where it cannot be opened now, the request waits or is
                # told to come again: nobody else's key pays for that, and none is called unreadable.
                secret = await self.service.fetch_secret(self.snapshot, attempt)
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
        spending = self.service.spending
        hold = None
        if spending.ceilings(self.snapshot, attempt.payer):
            hold = await spending.reserve(self.snapshot, attempt, request.route.operation, request.body, event_id)
        if isinstance(hold, Refusal):
            self.refusals.append(hold)
            self.late_skips.append(skipped_as_refused(attempt, hold))
            return None
        if not self._may_try(attempt):
            if hold is not None:
                spending.release(hold)
            return None
        if self._was_withdrawn() or not self._may_use(attempt):  # while the money was asked for
            if hold is not None:
                spending.release(hold)
            return None
        self.dispatched += 1
        record = self._record = CallRecord(self, attempt, secret, event_id, hold)
        exchange = self._exchange(adapter, call, upstream_request, record)
        presence, drains = self.presence, self.service.drains
        if presence is None:
            return await drains.see_through(exchange, record)
        presence.on_leave = lambda task: drains.adopt(task, record)
        try:
            result = await exchange
            if presence.left:
                await drains.finish(result if isinstance(result, Answer) else None)
                raise asyncio.CancelledError
        finally:
            presence.on_leave = None
        return result

    async def _exchange(
        self, adapter: Adapter, call: Call, upstream_request: UpstreamRequest, record: CallRecord
    ) -> Answer | Failure:
        """What the provider makes of it. The client may leave meanwhile; cancelling cuts the connection."""
        attempt = record.attempt
        response: UpstreamResponse | None = None
        # Without a presence this is a task of its own.
        task = record.task = asyncio.current_task() if self.presence is None else self.presence.task
        if record.revoked is not None:
            return record.fail(record.revoked)
        try:
            response = await self.service.pool.send(upstream_request, record.secret)
            record.note_response(response)
            if 300 <= response.status < 400:
                await response.close()
                return record.fail(_redirected(attempt, response.status))
            if not 200 <= response.status < 300:
                body = await response.read()
                return record.fail(adapter.read_failure(response.status, response.headers, body))
            record.note_request_id(response)
            special = call.operation not in TEXT_OPERATIONS
            content_type = read_content_type(response.headers) if special else None
            if call.stream and not (special and not is_stream(call, response.headers)):
                return await self._open_stream(adapter, call, response, record, content_type)
            body = await response.read()
            if not special:
                record.receive_whole(body)
            decoded = adapter.decode(body, call)
            record.settle(None, decoded.tokens, decoded.raw_usage, decoded.finish_reason)
            if self.service.metering.waits:
                await self.service.metering.keep()
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
            revoked = record.find_revocation() if gone else None
            record.settle(revoked or (LEFT if gone else Failure(outcome=Outcome.INTERNAL, message="")))
            if response is not None:
                await asyncio.shield(response.close())
            if revoked is not None and task is not None and not task.uncancel():
                return revoked
            raise

    async def _open_stream(
        self, adapter: Adapter, call: Call, response: UpstreamResponse, record: CallRecord, content_type: str | None
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
        if self.service.metering.waits:
            stream.keep = self.service.metering.keep
        record.stream = stream
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


def _redirected(attempt: Attempt, status: int) -> Failure:
    message = f"{attempt.provider.label} redirects elsewhere, where no key of yours is sent."
    return Failure(outcome=Outcome.UNREACHABLE, message=message, http_status=status)
