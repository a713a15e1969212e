"""Two sets of books: what the providers say they served and charged, and what is recorded here, call by call.

Requests of many kinds run at once (whole answers, streams, clients that leave early or late, providers that fail in
every way, own keys and the operator's), and afterwards each call on either side is found on the other, with the same
tokens and the same cost to the micro-dollar, by prices worked out here anew. `make ledger` does it with ten thousand.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import asyncpg
import genai_prices
import msgspec
import pytest

from ownkey import Config, Ownkey
from ownkey.domain.budget import Allowance, Budgets
from ownkey.domain.policy import PolicyDocument
from ownkey.domain.routing import shared_credential_id
from ownkey.storage.embedded import EmbeddedPostgres
from ownkey.testing import LedgerEntry, SimulatedProviders
from tests.gateway.conftest import SHARED
from tests.gateway.test_client_leaves import Visitor, until

REQUESTS = int(os.environ.get("LEDGER_REQUESTS", "400"))
AT_ONCE = 40
OWN = ("groq", "mistral", "anthropic", "openrouter", "xai", "together")
MODELS = (
    "auto", "auto", "task:coding", "openai/gpt-4o-mini", "groq/llama-3.3-70b-versatile", "anthropic/claude-sonnet-4-5",
    "mistral/mistral-small-latest", "openrouter/openai/gpt-4o-mini", "xai/grok-4.3", "together/some-model",
)  # fmt: skip
FAULTS = (
    "unavailable", "overloaded", "server_error", "rate_limited", "missing_model", "bad_request", "refused_content",
    "reset", "not_json", "redirect", "stream_error", "stream_cut", "stream_truncated",
)  # fmt: skip
PRICES = """
[[price]]
provider = "together"
input = 0.33
output = 0.977
request = 0.0000015
"""
TABLE = {"openai": "openai", "groq": "groq", "anthropic": "anthropic", "mistral": "mistral"}


class Books:
    """A server, its users, and which request is which."""

    def __init__(self, ok: Ownkey, providers: SimulatedProviders, seed: random.Random) -> None:
        self.ok, self.providers, self.seed = ok, providers, seed
        self.tokens: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.requests: dict[str, str] = {}
        self.kinds: Counter[str] = Counter()
        completion = ok.core.completion
        opened = completion.open

        async def open_and_note(snapshot: Any, request: Any, *, request_id: str, **more: Any) -> Any:
            self.requests[request_id] = msgspec.json.decode(request.body)["user"]
            return await opened(snapshot, request, request_id=request_id, **more)

        completion.open = open_and_note  # type: ignore[method-assign]

    async def add_users(self) -> None:
        """Some with several keys of their own, some with none."""
        for number in range(10):
            user = f"user-{number}"
            await self.ok.manager.load_user_settings(user)
            for priority, provider in enumerate(self.seed.sample(OWN, number % 4)):
                key = f"key-{provider}-{user}-0000000001"
                self.keys[key] = user
                await self.ok.settings.add_credential(user, provider, key)
                await self.ok.settings.put_preference(user, provider, priority=priority)
            self.tokens[user] = (await self.ok.tokens.create(user, "test")).text

    def vary_providers(self) -> None:
        """What the providers report from now on, and what goes wrong with their next few answers."""
        seed, set_usage = self.seed, self.providers.set_usage
        prompt, cached, thought = seed.randrange(500, 9000), seed.randrange(400), seed.randrange(1, 90)
        set_usage(
            "openai", prompt_tokens=prompt, completion_tokens=100 + thought, total_tokens=prompt + 100 + thought,
            prompt_tokens_details={"cached_tokens": cached}, completion_tokens_details={"reasoning_tokens": thought},
        )  # fmt: skip
        hour = seed.randrange(60)
        set_usage(
            "anthropic", input_tokens=seed.randrange(9000), cache_read_input_tokens=cached,
            cache_creation_input_tokens=hour + 7,
            cache_creation={"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": hour},
        )  # fmt: skip
        set_usage("openrouter", cost=float(f"0.{seed.randrange(10**9):010d}"))
        set_usage("xai", cost_in_usd_ticks=seed.randrange(10**9))
        for provider in self.ok.core.catalog.values():
            self.ok.core.router.health.note_success(provider.base_url, shared_credential_id(provider.id))
        for _ in range(3):
            name, kind = seed.choice((*OWN, "openai")), seed.choice(FAULTS)
            self.providers.break_provider(
                name, kind, times=seed.randrange(1, 5), after_events=seed.randrange(9), retry_after_seconds=0.02
            )

    async def run(self, number: int) -> None:
        """One request of some kind, by somebody."""
        seed = self.seed
        user = seed.choice(list(self.tokens))
        kind = seed.choice(("whole", "whole", "stream", "stream", "leaves in the middle", "leaves before the answer"))
        self.kinds[kind] += 1
        content = "word " * seed.randrange(1, 40)
        visitor = Visitor(
            self.ok, self.tokens[user], model=seed.choice(MODELS), user=f"r{number}", max_tokens=600,
            stream=kind in ("stream", "leaves in the middle") or (seed.random() < 0.5 and kind != "whole"),
            messages=[{"role": "user", "content": content}],
        )  # fmt: skip
        if kind == "leaves in the middle":
            for _ in range(seed.randrange(1, 4)):
                getting = asyncio.ensure_future(visitor.parts.get())
                await asyncio.wait({getting, visitor.served}, return_when=asyncio.FIRST_COMPLETED)
                getting.cancel()
            visitor.leave()
        elif kind == "leaves before the answer":
            await asyncio.sleep(seed.random() * 0.02)
            visitor.leave()
        await asyncio.wait_for(visitor.served, 60)


def charge(entry: LedgerEntry) -> tuple[tuple[int, int, int, int], int | None]:
    """What one answer has used and cost by the provider's books: input, read from and written to the cache, output."""
    usage = entry.usage or {}
    if entry.provider == "anthropic":
        read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
        counted = (usage["input_tokens"] + read + written, read, written, usage["output_tokens"])
    else:
        read = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        counted = (usage["prompt_tokens"], read, 0, usage["completion_tokens"])
    if entry.provider == "openrouter":
        return counted, _round(Decimal(str(usage["cost"])) * 1_000_000)
    if entry.provider == "xai":
        return counted, _round(Decimal(usage["cost_in_usd_ticks"]) / 10_000)
    if entry.provider == "together":
        return counted, _round(counted[0] * Decimal("0.33") + counted[3] * Decimal("0.977") + Decimal("1.5"))
    of_an_hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens", 0)
    library = genai_prices.Usage(
        input_tokens=counted[0], cache_read_tokens=counted[1], cache_write_tokens=counted[2],
        cache_write_1h_tokens=of_an_hour, output_tokens=counted[3],
    )  # fmt: skip
    try:
        price = genai_prices.calc_price(library, entry.model or "", provider_id=TABLE[entry.provider])
    except LookupError:
        return counted, None
    return counted, _round(price.total_price * 1_000_000)


