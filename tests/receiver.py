"""A host's receiver of webhooks: a real HTTP server that keeps what arrives and answers as it is told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

SECRET = "whsec_" + base64.b64encode(bytes(range(100, 132))).decode()


class Arrival:
    """One request, as it came."""

    def __init__(self, headers: dict[str, str], body: bytes, status: int) -> None:
        self.headers, self.body, self.status = headers, body, status

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    def is_signed_by(self, secret: str) -> bool:
        """As the documentation says that receivers check it."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        fresh = abs(time.time() - int(self.headers["webhook-timestamp"])) < 300
        return fresh and any(hmac.compare_digest(wanted, one) for one in self.headers["webhook-signature"].split())


class Receiver:
    """Answers 204, or what stands next in `statuses`; holds answers back while `hold` is set."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.statuses: deque[int] = deque()
        self.held = threading.Event()
        self.held.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.statuses.popleft() if receiver.statuses else 204
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.arrivals.append(Arrival(headers | {"path": self.path}, body, status))
                receiver.held.wait(60)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hooks/ownkey?from=tests"

    def hold(self) -> None:
        """Keep whoever asks waiting from now on."""
        self.held.clear()

    def release(self) -> None:
        """Answer."""
        self.held.set()

    async def wait_for(self, count: int, seconds: float = 30) -> list[Arrival]:
        """What has arrived, once that is so much."""
        async with asyncio.timeout(seconds):
            while len(self.arrivals) < count:
                await asyncio.sleep(0.02)
        return list(self.arrivals)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
