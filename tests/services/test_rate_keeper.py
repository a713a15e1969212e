"""Calls and tokens per minute in a real Redis: as exact as in the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from ownkey.domain.budget import Bound, Ceiling, Period, Scope
from ownkey.errors import ConfigError
from ownkey.services.rate_keeper import RateKeeper, RatesAway
from tests.servers import RedisServer, start_redis
from tests.services.stand import unique

NOW = datetime.now(UTC)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with start_redis() as server:
        yield server


@pytest_asyncio.fixture
async def keeper(redis: RedisServer) -> AsyncIterator[RateKeeper]:
    opened = RateKeeper.open(redis.url, "tests")
    yield opened
    await opened.close()


def ceilings(calls: int = 10, tokens: int = 1_000) -> list[Ceiling]:
    return [Ceiling(Scope.REQUESTS, Period.MINUTE, calls), Ceiling(Scope.TOKENS, Period.MINUTE, tokens)]


def bound(tokens: int = 1) -> Bound:
    return Bound(cost_microdollars=None, tokens=tokens)


async def test_of_many_at_once_exactly_as_many_as_there_is_room_for(redis: RedisServer) -> None:
    """Two processes' worth of connections."""
    user, pair = unique("ann"), [RateKeeper.open(redis.url, "tests") for _ in range(2)]
    asked = await asyncio.gather(*(pair[number % 2].take(user, ceilings()[:1], bound(), NOW) for number in range(40)))
    assert sum(taken is not None for _, taken in asked) == 10
    [counter] = await pair[0].look(user, ceilings()[:1], NOW)
    assert (counter.spent, counter.left) == (10, 0), "who was refused took nobody's place"
    for keeper in pair:
        await keeper.close()


async def test_all_or_nothing(keeper: RateKeeper) -> None:
    user = unique("ann")
    assert (await keeper.take(user, ceilings(), bound(900), NOW))[1] is not None
    counters, taken = await keeper.take(user, ceilings(), bound(101), NOW)
    assert taken is None
    assert [(one.scope, one.spent, one.short) for one in counters] == [("requests", 1, False), ("tokens", 900, True)]
    assert [one.spent for one in await keeper.look(user, ceilings(), NOW)] == [1, 900]
    assert (await keeper.take(user, ceilings(), bound(100), NOW))[1] is not None


async def test_a_call_counts_in_the_end_for_what_it_used(keeper: RateKeeper) -> None:
    user = unique("ann")
    _, taken = await keeper.take(user, ceilings(), bound(5_000), NOW)
    assert taken is not None, "a whole minute's tokens are had when nothing else was"
    await keeper.correct(taken, 40)
    assert [one.spent for one in await keeper.look(user, ceilings(), NOW)] == [1, 40]
    _, taken = await keeper.take(user, ceilings(), bound(60), NOW)
    assert taken is not None
    await keeper.release(taken)
    assert [one.spent for one in await keeper.look(user, ceilings(), NOW)] == [1, 40]


async def test_every_minute_and_every_user_begins_at_nothing(keeper: RateKeeper) -> None:
    user = unique("ann")
    await keeper.take(user, ceilings(1), bound(), NOW)
    assert (await keeper.take(user, ceilings(1), bound(), NOW))[1] is None
    assert (await keeper.take(user, ceilings(1), bound(), NOW + timedelta(minutes=1)))[1] is not None
    assert (await keeper.take(unique("bob"), ceilings(1), bound(), NOW))[1] is not None


async def test_when_redis_is_away_it_says_so_at_once_and_comes_back() -> None:
    with start_redis() as server:
        keeper = RateKeeper.open(server.url, "tests")
        user = unique("ann")
        _, taken = await keeper.take(user, ceilings(), bound(), NOW)
        assert taken is not None
        server.stop()
        for _ in range(3):
            with pytest.raises(RatesAway):
                await keeper.take(user, ceilings(), bound(), NOW)
        with pytest.raises(RatesAway):
            await keeper.look(user, ceilings(), NOW)
        await keeper.correct(taken, 5)
        await keeper.release(taken)
        server.start()
        keeper._resting_until = 0.0
        assert (await keeper.take(user, ceilings(), bound(), NOW))[1] is not None
        await keeper.close()


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://x:pass-word@h", "memory://", "redis://h:port-pass-word/0", "postgresql://x"]
)
def test_what_is_no_redis_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RateKeeper.open(url, "tests")
    assert "pass-word" not in refused.value.message


@pytest.mark.parametrize("url", ["valkey://127.0.0.1:1/0", "rediss://:pw@127.0.0.1:1", "redis://127.0.0.1:1"])
async def test_nothing_is_connected_before_it_is_needed(url: str) -> None:
    keeper = RateKeeper.open(url, "tests")
    with pytest.raises(RatesAway):
        await keeper.take("ann", ceilings(), bound(), NOW)
    await keeper.close()
