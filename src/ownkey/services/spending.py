"""Who may spend how much: asks for every call that a budget, a cap or a rate concerns, and for no other.

The database promises money (`storage.spending`), for all processes; a call that nothing concerns costs no query.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from msgspec import Struct, structs

from ownkey.background import end_task
from ownkey.domain.budget import (
    MICRODOLLARS_LIMIT,
    RATES,
    Bound,
    Ceiling,
    Counter,
    CounterState,
    Reason,
    Refusal,
    Scope,
    count,
    judge,
    own_ceilings,
    warn,
)
from ownkey.domain.policy import Policy
from ownkey.domain.routing import TEXT_OPERATIONS, Attempt, Operation, RouteRequest
from ownkey.domain.settings import Payer, Snapshot
from ownkey.domain.usage import MAY_HAVE_CHARGED, TokensSource, UsageEvent
from ownkey.errors import StorageError
from ownkey.services.call_bound import Extent, assume_extent, price, read_extent
from ownkey.services.expiry import utc_now
from ownkey.services.metering import Metering
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.pricing import Pricing
from ownkey.services.rate_keeper import RateKeeper, RatesAway, Taken
from ownkey.services.side_bound import read_side_extent
from ownkey.services.spending_watch import SpendingWatch
from ownkey.storage import spending as rows
from ownkey.storage.database import Database
from ownkey.storage.spending import Reservation

# Between the end of a call and the moment at which its usage is stored, should the database be away for a while.
_LATE_SECONDS: Final = 300.0
_TIDY_SECONDS: Final = 60.0
_FLUSH_SECONDS: Final = 2.0
# `, "max_completion_tokens": 16384`, and some room.
_LIMIT_BYTES: Final = 40
_UNSAID: Final = (*RATES, Scope.TOTAL)

logger = logging.getLogger(__name__)


class Hold(Struct, frozen=True, kw_only=True):
    """What a call was promised. `counters` are as they stood just before it, at this moment."""

    event_id: str
    at: datetime
    counters: tuple[Counter, ...]
    promised: bool
    taken: Taken | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to tell the user of their own caps, such as `own_cap_near;period=day`."""
        return tuple(f"{one.code};period={one.period}" for one in warn(self.counters))


