"""The metrics of several workers in one text, which Prometheus has to be able to read."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from ownkey.http.exchange import Receive, Scope, Send
from ownkey.http.fleet import Fleet

ONE = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{provider="groq"} 3
# HELP seconds How long.
# TYPE seconds histogram
seconds_bucket{le="1"} 2
seconds_bucket{le="+Inf"} 3
seconds_sum 4.5
seconds_count 3
"""
TWO = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{provider="groq"} 5
calls_total{provider="mistral"} 1
# HELP waiting Waiting.
# TYPE waiting gauge
waiting 7
"""
BOTH = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{worker="1",provider="groq"} 3
calls_total{worker="2",provider="groq"} 5
calls_total{worker="2",provider="mistral"} 1
# HELP seconds How long.
# TYPE seconds histogram
seconds_bucket{worker="1",le="1"} 2
seconds_bucket{worker="1",le="+Inf"} 3
seconds_sum{worker="1"} 4.5
seconds_count{worker="1"} 3
# HELP waiting Waiting.
# TYPE waiting gauge
waiting{worker="2"} 7
# HELP ownkey_worker_up Whether this worker process answers.
# TYPE ownkey_worker_up gauge
ownkey_worker_up{worker="1"} 1
ownkey_worker_up{worker="2"} 1
ownkey_worker_up{worker="3"} 0
"""


def application(metrics: str, *, status: int = 200) -> Any:
    """What one process says of itself."""

    async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
        body = metrics.encode() if scope["path"] == "/metrics" else b'{"status":"from one"}'
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body[:9], "more_body": True})
        await send({"type": "http.response.body", "body": body[9:]})

    return answer


async def ask(fleet: Fleet, path: str) -> tuple[int, str]:
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody asks for a body")

    await fleet({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    return told[0]["status"], b"".join(one.get("body", b"") for one in told).decode()


async def test_whoever_is_asked_answers_for_all() -> None:
    with tempfile.TemporaryDirectory(prefix="ownkey-t-") as name:
        first, second = (
            Fleet(application(text), Path(name), number=number, count=3) for number, text in ((1, ONE), (2, TWO))
        )
        await asyncio.gather(first.start(), second.start())
        assert await ask(first, "/metrics") == (200, BOTH)
        assert await ask(second, "/metrics") == (200, BOTH)
        assert await ask(first, "/healthz") == (200, '{"status":"from one"}')
        status, body = await ask(second, "/readyz")
        assert (status, body) == (503, '{"status":"unavailable","code":"worker_missing","worker":3}')
        third = Fleet(application("", status=503), Path(name), number=3, count=3)
        await third.start()
        assert await ask(first, "/readyz") == (503, '{"status":"from one"}')
        await third.close()
        third = Fleet(application(""), Path(name), number=3, count=3)
        await third.start()
        assert await ask(first, "/readyz") == (200, '{"status":"ready","workers":3}')
        await asyncio.gather(first.close(), second.close(), third.close())