def _round(microdollars: Decimal) -> int:
    return int(microdollars.to_integral_value(ROUND_HALF_EVEN))


def compare(entry: LedgerEntry, event: dict[str, Any]) -> str:
    """Judge one call by both books; says which sort of call it was."""
    where = f"{entry} against {event}"
    source = event["tokens_source"]
    counted = (
        event["input_uncached"] + event["cache_read"] + event["cache_write"], event["cache_read"],
        event["cache_write"], event["output_text"] + event["output_reasoning"],
    )  # fmt: skip
    if source == "none":
        # Nothing of use came: an error, or a stream that broke before its first content.
        assert event["outcome"] not in ("ok", "client_gone"), where
        assert (counted, event["cost_microdollars"], event["cost_source"]) == ((0, 0, 0, 0), None, None), where
        assert entry.fault is not None, where
        return "failed"
    if source == "estimated":
        # The provider's last word was not heard, because of either side: it said too little even where it ended well.
        assert entry.outcome == "client_left" or entry.fault is not None or event["outcome"] == "client_gone", where
        assert counted[0] > 0 and event["cost_source"] in ("estimated", "unpriced"), where
        return "estimated"
    tokens, cost = charge(entry)
    # A stream that breaks before its first content, or after its last, has told of what is charged for.
    assert event["outcome"] in ("ok", "client_gone") or entry.fault is not None, where
    assert (counted, event["cost_microdollars"]) == (tokens, cost), where
    expected = "reported" if entry.provider in ("openrouter", "xai") else "computed"
    assert event["cost_source"] == (expected if cost is not None else "unpriced"), where
    if event["outcome"] not in ("ok", "client_gone"):
        return "broken"
    assert entry.outcome == "finished", where
    return "left" if event["outcome"] == "client_gone" else "served"


