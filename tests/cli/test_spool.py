"""A server that is killed in the middle of its work: every call that reached a provider is on the books, once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ownkey.testing import SimulatedProviders
from tests.cli.shell import Shell
from tests.cli.test_serve import get

BODY = {"model": "auto", "messages": [{"role": "user", "content": "What is the tide?"}]}
KEY = "gsk_spool_00000000000001"


@pytest.fixture
def providers() -> Iterator[SimulatedProviders]:
    with SimulatedProviders() as simulated:
        yield simulated


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def read_calls(url: str, token: str) -> list[dict[str, Any]]:
    status, page = get(f"{url}/api/requests?limit=200", token)
    assert status == 200, page
    return [attempt for request in page for attempt in request["attempts"]]


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_nothing_is_lost_or_counted_twice_when_a_server_is_killed(
    shell: Shell, place: Path, providers: SimulatedProviders, durability: str
) -> None:
    shell = shell.with_variables(
        OWNKEY_CATALOG=str(providers.write_catalog(place / "catalog.toml")),
        OWNKEY_USAGE_FLUSH_SECONDS="60",  # nothing is written by itself before the end
        OWNKEY_USAGE_DURABILITY=durability,
    )
    with shell.serve() as first, ThreadPoolExecutor(8) as pool:
        token = first.token
        assert token is not None
        shell.succeed("credential", "add", "groq", "--user", "admin", text=KEY)
        answered = list(pool.map(lambda _: get(f"{first.url}/v1/chat/completions", token, BODY)[0], range(30)))
        assert answered == [200] * 30
        providers.break_provider("groq", "hold")
        for _ in range(3):
            pool.submit(get, f"{first.url}/v1/chat/completions", token, BODY)
        until(lambda: len(providers.ledger("groq")) == 33)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        providers.fix("groq")
    assert list((shell.data_dir / "spool").glob("*.spool"))
    with shell.serve() as second:
        calls = until(lambda: read_calls(second.url, token), seconds=30)
        assert len(calls) == 33, "each call that a provider saw, and each of them once"
        interrupted = [one for one in calls if one["outcome"] == "internal"]
        assert len(interrupted) == 3
        assert all(one["cost_source"] == "estimated" for one in interrupted)
        done = [one for one in calls if one["outcome"] == "ok"]
        seen = [entry.usage for entry in providers.ledger("groq") if entry.outcome == "finished" and entry.usage]
        assert sum(one["output_text"] for one in done) == sum(usage["completion_tokens"] for usage in seen[:30])
        assert second.stop() == 0
    assert list((shell.data_dir / "spool").iterdir()) == [], "all of it is in the database"
