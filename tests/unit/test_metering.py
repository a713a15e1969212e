"""Events are priced, written in batches, and survive a database that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, Tokens, UsageEvent, new_id
from ownkey.errors import StorageError
from ownkey.services.metering import Metering
from ownkey.services.pricing import Pricing

CATALOG = {
    name: Provider(id=name, label=name, dialect=Dialect.OPENAI_CHAT, base_url="https://x.test/v1", prices=prices)
    for name, prices in (("openai", "openai"), ("anthropic", "anthropic"), ("cellar", None))
}
TOKENS = Tokens(input_uncached=1000, cache_read=200, output_text=100, output_reasoning=50)


def event(provider: str = "openai", model: str = "gpt-4o-mini", tokens: Tokens | None = TOKENS) -> UsageEvent:
    return UsageEvent(
        id=new_id(),
        request_id=new_id(),
        user_id="ada",
        occurred_at=datetime.now(UTC),
        attempt=1,
        task=None,
        provider=provider,
        model=model,
        requested_model=model,
        credential_id=None,
        payer=Payer.OWN,
        operation="chat",
        streamed=False,
        outcome=Outcome.OK,
        tokens=tokens,
    )


class Sink:
    """A database that can be away, or refuse one event."""

    def __init__(self) -> None:
        self.rows: dict[str, UsageEvent] = {}
        self.away = False
        self.refused: set[str] = set()
        self.tried = asyncio.Event()

    async def __call__(self, events: Sequence[UsageEvent]) -> int:
        self.tried.set()
        if self.away:
            raise StorageError("PostgreSQL is away.")
        if any(one.id in self.refused for one in events):
            raise ValueError("no")
        self.rows.update({one.id: one for one in events})
        return len(events)


def metering(sink: Sink, *, flush_seconds: float = 60, queue_size: int = 100) -> Metering:
    return Metering(sink, CATALOG, Pricing(), flush_seconds=flush_seconds, queue_size=queue_size)


async def test_an_event_is_priced_and_written() -> None:
    sink = Sink()
    service = metering(sink)
    one = event()
    service.record(one)
    await service.flush()
    # 1000 x 0.15 + 200 x 0.075 + 150 x 0.60 micro-dollars
    assert sink.rows[one.id].cost_microdollars == 255
    assert (sink.rows[one.id].price_version or "").startswith("genai-prices ")
    assert sink.rows[one.id].cost_source is CostSource.COMPUTED
    assert service.waiting == 0


@pytest.mark.parametrize(("provider", "model"), [("cellar", "llama"), ("openai", "unheard-of-model")])
async def test_what_has_no_price_is_unpriced_and_not_free(provider: str, model: str) -> None:
    sink = Sink()
    service = metering(sink)
    service.record(event(provider, model))
    await service.flush()
    [row] = sink.rows.values()
    assert (row.cost_microdollars, row.price_version, row.cost_source) == (None, None, CostSource.UNPRICED)


async def test_a_call_without_tokens_has_no_cost() -> None:
    sink = Sink()
    service = metering(sink)
    service.record(event(tokens=None))
    await service.flush()
    assert [(one.cost_microdollars, one.cost_source) for one in sink.rows.values()] == [(None, None)]


async def test_nothing_is_lost_while_the_database_is_away() -> None:
    sink = Sink()
    sink.away = True
    service = metering(sink, flush_seconds=0.01)
    service.record(event())
    await service.start()
    await sink.tried.wait()
    assert service.waiting == 1 and not sink.rows
    sink.away = False
    await service.close()
    assert len(sink.rows) == 1 and service.waiting == 0


async def test_one_refused_event_does_not_hold_up_the_others() -> None:
    sink = Sink()
    service = metering(sink)
    good, bad, late = event(), event(), event()
    sink.refused = {bad.id}
    for one in (good, bad, late):
        service.record(one)
    await service.flush()
    assert set(sink.rows) == {good.id, late.id} and service.waiting == 0


async def test_a_price_that_cannot_be_worked_out_holds_up_nobody() -> None:
    """A provider that reports nonsense must not stop the books of everybody else."""
    sink = Sink()
    service = metering(sink)
    odd = event("anthropic", "claude-sonnet-4-5", Tokens(input_uncached=-10, cache_read=5, output_text=3))
    good = event()
    for one in (odd, good):
        service.record(one)
    await service.flush()
    assert set(sink.rows) == {odd.id, good.id}
    assert (sink.rows[odd.id].cost_microdollars, sink.rows[good.id].cost_microdollars) == (None, 255)


async def test_beyond_the_bound_requests_are_refused() -> None:
    service = metering(Sink(), queue_size=2)
    service.record(event())
    service.check_room()
    service.record(event())
    with pytest.raises(StorageError) as caught:
        service.check_room()
    assert (caught.value.code, caught.value.status) == ("usage_queue_full", 503)


def test_ids_are_ordered_by_time_and_differ() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(one[14] == "7" and one[19] in "89ab" for one in ids)
    assert sorted(one[:13] for one in ids) == [one[:13] for one in ids]


async def test_what_is_recorded_during_the_last_write_is_written_too() -> None:
    """Closing while a write is under way, which takes only what waited when it began."""
    sink = Sink()
    service = metering(sink, flush_seconds=0)
    writing, go_on = asyncio.Event(), asyncio.Event()

    async def slow(events: Sequence[UsageEvent]) -> int:
        writing.set()
        await go_on.wait()
        return await Sink.__call__(sink, events)

    service._sink = slow
    first, late = event(), event()
    service.record(first)
    await service.start()
    await writing.wait()
    closing = asyncio.create_task(service.close())
    while not service._closing.is_set():
        await asyncio.sleep(0)
    service.record(late)
    go_on.set()
    await closing
    assert list(sink.rows) == [first.id, late.id]
    assert service.waiting == 0