async def test_both_books_agree_call_by_call(private_dir: Path, providers: SimulatedProviders) -> None:
    seed = random.Random(int(os.environ.get("LEDGER_SEED", "20261125")))
    prices = private_dir / "prices.toml"
    prices.write_text(PRICES)
    config = Config(
        data_dir=private_dir, catalog=providers.write_catalog(private_dir / "catalog.toml"), prices=prices,
        usage_flush_seconds=0.1, drain_limit=8, drain_seconds=20, retry_wait_seconds=0.05,
    )  # fmt: skip
    async with Ownkey.open(config, environ=SHARED) as ok:
        budgets = Budgets(total=Allowance(month_microdollars=10**12), per_user=Allowance(day_microdollars=10**11))
        await ok.policies.put("root", PolicyDocument(budgets=budgets))
        books = Books(ok, providers, seed)
        await books.add_users()
        for start in range(0, REQUESTS, AT_ONCE):
            books.vary_providers()
            await asyncio.gather(*(books.run(number) for number in range(start, min(start + AT_ONCE, REQUESTS))))
        await until(lambda: not len(ok.core.completion.drains))
        assert await asyncio.to_thread(providers.wait_until_idle, 20)
        await ok.core.metering.flush()
        events = [dict(row) for user in books.tokens for row in await read_events(ok, user)]
        sorts = judge(books, events)
        await check_reports(ok, books, events)
    assert await count_promises(private_dir) == 0
    print(f"\n{REQUESTS} requests ({dict(books.kinds)}), {len(events)} calls: {dict(sorts)}")
    assert min(sorts[sort] for sort in ("served", "failed", "estimated", "left")) > 0
    assert {one["payer"] for one in events} == {"own", "shared"}
    assert {one["cost_source"] for one in events} >= {"reported", "computed", "estimated", None}


async def read_events(ok: Ownkey, user: str) -> Sequence[Any]:
    async with ok.database.transaction(user) as tx:
        rows: Sequence[Any] = await tx.fetch("select * from ownkey.usage_events order by request_id, attempt")
        return rows


def judge(books: Books, events: Sequence[dict[str, Any]]) -> Counter[str]:
    """Each call of each request, in order, on both sides; and nothing beyond."""
    theirs: dict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in books.providers.ledger():
        theirs[entry.marker or "?"].append(entry)
    ours: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        ours[books.requests[event["request_id"]]].append(event)
    # A call that was cut before it left is on our books alone, estimated.
    assert set(theirs) <= set(ours)
    sorts: Counter[str] = Counter()
    for marker, made in ours.items():
        seen = theirs[marker]
        if len(made) == len(seen) + 1 and made[-1]["outcome"] == "client_gone":
            assert made.pop()["tokens_source"] == "estimated"
            sorts["never sent"] += 1
        assert [one["provider"] for one in made] == [one.provider for one in seen], marker
        for entry, event in zip(seen, made, strict=True):
            owner = books.keys.get(entry.key or "")
            assert (event["payer"], owner) in (("own", event["user_id"]), ("shared", None)), f"{entry} against {event}"
            assert event["model"] == entry.model
            sorts[compare(entry, event)] += 1
        others = [(one["provider"], one["credential_id"]) for one in made]
        assert [one["fallback"] for one in made] == [bool(set(others[:n]) - {one}) for n, one in enumerate(others)]
    return sorts


async def check_reports(ok: Ownkey, books: Books, events: Sequence[dict[str, Any]]) -> None:
    """What users are shown is what their calls add up to."""
    for user in books.tokens:
        mine = [one for one in events if one["user_id"] == user]
        usage = await ok.usage.query(user, group_by=("provider", "payer"))
        assert usage.total.requests == len(mine)
        for row in usage.rows:
            calls = [one for one in mine if (one["provider"], one["payer"]) == (row.provider, row.payer)]
            assert (row.cost_microdollars or 0) == sum(one["cost_microdollars"] or 0 for one in calls)
            assert row.estimated_requests == sum(one["tokens_source"] == "estimated" for one in calls)
            assert row.fallback_requests == sum(bool(one["fallback"]) for one in calls)
            assert row.requests == len(calls)


async def count_promises(data_dir: Path) -> int:
    """What is still promised to calls, after all of them are over."""
    postgres = await EmbeddedPostgres.start(data_dir)
    connection = await asyncpg.connect(postgres.migration_dsn)
    try:
        left = await connection.fetchval(
            "select (select coalesce(sum(reserved), 0) from ownkey_private.spend_counters)"
            " + (select count(*) from ownkey_private.spend_reservations)"
        )
        return int(left)
    finally:
        await connection.close()
        await postgres.stop()


if __name__ == "__main__":
    pytest.main([__file__, "-s"])