class SpendingService:
    """`lifetime_seconds` is the longest that a call can take. `rates` counts calls per minute, where configured."""

    def __init__(
        self,
        database: Database,
        policies: PolicyBoard,
        pricing: Pricing,
        metering: Metering,
        *,
        lifetime_seconds: float,
        rates: RateKeeper | None = None,
    ) -> None:
        self._database, self._policies, self._pricing, self._metering = database, policies, pricing, metering
        self._lifetime_seconds, self._rates = lifetime_seconds + _LATE_SECONDS, rates
        self._watch = SpendingWatch(database)
        self._background: set[asyncio.Task[Any]] = set()
        self._tidier: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to end the promises of processes that died."""
        self._tidier = asyncio.create_task(self._tidy(), name="ownkey-spending")

    async def close(self) -> None:
        """Stop, once what was given back is back."""
        if self._tidier is not None:
            await end_task(self._tidier)
        while self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
        if self._rates is not None:
            await self._rates.close()

    def ceilings(self, snapshot: Snapshot, payer: Payer) -> tuple[Ceiling, ...]:
        """The limits of a user's calls with this payer; without any, nobody has to be asked. No I/O."""
        return _ceilings(self._policies.current, snapshot, payer)

    async def reserve(
        self, snapshot: Snapshot, attempt: Attempt, operation: Operation, body: bytes, event_id: str
    ) -> Hold | Refusal | None:
        """A promise for the call `event_id`, or why it may not be made; None when nothing limits it.

        What is promised is to be settled or released. Raises StorageError when nobody can say what is left.
        """
        ceilings = self.ceilings(snapshot, attempt.payer)
        if not ceilings:
            return None
        now, policy = utc_now(), self._policies.current
        assumed = policy.budgets.assumed_output_tokens
        if operation in TEXT_OPERATIONS:
            extent = read_extent(attempt, body, embeddings=operation == "embeddings", assumed_output_tokens=assumed)
        else:
            extent = read_side_extent(attempt, operation, body, assumed_output_tokens=assumed)
        bound = price(self._pricing, attempt, extent, now)
        if _is_unpriced(ceilings, attempt, bound):
            return Refusal(reason=Reason.UNPRICED)
        counters: tuple[Counter, ...] = ()
        taken: Taken | None = None
        if self._rates is not None:
            fast = [one for one in ceilings if one.scope in RATES]
            with suppress(RatesAway):
                counters, taken = await self._take(self._rates, snapshot.user_id, fast, bound, now)
                refusal = judge(counters, now)
                if refusal is not None:
                    return refusal
                ceilings = tuple(one for one in ceilings if one.scope not in RATES)
        if not ceilings:
            return Hold(event_id=event_id, at=now, counters=counters, promised=False, taken=taken)
        try:
            answer = await self._promise(snapshot, ceilings, bound, event_id)
        except BaseException as error:
            self._give_back(taken)
            if isinstance(error, StorageError) and not any(one.stop for one in ceilings):
                return None  # nobody is kept from their own money because a warning cannot be worked out
            raise
        for news in self._watch.find_news(snapshot, answer.counters, refused=not answer.granted):
            self._run(self._watch.tell(news))
        if not answer.granted:
            self._give_back(taken)
            refusal = judge(answer.counters, answer.at)
            if refusal is None or operation != "chat":
                return refusal
            return structs.replace(refusal, fitting_output_tokens=self._find_fit(attempt, extent, refusal, now))
        return Hold(event_id=event_id, at=answer.at, counters=(*counters, *answer.counters), promised=True, taken=taken)

    def settle(self, hold: Hold, event: UsageEvent) -> None:
        """The call is over and its usage event handed over: what it cost takes the promise's place. No I/O."""
        if hold.promised:
            self._metering.flush_soon()
        unsaid = event.tokens_source is TokensSource.NONE and event.outcome in MAY_HAVE_CHARGED
        if hold.taken is not None and self._rates is not None and not unsaid:
            tokens = event.tokens
            used = tokens.input_total + tokens.output_total if tokens is not None else 0
            self._run(self._rates.correct(hold.taken, used))

    def release(self, hold: Hold) -> None:
        """The call is not made: take the promise back. No I/O."""
        if hold.promised:
            self._run(self._release(hold.event_id))
        self._give_back(hold.taken)

    async def look(self, snapshot: Snapshot, request: RouteRequest) -> SpendingView:
        """How things stand for a user, for a request that is only thought of. Raises StorageError."""
        now, policy = utc_now(), self._policies.current
        states: list[CounterState] = []
        if self.ceilings(snapshot, Payer.SHARED) or self.ceilings(snapshot, Payer.OWN):
            async with self._database.transaction(snapshot.user_id) as tx:
                states = await rows.look(tx)
            states = await self._look_at_rates(snapshot.user_id, policy, states, now)
        return SpendingView(snapshot, request, policy, self._pricing, states, now)

    async def look_at_rates(self, user_id: str, states: list[CounterState]) -> list[CounterState]:
        """These states, with the calls per minute from where they are counted."""
        return await self._look_at_rates(user_id, self._policies.current, states, utc_now())

    async def _look_at_rates(
        self, user_id: str, policy: Policy, states: list[CounterState], now: datetime
    ) -> list[CounterState]:
        fast = [one for one in policy.ceilings_for(None) if one.scope in RATES]
        if self._rates is None or not fast:
            return states
        try:
            found = await self._rates.look(user_id, fast, now)
        except RatesAway:
            return states
        known = [CounterState(scope=one.scope, period=one.period, spent=one.spent, reserved=0) for one in found]
        return [one for one in states if one.scope not in RATES] + known

    async def _promise(
        self, snapshot: Snapshot, ceilings: Sequence[Ceiling], bound: Bound, event_id: str
    ) -> Reservation:
        """The database's answer. When calls under way stand in the way, those that are over are settled first."""
        answer = await self._ask(snapshot, ceilings, bound, event_id)
        refusal = None if answer.granted else judge(answer.counters, answer.at)
        if refusal is None or not refusal.in_flight:
            return answer
        await self._settle_what_is_over()
        return await self._ask(snapshot, ceilings, bound, event_id)

    async def _ask(self, snapshot: Snapshot, ceilings: Sequence[Ceiling], bound: Bound, event_id: str) -> Reservation:
        asking = asyncio.ensure_future(
            rows.reserve(
                self._database,
                event_id=event_id,
                user_id=snapshot.user_id,
                group=snapshot.group,
                ceilings=ceilings,
                bound=bound,
                lifetime_seconds=self._lifetime_seconds,
            )
        )
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            # The client is gone, and nobody will know of the promise that may come yet.
            self._run(self._release_when_known(asking, event_id))
            raise

    async def _take(
        self, rates: RateKeeper, user_id: str, fast: Sequence[Ceiling], bound: Bound, now: datetime
    ) -> tuple[tuple[Counter, ...], Taken | None]:
        """A place in this minute. Raises RatesAway."""
        taking = asyncio.ensure_future(rates.take(user_id, fast, bound, now))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # As with a promise of money: the client is gone, and Redis may have counted the call already.
            self._run(self._give_back_when_known(taking))
            raise

    def _find_fit(self, attempt: Attempt, extent: Extent, refusal: Refusal, at: datetime) -> int | None:
        """The longest answer, in tokens, with which the call would fit what is left when those under way cost nothing.

        None where nobody can say, and of what everybody together may spend, which is the operator's business.
        """
        if refusal.in_flight or not extent.output_tokens or any(one.scope in _UNSAID for one in refusal.counters):
            return None
        room = min(one.limit - one.spent for one in refusal.counters)
        # The limit has to be written into the body, whose bytes count.
        written = structs.replace(extent, input_tokens=extent.input_tokens + _LIMIT_BYTES)
        without = price(self._pricing, attempt, structs.replace(written, output_tokens=0), at).cost_microdollars
        whole = price(self._pricing, attempt, written, at).cost_microdollars
        if without is None or whole is None or whole >= MICRODOLLARS_LIMIT:
            return None
        # Each token of an answer costs the same. Both costs are rounded up: one more makes it too little, not too much.
        fitting = (room - without) * extent.output_tokens // (whole - without + 1)
        return min(fitting, extent.output_tokens) if fitting > 0 else None

    async def _settle_what_is_over(self) -> None:
        flushing = asyncio.ensure_future(self._metering.flush())
        self._keep(flushing)
        await asyncio.wait({flushing}, timeout=_FLUSH_SECONDS)
        with suppress(StorageError):
            await rows.expire(self._database)

    async def _release_when_known(self, asking: asyncio.Future[Reservation], event_id: str) -> None:
        with suppress(Exception):
            await asking
        await self._release(event_id)

    async def _give_back_when_known(self, taking: asyncio.Future[tuple[tuple[Counter, ...], Taken | None]]) -> None:
        with suppress(RatesAway):
            _, taken = await taking
            self._give_back(taken)

    async def _release(self, event_id: str) -> None:
        try:
            await rows.release(self._database, [event_id])
        except StorageError as error:
            # It ends by itself.
            logger.warning("the promise to a call that was not made could not be taken back: %s", error.message)

    def _give_back(self, taken: Taken | None) -> None:
        if taken is not None and self._rates is not None:
            self._run(self._rates.release(taken))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._keep(asyncio.ensure_future(work))

    def _keep(self, task: asyncio.Future[Any]) -> None:
        self._background.add(task)  # type: ignore[arg-type]  # ensure_future made a task of a coroutine
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._background.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StorageError):
            logger.error("work on budgets in the background failed", exc_info=error)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            try:
                ended = await rows.expire(self._database)
            except StorageError as error:
                logger.warning("could not look for promises of processes that died: %s", error.message)
            else:
                if ended:
                    logger.warning("%d promises to calls whose process died have ended", ended)


