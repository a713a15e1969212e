"""Promises of money around a call: made, kept, taken back, whoever leaves and whatever is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from ownkey.domain.budget import Allowance, Budgets, CapAction, Caps, Limits, Period, Refusal, Scope
from ownkey.domain.credential import CredentialStatus, SealedCredential
from ownkey.domain.policy import Policy
from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.routing import Attempt, RouteRequest
from ownkey.domain.settings import Payer, Settings, Snapshot
from ownkey.domain.usage import Outcome, Tokens, TokensSource, UsageEvent, new_id
from ownkey.errors import StorageError
from ownkey.services.expiry import utc_now
from ownkey.services.metering import Metering
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.pricing import Pricing
from ownkey.services.rate_keeper import RateKeeper
from ownkey.services.spending import Hold, SpendingService
from ownkey.storage import spending as rows
from ownkey.storage import usage, users
from ownkey.storage.database import Database
from ownkey.storage.embedded import EmbeddedPostgres
from tests.servers import RedisServer, start_redis
from tests.services.stand import unique

# 15 and 60 cents a million: 200 bytes, a thousand tokens that nobody sees and 100 of an answer.
BODY = (b'{"max_tokens":100,"messages":[{"role":"user","content":"' + b"x" * 200)[:196] + b'"}]}'
COST, TOKENS = 240, 1_300
OPENAI = Provider(
    id="openai", label="OpenAI", dialect=Dialect.OPENAI_CHAT, base_url="https://api.openai.test/v1", prices="openai"
)
SHARED = Attempt(OPENAI, "gpt-4o-mini", None, Payer.SHARED)
OWN = Attempt(
    OPENAI,
    "gpt-4o-mini",
    SealedCredential(
        id=new_id(),
        provider="openai",
        label="work",
        hint="…",
        base_url=None,
        position=0,
        enabled=True,
        status=CredentialStatus.OK,
        status_until=None,
        expires_at=None,
        generation=1,
        sealed=b"",
    ),
    Payer.OWN,
)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with start_redis() as server:
        yield server


class Till:
    """A service with its own policy, on a database that others use as well."""

    def __init__(self, database: Database, policy: Policy, rates: RateKeeper | None = None) -> None:
        self.database, self.board = database, PolicyBoard(policy)
        pricing = Pricing()
        writer = usage.EventWriter(database)
        self.metering = Metering(writer, {"openai": OPENAI}, pricing, flush_seconds=60, queue_size=1000)
        self.spending = SpendingService(database, self.board, pricing, self.metering, lifetime_seconds=900, rates=rates)

    async def reserve(self, snapshot: Snapshot, attempt: Attempt = SHARED, body: bytes = BODY) -> Hold | Refusal | None:
        return await self.spending.reserve(snapshot, attempt, "chat", body, new_id())

    async def promised(self, snapshot: Snapshot, scope: Scope = Scope.USER) -> int:
        """What is promised to calls of this user."""
        async with self.database.transaction(snapshot.user_id) as tx:
            return sum(one.reserved for one in await rows.look(tx) if one.scope is scope)

    async def counted(self, snapshot: Snapshot) -> dict[Scope, int]:
        """Calls and tokens of this user's minute, wherever they are counted."""
        async with self.database.transaction(snapshot.user_id) as tx:
            states = await rows.look(tx)
        found = await self.spending.look_at_rates(snapshot.user_id, states)
        return {one.scope: one.spent + one.reserved for one in found if one.period is Period.MINUTE}

    def end(self, snapshot: Snapshot, hold: Hold, tokens: Tokens | None, outcome: Outcome = Outcome.INTERNAL) -> None:
        """The call is over, as the completion service says it."""
        event = UsageEvent(
            id=hold.event_id,
            request_id=new_id(),
            user_id=snapshot.user_id,
            occurred_at=utc_now(),
            attempt=1,
            task=None,
            provider="openai",
            model="gpt-4o-mini",
            requested_model="auto",
            credential_id=None,
            payer=Payer.SHARED,
            operation="chat",
            streamed=False,
            outcome=outcome,
            tokens=tokens,
            tokens_source=TokensSource.NONE if tokens is None else TokensSource.REPORTED,
        )
        self.metering.record(event)
        self.spending.settle(hold, event)


