"""`/`: what a person who opens the server's address sees."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from ownkey.http.gateway import Receive, Scope, Send

_TEXT: Final = """\
Ownkey {version}: every user's own LLM keys behind one OpenAI-compatible gateway.

  /v1             for OpenAI clients: set this as base URL and a gateway token (ok-...) as API key
  /api            keys, preferences, tasks, usage and tokens; described in /openapi.json
  /healthz        whether the process lives; /readyz: whether it can serve; /metrics: counters

The first administrator's token was printed when the server first started;
further ones come from `ownkey token create --user NAME`.
"""


async def front_page(scope: Scope, receive: Receive, send: Send) -> None:
    """A few lines of plain text, the same for everybody."""
    body = _TEXT.format(version=version("ownkey")).encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
