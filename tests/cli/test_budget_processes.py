"""Four gateways in processes of their own share one budget, and none of them spends what another has promised."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ownkey import Config, Ownkey
from ownkey.domain.budget import Allowance, Budgets
from ownkey.domain.policy import PolicyDocument
from ownkey.storage.embedded import EmbeddedPostgres
from ownkey.testing import SimulatedProviders
from tests.cli.shell import Serving, Shell
from tests.cli.test_serve import get, wait_until_refused

# gpt-4o-mini: 15 cents and 60 cents a million. A body of 200 bytes, a thousand tokens that a provider may put in front
# of it unseen, and an answer of 100 tokens: 180 + 60 micro-dollars.
SIZE, TAKEN, ANSWER, COST = 200, 1_200, 100, 240
PROCESSES, REQUESTS, ROOM = 4, 50, 10


@pytest.fixture
def providers() -> Iterator[SimulatedProviders]:
    """Every call uses exactly what it may."""
    with SimulatedProviders() as simulated:
        simulated.set_usage("openai", prompt_tokens=TAKEN, completion_tokens=ANSWER, total_tokens=TAKEN + ANSWER)
        yield simulated


@pytest.fixture
def shell(place: Path, providers: SimulatedProviders) -> Shell:
    catalog = providers.write_catalog(place / "catalog.toml")
    return Shell(place / "data", OWNKEY_CATALOG=str(catalog), OPENAI_API_KEY="sk-operator-0123456789")


def body() -> dict[str, Any]:
    """A request of exactly SIZE bytes."""
    content: dict[str, Any] = {"model": "openai/gpt-4o-mini", "max_tokens": ANSWER}
    content["messages"] = [{"role": "user", "content": ""}]
    content["messages"][0]["content"] = "x" * (SIZE - len(json.dumps(content)))
    return content


def decide(shell: Shell, room: int, *, users: int) -> list[str]:
    """Lend so much in total this month, and give the tokens of new users. No gateway has met any of them."""

    async def work() -> list[str]:
        config = Config(data_dir=shell.data_dir, catalog=Path(shell.environment["OWNKEY_CATALOG"]))
        async with Ownkey.open(config, environ={}) as ok:
            document = PolicyDocument(budgets=Budgets(total=Allowance(month_microdollars=room)))
            await ok.policies.put("root", document)
            tokens = []
            for number in range(users):
                await ok.users.create(f"user-{number}")
                tokens.append((await ok.tokens.create(f"user-{number}", "test")).text)
            return tokens

    return asyncio.run(work())


def query(shell: Shell, statement: str) -> list[tuple[Any, ...]]:
    """Look behind the wall, as whoever migrates may."""

    async def work() -> list[tuple[Any, ...]]:
        postgres = await EmbeddedPostgres.start(shell.data_dir)
        connection = await asyncpg.connect(postgres.migration_dsn)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()
            await postgres.stop()

    return asyncio.run(work())


TOTAL = "select spent, reserved from ownkey_private.spend_counters where scope = 'total' and period = 'month'"


def serve(shell: Shell, stack: ExitStack, count: int) -> list[Serving]:
    """The first one makes the database, the others join it."""
    return [stack.enter_context(shell.serve()) for _ in range(count)]


def test_fifty_first_requests_over_four_processes_spend_exactly_the_budget_of_ten(
    shell: Shell, providers: SimulatedProviders
) -> None:
    with ExitStack() as stack:
        gateways = serve(shell, stack, PROCESSES)
        tokens = decide(shell, ROOM * COST, users=REQUESTS)
        wait_for_policy(gateways, tokens[0])

        def ask(number: int) -> tuple[int, Any]:
            return get(f"{gateways[number % PROCESSES].url}/v1/chat/completions", tokens[number], body())

        with ThreadPoolExecutor(REQUESTS) as threads:
            answers = list(threads.map(ask, range(REQUESTS)))
        assert Counter(status for status, _ in answers) == {200: ROOM, 429: REQUESTS - ROOM}
        assert {answer["error"]["code"] for status, answer in answers if status == 429} == {"budget_spent"}
        served = [number % PROCESSES for number, (status, _) in enumerate(answers) if status == 200]
        assert len(set(served)) > 1, "one process alone would prove nothing"
        assert len(providers.ledger("openai")) == ROOM
        assert all(gateway.stop() == 0 for gateway in gateways), "each has written what it measured"
        assert query(shell, TOTAL) == [(ROOM * COST, 0)]
        assert query(shell, "select sum(cost_microdollars)::bigint from ownkey.usage_daily") == [(ROOM * COST,)]


def test_what_a_killed_process_was_promised_comes_back(shell: Shell, providers: SimulatedProviders) -> None:
    with ExitStack() as stack:
        dying, living = serve(shell, stack, 2)
        [token] = decide(shell, COST, users=1)
        wait_for_policy([dying, living], token)
        providers.break_provider("openai", "hold")
        with ThreadPoolExecutor(1) as threads:
            lost = threads.submit(get_or_lose, dying, token)
            assert providers.wait_for_requests(1)
            os.kill(dying.process.pid, signal.SIGKILL)
            dying.process.wait()
            assert lost.result(30) is None
        wait_until_refused(dying.url)
        providers.fix("openai")
        status, refused = get(f"{living.url}/v1/chat/completions", token, body())
        assert (status, refused["error"]["code"]) == (429, "budget_spent")
        assert "under way" in refused["error"]["message"]
        assert query(shell, TOTAL) == [(0, COST)]
        # As long as a call may take, and then some: by the clock that the database goes by.
        assert query(shell, "select ownkey_private.expire_spending(now() + interval '21 minutes')") == [(0,)]
        assert query(shell, "select ownkey_private.expire_spending(now() + interval '23 minutes')") == [(1,)]
        assert get(f"{living.url}/v1/chat/completions", token, body())[0] == 200
        assert living.stop() == 0
        assert query(shell, TOTAL) == [(COST, 0)]


def get_or_lose(gateway: Serving, token: str) -> Any:
    """The answer, or None when the connection broke."""
    try:
        return get(f"{gateway.url}/v1/chat/completions", token, body())
    except (ConnectionError, OSError):
        return None


def wait_for_policy(gateways: list[Serving], token: str) -> None:
    """Until every process has heard of the budget: then a preview of more than it is refused everywhere."""
    asked = {"model": "openai/gpt-4o-mini", "needs": {"input_tokens": 100_000}}
    for gateway in gateways:
        for _ in range(2000):
            status, route = get(f"{gateway.url}/api/route/preview", token, asked)
            assert status == 200, route
            if any(one["reason"] == "request_over_budget" for one in route["skipped"]):
                break
        else:
            raise AssertionError("the policy did not arrive")
