"""The whole server as one ASGI application: the gateway first, everything else behind it."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from typing import Any, Final

from ownkey.http.api_identity import ApiIdentity
from ownkey.http.body_room import BodyRoom
from ownkey.http.gateway import Gateway, Receive, Scope, Send, is_gateway_path
from ownkey.http.host_tokens import HostTokenCallers
from ownkey.http.identity import Identity
from ownkey.http.observability import Observability
from ownkey.http.origins import MOUNTED_AT, Origins
from ownkey.http.panel import Panel
from ownkey.http.settings_api import create_settings_api
from ownkey.services.bulkhead import Bulkhead
from ownkey.services.core import Core

_OBSERVED: Final = frozenset(("/healthz", "/readyz", "/metrics"))


class Server:
    """Routes by the first part of the path; opening and closing is the owner's business.

    `panel_files` is where the settings panel was built to, by default inside the installed package.
    """

    def __init__(self, core: Core, *, panel_files: Traversable | None = None) -> None:
        host_tokens = HostTokenCallers(core.host_tokens) if core.host_tokens is not None else None
        self.identity = Identity(core.cache, core.token_uses, host_tokens)
        self.gateway = Gateway(
            identity=self.identity,
            completion=core.completion,
            counter=core.counter,
            models=core.models,
            max_body_bytes=core.config.max_body_bytes,
            body_room=BodyRoom(core.config.max_bodies_bytes),
            bulkhead=Bulkhead(core.config.user_concurrency),
        )
        self._own_observability = Observability(core)
        # Where this is one of several processes, something that speaks for all of them takes its place.
        self.observability: Any = self._own_observability
        self._panel = Panel(panel_files)
        origins = Origins(core.config)
        self._api: Any = create_settings_api(core, ApiIdentity(self.identity, core.sessions, origins), origins)

    def begin_drain(self) -> None:
        """From now on `/readyz` says that this server is about to end. What it is asked, it goes on to answer."""
        self._own_observability.ending = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI conversation."""
        if scope["type"] == "http":
            path = scope["path"]
            # A server mounted below a path sees that path in front of its own.
            outer, root = scope, scope.get("root_path", "")
            if root and path.startswith(root):
                path = path[len(root) :]
                scope = {**scope, "path": path, "root_path": "", MOUNTED_AT: root}
            if is_gateway_path(path):
                await self.gateway(scope, receive, send)
            elif self._panel.serves(path):
                await self._panel.answer(path, outer, send)
            elif path in _OBSERVED:
                await self.observability(scope, receive, send)
            else:
                await self._api(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _accept_lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})


async def _accept_lifespan(receive: Receive, send: Send) -> None:
    """Nothing to do: `Ownkey.open` has opened everything before the first request and closes it after the last."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