@pytest_asyncio.fixture
async def away(data_dir: Path, database: Database) -> Database:
    """A database that is not to be reached."""
    postgres = await EmbeddedPostgres.start(data_dir)
    lost = await Database.open(postgres.runtime_dsn, pool_size=1)
    await lost.close()
    await postgres.stop()
    return lost


@pytest_asyncio.fixture
async def ann(database: Database) -> AsyncIterator[Snapshot]:
    """A user who exists."""
    user_id = unique("ann")
    async with database.transaction(user_id) as tx:
        await users.ensure_user(tx, user_id)
    yield Snapshot(
        user_id=user_id,
        generation=1,
        settings=Settings(),
        preferences={},
        overrides={},
        credentials=(),
        wrapped_data_key=None,
        wrapping_key_id=None,
    )


def budget(microdollars: int, **fields: Any) -> Policy:
    return Policy(budgets=Budgets(per_user=Allowance(day_microdollars=microdollars)), **fields)


def with_caps(snapshot: Snapshot, **caps: Any) -> Snapshot:
    return replace(snapshot, settings=Settings(caps=Caps(**caps)))


async def test_what_nothing_limits_asks_nobody(away: Database, ann: Snapshot) -> None:
    till = Till(away, Policy())
    assert await till.reserve(ann) is None
    assert await till.reserve(ann, OWN) is None
    view = await till.spending.look(ann, RouteRequest(model="auto"))
    assert view.refuse(SHARED) is None
    till = Till(away, budget(COST))
    assert await till.reserve(ann, OWN) is None, "a budget of the operator's money is none of one's own key's business"
    with pytest.raises(StorageError):
        await till.reserve(ann)


async def test_a_cap_that_only_warns_stops_nobody_when_the_database_is_away(away: Database, ann: Snapshot) -> None:
    till = Till(away, Policy())
    assert await till.reserve(with_caps(ann, day_microdollars=5, action=CapAction.WARN), OWN) is None
    with pytest.raises(StorageError):
        await till.reserve(with_caps(ann, day_microdollars=5), OWN)


async def test_the_bound_is_promised_and_the_cost_takes_its_place(database: Database, ann: Snapshot) -> None:
    assert len(BODY) == 200
    till = Till(database, budget(COST))
    hold = await till.reserve(ann)
    assert isinstance(hold, Hold)
    assert await till.promised(ann) == COST
    refused = await till.reserve(ann)
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.in_flight) == ("budget_spent", True)
    till.end(ann, hold, Tokens(input_uncached=100))
    again = await till.reserve(ann)
    assert isinstance(again, Refusal)
    assert not again.in_flight, "15 are spent, and the rest is not enough"
    assert await till.promised(ann) == 0


async def test_what_is_not_made_or_not_waited_for_is_taken_back(database: Database, ann: Snapshot) -> None:
    till = Till(database, budget(3 * COST))
    hold = await till.reserve(ann)
    assert isinstance(hold, Hold)
    till.spending.release(hold)
    leaving = [asyncio.ensure_future(till.reserve(ann)) for _ in range(8)]
    for steps, one in enumerate(leaving):
        for _ in range(steps):
            await asyncio.sleep(0)
        one.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    for one in leaving:
        if not one.cancelled() and isinstance(one.result(), Hold):
            till.spending.release(one.result())  # type: ignore[arg-type]
    await till.spending.close()
    assert await till.promised(ann) == 0


async def test_shared_money_is_not_spent_on_what_has_no_price(database: Database, ann: Snapshot) -> None:
    unknown = Attempt(OPENAI, "a-model-that-nobody-priced", None, Payer.SHARED)
    till = Till(database, budget(10**9))
    refused = await till.reserve(ann, unknown)
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.until) == ("unpriced", None)
    view = await till.spending.look(ann, RouteRequest(model="auto"))
    assert view.refuse(unknown) == refused
    home = Attempt(replace(OPENAI, prices=None, local=True), "llama3", None, Payer.SHARED)
    assert isinstance(await till.reserve(ann, home), Hold)
    only_rates = Till(database, Policy(limits=Limits(requests_per_minute=100)))
    assert isinstance(await only_rates.reserve(ann, unknown), Hold)
    own = Attempt(OPENAI, "a-model-that-nobody-priced", OWN.credential, Payer.OWN)
    assert isinstance(await till.reserve(with_caps(ann, day_microdollars=5), own), Hold), "one's own risk"


