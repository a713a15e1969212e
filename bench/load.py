"""Puts the load of one case on one target, from the other core, and takes the figures."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from bench import machine
from bench.cases import Case, build_body
from bench.provider import Provider, compile_program, on_other_core
from bench.targets import Ask, Target

SCRIPT = Path(__file__).parent / "request.lua"
_OPEN_SECONDS = 90


def run_case(upstream: Provider, target: Target, case: Case, *, scale: float) -> dict[str, float] | None:
    """One measurement. None: the target cannot do this case.

    Raises RuntimeError when a request failed: a fast failure is no speed.
    """
    ask = target.ask(case)
    if ask is None:
        return None
    served = upstream.count()
    before = machine.take_sample(target.pids)
    run = _run_open if case.open_at_once else _run_wrk
    found = run(target, case, ask, scale)
    after = machine.take_sample(target.pids)
    now_served = upstream.count()
    if found["failed"] or found["socket_errors"]:
        raise RuntimeError(f"{target.name} {case.name}: {found}")
    wall = found["duration_us"] / 1e6
    cpu = after.process - before.process
    reached = now_served.requests - served.requests
    result = {
        "requests": found["requests"],
        # More than what the load counts: it breaks off what is under way at the end.
        "reached_provider": reached,
        "per_second": found["requests"] / wall,
        "p50_us": found["p50_us"],
        "p99_us": found["p99_us"],
        "cpu_us_per_request": cpu * 1e6 / max(1, found["requests"]),
        "cpu_percent": 100 * cpu / wall,
        "steal_percent": 100 * (after.steal - before.steal) / (after.all_cores - before.all_cores),
        "other_work_percent": 100 * max(0.0, after.gateway_core_busy - before.gateway_core_busy - cpu) / wall,
    }
    if case.stream:
        # Streams that were broken off have cost their events too: count at the provider.
        result["cpu_us_per_event"] = cpu * 1e6 / max(1, now_served.events - served.events)
    if case.tls:
        opened = now_served.tls_connections - served.tls_connections
        result["connections_per_1000"] = 1000 * opened / max(1, reached)
    return result | {name: value for name, value in found.items() if name in ("late_p99_us", "kb_per_stream")}


def _header_lines(ask: Ask) -> str:
    headers = {"content-type": "application/json", "authorization": f"Bearer {ask.token}", **dict(ask.headers)}
    return "\n".join(f"{name}: {value}" for name, value in headers.items())


def _run_wrk(target: Target, case: Case, ask: Ask, scale: float) -> dict[str, float]:
    environment = {**os.environ, "BENCH_HEADERS": _header_lines(ask)}
    if ask.tokens is not None:
        environment["BENCH_TOKENS"] = str(ask.tokens)
    seconds = max(1, round(case.seconds * scale))
    command = ["wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT), ask.url]
    with NamedTemporaryFile("w", prefix="ownkey-bench-") as body:  # a variable of the environment holds 128 kB
        body.write(build_body(case, ask.model))
        body.flush()
        environment["BENCH_BODY"] = body.name
        done = subprocess.run(on_other_core(command), env=environment, capture_output=True, text=True, check=True)
    return _read(done.stdout)


def _run_open(target: Target, case: Case, ask: Ask, scale: float) -> dict[str, float]:
    """All streams open at once; the memory of the target's processes is taken while they are."""
    count = max(64, round(case.connections * min(1.0, scale)))
    url = urlsplit(ask.url)
    command = [str(compile_program("streams")), str(url.port), url.path, str(count), str(case.pace_ms)]
    before = machine.memory_mib(target.pids) if target.pids else 0.0
    process = subprocess.Popen(on_other_core(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    watchdog = threading.Timer(_OPEN_SECONDS, process.kill)
    watchdog.start()
    try:
        process.stdin.write(f"{_header_lines(ask)}\n\n{build_body(case, ask.model)}")
        process.stdin.close()
        opened = process.stdout.readline()
        memory = machine.memory_mib(target.pids) if target.pids else 0.0
        found = _read(opened + process.stdout.read())
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    return found | {"kb_per_stream": 1024 * (memory - before) / count}


def _read(output: str) -> dict[str, float]:
    lines = [line for line in output.splitlines() if line.startswith("JSON ")]
    if not lines:
        raise RuntimeError(f"the load said nothing of what it found:\n{output[-2000:]}")
    found: dict[str, float] = json.loads(lines[-1].removeprefix("JSON "))
    return found
