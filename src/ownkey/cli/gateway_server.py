"""uvicorn inside our own event loop and lifetime: a signal ends the requests first and the database last.

How it ends: `/readyz` says 503 for a while, so that balancers send elsewhere; then nobody is let in any more, and what
waits in the kernel's queue is taken out of it first; then what runs may finish; then it is cut, and told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

import uvicorn

from ownkey.cli.client_connection import ClientConnection, ClientLimits, Clients
from ownkey.cli.signals import stop_on_signals
from ownkey.config import Config

_BACKLOG: Final = 2048
_COLLECT_THRESHOLDS: Final = (50_000, 20, 100)
_PR_SET_DUMPABLE: Final = 4
_LOOK_SECONDS: Final = 1.0
# So many connections are looked at before others have their turn: a fifth of a millisecond.
_LOOK_AT_ONCE: Final = 500
_POLL_SECONDS: Final = 0.05
# For what a request that is cut has to say and to write down.
_LAST_WORDS_SECONDS: Final = 5.0
# The database, log files and the like.
_OTHER_FILES: Final = 256

logger = logging.getLogger(__name__)


class Application(Protocol):
    """What is served: `Ownkey.asgi()`."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One ASGI conversation."""
        ...

    def begin_drain(self) -> None:
        """From now on `/readyz` says that this server is about to end."""
        ...


class GatewayServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its owner.

    uvicorn's own handling raises the signal again as soon as the last connection is closed, which would end the
    process before the last usage events are written and the embedded PostgreSQL is stopped.
    """

    def __init__(self, application: Application, config: Config, *, log_level: str) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=ClientConnection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                # Who is asking is never read from X-Forwarded-*.
                proxy_headers=False,
                server_header=False,
                access_log=False,
                log_config=None,
                # What uvicorn says at "info" is said better by the command.
                log_level="warning" if log_level == "info" else log_level,
                backlog=_BACKLOG,
            )
        )
        self._application = application
        self._limits = _client_limits(config)
        self._ready_seconds, self._grace_seconds = config.drain_ready_seconds, config.shutdown_grace_seconds
        self.server_state = Clients(self._limits)
        self._stopping = False
        self._hurry = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing to capture: see `stop_on_signals`."""
        yield

    def stop(self) -> None:
        """First call: finish what runs. Second call: now."""
        if self._stopping:
            self.should_exit = True
            self._hurry.set()
            return
        self._stopping = True
        self._application.begin_drain()
        # Whoever asks from here on is answered and asked to connect anew, to where there is a server then.
        self.config.encoded_headers.append((b"connection", b"close"))
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        asyncio.get_running_loop().call_later(self._ready_seconds, self._stop_accepting)

    def _stop_accepting(self) -> None:
        self.should_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Until `stop`, and then until the last answer."""
        looking = asyncio.create_task(self._look_again_and_again())
        try:
            await super().serve(sockets)
        finally:
            looking.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in who is waiting outside, close the door, wait for the answers, and cut what takes too long."""
        await self._take_in_the_last(sockets or [])
        clients = self.server_state
        await self._wait_for_clients(self._grace_seconds, until=self._hurry.is_set)
        running = set(clients.tasks)
        if running:
            logger.warning("%d requests were cut when the server ended", len(running))
            for task in running:
                task.cancel()
            ended, _ = await asyncio.wait(running, timeout=_LAST_WORDS_SECONDS)
            clients.tasks -= ended  # those that had not begun say nothing of their end
            # Their last words are on their way.
            await self._wait_for_clients(1.0, until=lambda: False)
        for connection in list(clients.connections):
            connection.transport.abort()

    async def _take_in_the_last(self, sockets: list[socket.socket]) -> None:
        """Close the listening sockets. Who is in the kernel's queue believes to be connected, and would be reset with
        a request on the way that no proxy dares to send again.
        """
        doors = [listener.dup() for listener in sockets]
        for server in self.servers:
            server.close()
        came: list[socket.socket] = []
        for listener, door in zip(sockets, doors, strict=True):
            listener.close()
            door.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    came.append(door.accept()[0])
            door.close()
        loop = asyncio.get_running_loop()
        for connected in came:
            connected.setblocking(False)
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(self._make_connection, connected)

    def _make_connection(self) -> ClientConnection:
        return ClientConnection(config=self.config, server_state=self.server_state, app_state={})

    async def _wait_for_clients(self, seconds: float, *, until: Callable[[], bool]) -> None:
        """Until all have their answers, and their connections are closed."""
        loop, clients = asyncio.get_running_loop(), self.server_state
        end = loop.time() + seconds
        while (clients.connections or clients.tasks) and loop.time() < end and not until():  # sets
            for connection in list(clients.connections):
                connection.shutdown()
            await asyncio.sleep(_POLL_SECONDS)

    async def _look_again_and_again(self) -> None:
        """Whether it is time to lose patience with a client."""
        loop, limits = asyncio.get_running_loop(), self._limits
        pause = min(_LOOK_SECONDS, min(limits.head, limits.body, limits.keep_alive, limits.stall) / 2)
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            for number, connection in enumerate(list(self.server_state.connections), start=1):
                connection.look(now, limits)  # type: ignore[union-attr]
                if number % _LOOK_AT_ONCE == 0:
                    await asyncio.sleep(0)


async def serve_until_signal(
    opened: AbstractAsyncContextManager[Any],
    listener: socket.socket,
    *,
    log_level: str,
    on_ready: Callable[[Any], Any],
) -> None:
    """Enter `opened`, serve its `asgi()` on `listener` until SIGTERM or SIGINT, and leave it in order.

    `on_ready` is awaited with what `opened` gave, before the first request is answered.
    """
    with stop_on_signals() as stop_with:
        async with opened as ok:
            server = GatewayServer(ok.asgi(), ok.config, log_level=log_level)
            # From here on the kernel holds connections until they are served: who reads the announcement may connect.
            listener.listen(_BACKLOG)
            await on_ready(ok)
            _spare_the_collector()
            stop_with(server.stop)
            await server.serve(sockets=[listener])


def _client_limits(config: Config) -> ClientLimits:
    # A request of a client may need a second file: the connection to a provider.
    files = (_raise_file_limit() - _OTHER_FILES) // 2
    if files < config.max_connections:
        logger.warning("This process may open files for %d connections only. Raise `ulimit -n`.", files)
    return ClientLimits(
        head=config.header_timeout_seconds,
        body=config.body_timeout_seconds,
        keep_alive=config.keep_alive_seconds,
        stall=config.client_stall_seconds,
        connections=max(16, min(config.max_connections, files)),
        connections_per_address=config.max_connections_per_address,
    )


def _raise_file_limit() -> int:
    """As many open files as the system allows this process: the limit that it starts with is that of 1983."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft if soft != resource.RLIM_INFINITY else 2**20


def _spare_the_collector() -> None:
    """Have the garbage collector look seldom and not at what stays: by counting references a request frees nearly
    all of its own, and looking at everything every 700 allocations took a tenth of the processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_THRESHOLDS)


def forbid_core_dumps() -> None:
    """A crash must not write the keys in memory to a disk, and no other process of this user may read them."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
