"""`/healthz`, `/readyz` and `/metrics`: for machines that watch the server. No user, key or prompt appears here."""

from __future__ import annotations

import msgspec

from ownkey.errors import StorageError
from ownkey.http.gateway import Receive, Scope, Send
from ownkey.services.core import Core


class Observability:
    """A small ASGI application. `ending` turns true when balancers should send their requests elsewhere."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        status, content_type, body = 200, b"application/json", b'{"status":"ok"}'
        if scope["path"] == "/readyz":
            status, body = await self._readiness()
        elif scope["path"] == "/metrics":
            content_type, body = b"text/plain; version=0.0.4; charset=utf-8", self._metrics()
        headers = [
            (b"content-type", content_type),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _readiness(self) -> tuple[int, bytes]:
        if self.ending:
            return 503, b'{"status":"ending"}'
        try:
            await self._core.database.ping()
        except StorageError as error:
            return 503, msgspec.json.encode({"status": "unavailable", "code": error.code})
        return 200, b'{"status":"ready"}'

    def _metrics(self) -> bytes:
        core = self._core
        lines: list[str] = []
        gauges = {
            "ownkey_usage_events_waiting": ("Usage events that are not in the database yet.", core.metering.waiting),
            "ownkey_snapshots_cached": ("Users whose settings are in memory.", len(core.cache)),
            "ownkey_spool_bytes": (
                "What the usage spool of this process takes of the disk.",
                core.metering.spool_bytes,
            ),
            "ownkey_spool_adopted": (
                "Calls of processes that ended without a word, recorded by this one.",
                core.metering.adopted,
            ),
            "ownkey_spool_damaged": ("Damaged places found in their spools: look into the log.", core.metering.damaged),
        }
        for name, (text, value) in gauges.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {value}"]
        name = "ownkey_upstream_calls_total"
        lines += [f"# HELP {name} Finished upstream calls by provider and outcome.", f"# TYPE {name} counter"]
        for (provider, outcome), count in sorted(core.metering.counts.items()):
            lines.append(f'{name}{{provider="{provider}",outcome="{outcome}"}} {count}')
        return ("\n".join(lines) + "\n").encode()
