"""`ownkey serve --workers`: several processes that are one server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ownkey.testing import SimulatedProviders
from tests.cli.shell import Serving, Shell, postgres_processes

_PATIENCE_SECONDS = 60


def ask(url: str, path: str, token: str | None = None, body: object = None) -> tuple[int, str]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_PATIENCE_SECONDS)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted(
        int(child) for child in children if b"ownkey.cli.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    )


def wait_for_end(pids: list[int]) -> None:
    """Until these processes, of which some are nobody's children here, have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                assert select.select([handle], [], [], _PATIENCE_SECONDS)[0], f"{pid} is still there"
            finally:
                os.close(handle)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while ask(url, "/readyz")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def pick_up(serving: Serving) -> Iterator[str]:
    """Further lines on standard error, without letting the pipe fill."""
    assert serving.process.stderr is not None
    yield from serving.process.stderr


def test_workers_share_a_port_and_who_dies_is_replaced(shell: Shell, place: Path) -> None:
    with SimulatedProviders() as providers:
        catalog = providers.write_catalog(place / "catalog.toml")
        shell = shell.with_variables(OWNKEY_CATALOG=str(catalog), OPENAI_API_KEY="sk-operator-openai-0001")
        process = shell.start("serve", "--port", "0", "--workers", "2")
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(pick_up(serving)))
        serving = Serving(process)
        reader.start()
        try:
            serving.read_announcement()
            url, token = serving.url, serving.token
            assert json.loads(ask(url, "/readyz")[1]) == {"status": "ready", "workers": 2}
            chat = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
            for _ in range(24):
                status, text = ask(url, "/v1/chat/completions", token, chat)
                assert status == 200, text
            metrics = ask(url, "/metrics")[1]
            counts = re.findall(r'ownkey_upstream_calls_total\{worker="(\d)",.*\} (\d+)', metrics)
            assert sum(int(count) for _, count in counts) == 24
            assert {worker for worker, _ in counts} == {"1", "2"}, "one got nothing of 24: 1 in 8 million"
            assert metrics.count("# TYPE ownkey_upstream_calls_total counter") == 1
            assert 'ownkey_worker_up{worker="2"} 1' in metrics

            port = urlsplit(url).port
            refusal = Shell(place / "more").refuse(2, "serve", "--port", str(port), "--workers", "2")
            assert "taken" in refusal, "it must not join in"

            victim, other = workers_of(process.pid)
            os.kill(victim, signal.SIGKILL)
            wait_for_end([victim])
            # Those of its connections that were not accepted yet wait for its successor.
            for _ in range(6):
                assert ask(url, "/v1/chat/completions", token, chat)[0] == 200
            wait_until_ready(url)
            assert other in workers_of(process.pid)
            assert victim not in workers_of(process.pid)

            pids = workers_of(process.pid)
            assert serving.stop() == 0
            wait_for_end(pids)
        finally:
            process.kill()
            process.wait()
            reader.join(_PATIENCE_SECONDS)
    assert any("was ended by SIGKILL and is started again" in line for line in said)
    assert postgres_processes(shell.data_dir) == []
    assert serving.announcement.count("  ok-") == 1


def test_workers_do_not_outlive_their_parent(shell: Shell) -> None:
    with shell.serve("--workers", "2") as serving:
        pids = workers_of(serving.process.pid)
        assert len(pids) == 2
        postgres = postgres_processes(shell.data_dir)
        serving.process.kill()
        wait_for_end([*pids, *postgres])


def test_a_worker_that_cannot_start_says_why_once(shell: Shell) -> None:
    shell = shell.with_variables(OWNKEY_ULTIMATE_PROVIDER="nobody", OWNKEY_LOG_LEVEL="error")
    assert "nobody" in shell.refuse(2, "serve", "--port", "0", "--workers", "3")
