"""The load: wrk on the other core, and what a case of the benchmark is."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.targets import Target

SCRIPT = Path(__file__).parent / "request.lua"
EVENTS_PER_STREAM = 51
REQUEST_BYTES, STREAM_REQUEST_BYTES = 911, 970


@dataclass(frozen=True)
class Case:
    """One kind of load. `paced`: 10 ms between two events of a stream."""

    name: str
    connections: int
    seconds: float
    stream: bool = False
    paced: bool = False


CASES = (
    Case("c1", connections=1, seconds=2),
    Case("c64", connections=64, seconds=3),
    Case("streams", connections=16, seconds=2, stream=True),
    Case("paced", connections=64, seconds=2, stream=True, paced=True),
)


def build_body(model: str, *, stream: bool) -> str:
    """A chat request of the size of an ordinary conversation."""
    request: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You answer briefly and name your sources."},
            {"role": "user", "content": ""},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    if stream:
        request["stream"] = True
    size = STREAM_REQUEST_BYTES if stream else REQUEST_BYTES
    request["messages"][1]["content"] = ("word " * 400)[: size - len(json.dumps(request))]
    return json.dumps(request)


def run_case(target: Target, case: Case, *, scale: float) -> dict[str, float]:
    """One measurement. Raises RuntimeError when a request failed: a fast failure is no speed."""
    url = target.paced_url if case.paced else target.url
    body = build_body(target.paced_model if case.paced else "gpt-4o-mini", stream=case.stream)
    environment = {**os.environ, "BENCH_BODY": body, "BENCH_TOKEN": target.token}
    seconds = max(1, round(case.seconds * scale))
    command = ["taskset", "-c", str(machine.OTHER_CORE), "wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s"]
    command += ["--timeout", "10s", "-s", str(SCRIPT), url]
    served = target.count()
    before = machine.take_sample(target.pids)
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    after = machine.take_sample(target.pids)
    now_served = target.count()
    line = next(line for line in output.splitlines() if line.startswith("JSON "))
    found = json.loads(line.removeprefix("JSON "))
    if found["failed"] or found["socket_errors"] or not found["requests"]:
        raise RuntimeError(f"{target.name} {case.name}: {line}")
    wall = found["duration_us"] / 1e6
    cpu = after.process - before.process
    requests = found["requests"]
    result = {
        "requests": requests,
        # More than what wrk counts: it breaks off what is under way at the end.
        "reached_provider": now_served.requests - served.requests,
        "per_second": requests / wall,
        "p50_us": found["p50_us"],
        "p99_us": found["p99_us"],
        "cpu_us_per_request": cpu * 1e6 / requests,
        "cpu_percent": 100 * cpu / wall,
        "steal_percent": 100 * (after.steal - before.steal) / (after.all_cores - before.all_cores),
        "other_work_percent": 100 * max(0.0, after.gateway_core_busy - before.gateway_core_busy - cpu) / wall,
    }
    if case.paced:
        # Streams that were broken off have cost their events too: count at the provider.
        result["cpu_us_per_event"] = cpu * 1e6 / max(1, now_served.events - served.events)
    return result
