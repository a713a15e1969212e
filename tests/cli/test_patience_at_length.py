"""How long honest clients wait while others misbehave: `make slow-clients`, which takes a minute and needs a quiet
machine. What is done with those others is in `test_slow_clients` and `test_user_bulkhead`, which run every time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ownkey.testing import SimulatedProviders
from ownkey.testing.replies import Reply
from tests.cli.conftest import make_place
from tests.cli.shell import Shell
from tests.cli.test_slow_clients import BODY, MEGABYTE, Gateway, wait_until
from tests.raw_http import RawClient

FLOODER = "flooder"
COUNT = int(os.environ.get("SLOW_CLIENTS", "0"))
SECONDS = float(os.environ.get("SLOW_SECONDS", "15"))
HONEST = 4
_PAUSE_SECONDS = 0.01
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not COUNT, reason="make slow-clients")]


@pytest.fixture
def served() -> Iterator[tuple[Gateway, str]]:
    """A server, and the token of somebody else."""
    with make_place() as place, SimulatedProviders() as providers:
        shell = Shell(
            place / "data",
            OWNKEY_CATALOG=str(providers.write_catalog(Path(place) / "catalog.toml")),
            OPENAI_API_KEY="sk-operator-0123456789",
            GROQ_API_KEY="gsk_operator-0123456789",
            OWNKEY_LOG_LEVEL="warning",
            OWNKEY_HEADER_TIMEOUT_SECONDS="5",
            OWNKEY_BODY_TIMEOUT_SECONDS="5",
            OWNKEY_CLIENT_STALL_SECONDS="5",
            OWNKEY_KEEP_ALIVE_SECONDS="5",
            OWNKEY_USER_CONCURRENCY=os.environ.get("FLOOD_CONCURRENCY", "200"),
        )
        with shell.serve() as serving:
            assert serving.token is not None
            shell.succeed("user", "create", FLOODER)
            token = shell.succeed("token", "create", "--user", FLOODER, "--quiet", "--scope", "gateway").strip()
            yield Gateway(serving.url, serving.process.pid, serving.token.encode(), providers), token


@contextmanager
def others(gateway: Gateway, token: str, count: int, kind: str) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.cli.slow_clients", gateway.url, token, str(count), kind]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    told: dict[str, Any] = {}
    try:
        assert process.stdout.readline() == "there\n"
        yield told
        told.update(json.loads(process.communicate("", timeout=60)[0]))
    finally:
        process.kill()
        process.wait()


def measure(gateway: Gateway) -> dict[str, float]:
    """Honest calls for a while: their number, and how long they took, in milliseconds."""
    times: list[float] = []
    until = time.monotonic() + SECONDS

    def run() -> None:
        with RawClient(gateway.url) as client:
            while (begin := time.perf_counter()) and time.monotonic() < until:
                client.send(gateway.head(len(BODY)) + BODY)
                answer = client.read_answer()
                assert answer is not None and (answer.status, answer.complete) == (200, True)
                times.append((time.perf_counter() - begin) * 1000)
                time.sleep(_PAUSE_SECONDS)

    threads = [threading.Thread(target=run) for _ in range(HONEST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    return {"calls": len(times), "p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}


def test_honest_calls_while_a_thousand_clients_are_slow(served: tuple[Gateway, str]) -> None:
    gateway, _ = served
    gateway.providers.reply("groq", Reply(text="x" * 300_000, pieces=4), times=1_000_000)
    alone = measure(gateway)
    files, memory = gateway.count_files(), gateway.resident_bytes()
    with others(gateway, gateway.token.decode(), COUNT, "slow") as told:
        beside = measure(gateway)
        grown = (gateway.resident_bytes() - memory) / MEGABYTE
    wait_until(lambda: gateway.count_connections() == 0)
    after = measure(gateway)
    print(f"\nalone {alone}\nbeside {COUNT} slow clients {beside}\nafter {after}\ncut {told}")
    print(f"memory +{grown:.0f} MB, files {files} before and {gateway.count_files()} after")
    assert all(told[kind] > 0 for kind in ("heads", "bodies", "idle"))
    assert beside["p99"] < 2 * max(alone["p99"], after["p99"])
    assert gateway.count_files() < files + COUNT / 4 + 10, "at most the connections to the provider are kept"


def test_honest_calls_while_one_user_asks_for_a_hundred_times_as_much(served: tuple[Gateway, str]) -> None:
    """The answers of the flood take as long as those of a quick model, 0.4 seconds."""
    gateway, token = served
    gateway.providers.pace("groq", 0.05)
    alone = measure(gateway)
    with others(gateway, token, 100 * HONEST, "flood") as told:
        beside = measure(gateway)
    after = measure(gateway)
    print(f"\nalone {alone}\nbeside a flood of {100 * HONEST} {beside}\nafter {after}\nflood {told}")
    assert beside["p50"] < 20 * max(alone["p50"], after["p50"])