async def test_a_group_counts_where_the_snapshot_says(database: Database, ann: Snapshot) -> None:
    name = unique("g")[:40].replace("_", "-")
    till = Till(database, Policy(budgets=Budgets(groups={name: Allowance(month_microdollars=COST)})))
    assert await till.reserve(ann) is None, "who is in no group is not limited by one"
    member = replace(ann, group=name)
    assert isinstance(await till.reserve(member), Hold)
    other = replace(member, user_id=unique("bob"))
    assert isinstance(await till.reserve(other), Refusal)


async def test_redis_counts_calls_and_the_database_money(database: Database, ann: Snapshot, redis: RedisServer) -> None:
    rates = RateKeeper.open(redis.url, unique("d"))
    till = Till(database, budget(2 * COST, limits=Limits(requests_per_minute=3, tokens_per_minute=9_000)), rates)
    first = await till.reserve(ann)
    assert isinstance(first, Hold)
    assert {one.scope for one in first.counters} == {Scope.REQUESTS, Scope.TOKENS, Scope.USER}
    till.end(ann, first, Tokens(input_uncached=10))
    second, third = await till.reserve(ann), await till.reserve(ann)
    assert isinstance(second, Hold)
    assert isinstance(third, Refusal)
    assert third.reason == "budget_spent"
    async with database.transaction(ann.user_id) as tx:
        states = await rows.look(tx)
    assert {one.scope for one in states} == {Scope.USER, Scope.TOTAL}, "minutes are not counted twice"
    while till.spending._background:
        await asyncio.sleep(0)
    known = {one.scope: one.spent for one in await till.spending.look_at_rates(ann.user_id, states)}
    assert (known[Scope.REQUESTS], known[Scope.TOKENS]) == (2, 10 + TOKENS), "who was refused gave back what they took"
    till.spending.release(second)
    while till.spending._background:
        await asyncio.sleep(0)
    assert isinstance(await till.reserve(ann), Hold)
    await till.spending.close()


async def test_without_redis_the_database_counts_calls(database: Database, ann: Snapshot) -> None:
    rates = RateKeeper.open("redis://127.0.0.1:1/0", "tests")
    till = Till(database, Policy(limits=Limits(requests_per_minute=1)), rates)
    assert isinstance(await till.reserve(ann), Hold)
    refused = await till.reserve(ann)
    assert isinstance(refused, Refusal)
    assert refused.reason == "rate_limited"
    await till.spending.close()


@pytest.mark.parametrize("outcome", Outcome)
async def test_a_call_that_reported_nothing_counts_the_same_in_redis_and_in_the_database(
    database: Database, ann: Snapshot, redis: RedisServer, outcome: Outcome
) -> None:
    """What surely used no tokens gives them back; what may have used them keeps them."""
    found = []
    for rates in (None, RateKeeper.open(redis.url, unique("d"))):
        till = Till(database, Policy(limits=Limits(requests_per_minute=9, tokens_per_minute=9_000)), rates)
        hold = await till.reserve(ann)
        assert isinstance(hold, Hold)
        assert await till.counted(ann) == {Scope.REQUESTS: 1, Scope.TOKENS: TOKENS}
        till.end(ann, hold, None, outcome)
        await till.metering.flush()
        while till.spending._background:
            await asyncio.sleep(0)
        found.append(await till.counted(ann))
        await till.spending.close()
    assert found[0] == found[1]
    assert found[0][Scope.TOKENS] in (0, TOKENS)


async def test_who_leaves_while_redis_counts_gives_back_what_was_taken(
    database: Database, ann: Snapshot, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = RateKeeper.open(redis.url, unique("d"))
    till = Till(database, Policy(limits=Limits(requests_per_minute=9, tokens_per_minute=9_000)), rates)
    count, counted, answered = rates._storage.incr, asyncio.Event(), asyncio.Event()

    async def answer_late(*arguments: Any) -> int:
        total: int = await count(*arguments)
        counted.set()
        await answered.wait()
        return total

    with monkeypatch.context() as patch:
        patch.setattr(rates._storage, "incr", answer_late)
        leaving = asyncio.ensure_future(till.reserve(ann))
        await counted.wait()
        leaving.cancel()
        await asyncio.wait({leaving})
        assert leaving.cancelled(), "nobody waits for Redis who has left"
        assert sum((await till.counted(ann)).values()) == 1
        answered.set()
        while till.spending._background:
            await asyncio.sleep(0)
    assert await till.counted(ann) == {Scope.REQUESTS: 0, Scope.TOKENS: 0}
    await till.spending.close()