class SpendingView:
    """Implements `domain.routing.Spending` for who only looks: what is counted, as it was read."""

    def __init__(
        self,
        snapshot: Snapshot,
        request: RouteRequest,
        policy: Policy,
        pricing: Pricing,
        states: Sequence[CounterState],
        now: datetime,
    ) -> None:
        self._snapshot, self._request, self._policy = snapshot, request, policy
        self._pricing, self._states, self._now = pricing, states, now

    def refuse(self, attempt: Attempt) -> Refusal | None:
        """Why this attempt could not be paid for, as far as can be said without its body."""
        ceilings = _ceilings(self._policy, self._snapshot, attempt.payer)
        if not ceilings:
            return None
        extent = assume_extent(
            attempt,
            self._request.needs.input_tokens,
            embeddings=self._request.operation == "embeddings",
            assumed_output_tokens=self._policy.budgets.assumed_output_tokens,
            max_output_tokens=self._request.max_output_tokens,
        )
        bound = price(self._pricing, attempt, extent, self._now)
        if _is_unpriced(ceilings, attempt, bound):
            return Refusal(reason=Reason.UNPRICED)
        return judge(count(ceilings, self._states, self._now, bound), self._now)


def _ceilings(policy: Policy, snapshot: Snapshot, payer: Payer) -> tuple[Ceiling, ...]:
    if payer is Payer.OWN:
        caps = snapshot.settings.caps
        no_caps = caps.day_microdollars is None and caps.month_microdollars is None
        return () if no_caps else own_ceilings(caps)
    return policy.ceilings_for(snapshot.group) if policy.is_limited else ()


def _is_unpriced(ceilings: Sequence[Ceiling], attempt: Attempt, bound: Bound) -> bool:
    """Whether the operator's money would be spent without anybody knowing how much of it."""
    if attempt.payer is Payer.OWN or bound.cost_microdollars is not None:
        return False
    return any(one.scope not in RATES for one in ceilings)
