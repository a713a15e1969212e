"""uvicorn inside our own event loop and lifetime: a signal ends the requests first and the database last."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import uvicorn

from ownkey.cli.signals import stop_on_signals

# Kubernetes kills after 30 seconds: what is still streaming then would be cut in any case.
_DRAIN_SECONDS: Final = 25
_KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 2048
_COLLECT_THRESHOLDS: Final = (50_000, 20, 100)
_PR_SET_DUMPABLE: Final = 4


class GatewayServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its owner.

    uvicorn's own handling raises the signal again as soon as the last connection is closed, which would end the
    process before the last usage events are written and the embedded PostgreSQL is stopped.
    """

    def __init__(self, application: Any, *, log_level: str) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http="httptools",
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
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing to capture: see `stop_on_signals`."""
        yield

    def stop(self) -> None:
        """First call: finish what runs. Second call: now."""
        self.force_exit = self.should_exit
        self.should_exit = True


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
            server = GatewayServer(ok.asgi(), log_level=log_level)
            # From here on the kernel holds connections until they are served: who reads the announcement may connect.
            listener.listen(_BACKLOG)
            await on_ready(ok)
            _spare_the_collector()
            stop_with(server.stop)
            await server.serve(sockets=[listener])


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
