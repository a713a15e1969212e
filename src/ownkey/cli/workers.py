"""The parent of several worker processes: starts them, starts again who dies, and hands signals on. It serves nobody.

Each worker has a socket of its own on the common port, which the parent keeps open: what the kernel gave to a worker
that died waits for its successor. The workers are in process groups of their own, so that Ctrl-C reaches them once,
through the parent; the end of the parent, however it comes, ends them too.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from contextlib import AsyncExitStack, suppress
from typing import Final

import msgspec

from ownkey.cli.commands import REFUSED, say_error
from ownkey.cli.listener import bind_listener, bind_shared
from ownkey.cli.worker import READY, WorkerOrder
from ownkey.config import Config
from ownkey.errors import ConfigError
from ownkey.startup import load_wrapping_keys
from ownkey.storage.embedded import EmbeddedPostgres

# So many starts in a row that came to nothing, and it is not the worker's bad luck.
_STARTS_LIMIT: Final = 5
_FIRST_DELAY_SECONDS: Final = 0.5
_LONGEST_DELAY_SECONDS: Final = 15.0
# Who has served for so long, and dies then, has not failed to start.
_SETTLED_SECONDS: Final = 60.0
# The embedded PostgreSQL takes 100 connections, some of which are other programs'.
_EMBEDDED_CONNECTIONS: Final = 80
# -P: what lies in the directory that the server is started in is no module of it.
_COMMAND: Final = (sys.executable, "-P", "-c", "from ownkey.cli.worker import main; main()")


async def serve_with_workers(config: Config) -> int:
    """Serve with `config.workers` processes until SIGTERM or SIGINT; gives the program's exit status.

    Not 0 is that of a worker that cannot start, which has said why. Raises ConfigError and StorageError.
    """
    async with AsyncExitStack() as stack:
        listeners = bind_shared(config.host, config.port, config.workers)
        stack.callback(_close_all, listeners)
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ownkey-"))
        fleet = _Workers(config, listeners, directory)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, fleet.stop)
            stack.callback(loop.remove_signal_handler, number)
        if config.embedded:
            # The key is made before the database, which is never without one.
            load_wrapping_keys(config)
            # Held here as well, so that it outlives the workers and is started and stopped once.
            postgres = await EmbeddedPostgres.start(config.data_dir)
            stack.push_async_callback(postgres.stop)
        await fleet.run()
    return fleet.status


class _Workers:
    """All workers. `status` is what the program ends with."""

    def __init__(self, config: Config, listeners: list[socket.socket], directory: str) -> None:
        self._config, self._listeners, self._directory = config, listeners, directory
        self._running: dict[int, Process] = {}
        self._ready: set[int] = set()
        self._stopping = asyncio.Event()
        self._all_ready = False
        self.status = 0
        self._pool_size = config.database_pool_size
        if config.embedded:
            # Each worker listens for changes on one more.
            self._pool_size = min(self._pool_size, _EMBEDDED_CONNECTIONS // config.workers - 1)
            if self._pool_size < 1:
                raise ConfigError(
                    f"The embedded PostgreSQL has not enough connections for {config.workers} workers: at most "
                    f"{_EMBEDDED_CONNECTIONS // 2}, or set OWNKEY_DATABASE_URL."
                )

    async def run(self) -> None:
        """Return when all have ended."""
        # The first one migrates, makes what is missing, and speaks; the others find it done.
        async with asyncio.TaskGroup() as group:
            first = asyncio.Event()
            group.create_task(self._keep(0, first))
            await first.wait()
            if not self._stopping.is_set():
                for index in range(1, self._config.workers):
                    group.create_task(self._keep(index))

    def stop(self) -> None:
        """First call: all finish what runs. Second call: they end now."""
        self._stopping.set()
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    def _give_up(self, status: int, message: str | None = None) -> None:
        if message is not None:
            say_error(message)
        self.status = self.status or status
        if not self._stopping.is_set():
            self.stop()

    async def _keep(self, index: int, began: asyncio.Event | None = None) -> None:
        """Keep one worker running; `began` is set when it serves, or when it never will."""
        loop = asyncio.get_running_loop()
        failures, delay = 0, _FIRST_DELAY_SECONDS
        try:
            while not self._stopping.is_set():
                started_at = loop.time()
                was_ready, status = await self._run_once(index, began)
                self._ready.discard(index)
                if self._stopping.is_set():
                    return
                if not was_ready and not self._all_ready:
                    self._give_up(status if status > 0 else REFUSED)  # it has said why
                    return
                settled = loop.time() - started_at > _SETTLED_SECONDS
                failures, delay = (0, _FIRST_DELAY_SECONDS) if settled else (failures + 1, delay)
                if failures >= _STARTS_LIMIT:
                    self._give_up(REFUSED, f"Worker {index + 1} {_how(status)}, for the {failures}th time in a row.")
                    return
                say_error(f"Worker {index + 1} {_how(status)} and is started again.")
                if failures > 1:
                    await self._pause(index, delay)
                    delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
        finally:
            if began is not None:
                began.set()

    async def _pause(self, index: int, seconds: float) -> None:
        """Wait with an open port only for those who serve: nobody's connection is kept waiting for so long."""
        old = self._listeners[index]
        host, port = old.getsockname()[:2]
        with suppress(TimeoutError):
            old.close()
            await asyncio.wait_for(self._stopping.wait(), seconds)
        self._listeners[index] = bind_listener(host, port, shared=True)

    async def _run_once(self, index: int, began: asyncio.Event | None) -> tuple[bool, int]:
        """(whether it was ready at some time, its exit status)."""
        control, other = socket.socketpair()
        with control:
            with other:
                listener = self._listeners[index]
                order = WorkerOrder(
                    listener=listener.fileno(),
                    control=other.fileno(),
                    number=index + 1,
                    count=self._config.workers,
                    directory=self._directory,
                    public_url=self._config.public_url,
                    pool_size=self._pool_size,
                    first=began is not None and not began.is_set(),
                )
                process = await asyncio.create_subprocess_exec(
                    *_COMMAND,
                    msgspec.json.encode(order).decode(),
                    pass_fds=(listener.fileno(), other.fileno()),
                    process_group=0,
                )
            self._running[index] = process
            if self._stopping.is_set():  # while it was being started
                process.send_signal(signal.SIGTERM)
            control.setblocking(False)
            was_ready = await asyncio.get_running_loop().sock_recv(control, 1) == READY
            if was_ready:
                self._note_ready(index)
                if began is not None:
                    began.set()
            status = await process.wait()
            del self._running[index]
        return was_ready, status

    def _note_ready(self, index: int) -> None:
        self._ready.add(index)
        if len(self._ready) == self._config.workers and not self._all_ready:
            self._all_ready = True
            count = self._config.workers
            print(f"Ready: {count} workers. Ctrl-C ends them, after the requests that are running.", flush=True)


def _close_all(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def _how(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
