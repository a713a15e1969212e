"""`ownkey serve` as processes that can be killed, stopped for a while, and started again where they were."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

# Debian's libfaketime, where it is installed.
_FALSE_TIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


class Gateway:
    """One server on a port of its own, with a data directory that outlives it."""

    def __init__(self, name: str, directory: Path, variables: Mapping[str, str]) -> None:
        self.name, self.data_dir = name, directory / name
        self.spool_dir = self.data_dir / "spool"
        self.spool_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.port = _free_port()
        self._variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OWNKEY_")},
            "OWNKEY_DATA_DIR": str(self.data_dir),
            "OWNKEY_SPOOL_DIR": str(self.spool_dir),
            "OWNKEY_PORT": str(self.port),
            "OWNKEY_LOG_LEVEL": "warning",
            **self._clock_variables(),
            **variables,
        }
        self.log_path = directory / f"{name}.log"
        self.process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.stopped = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def has_own_clock(self) -> bool:
        return _FALSE_TIME is not None

    def set_clock(self, offset: str) -> None:
        """Let its wall clock be wrong, by `+1h` and the like; the clock that measures goes on as it was."""
        whole = self._clock.with_suffix(".new")
        whole.write_text(f"{offset}\n")
        whole.replace(self._clock)

    def _clock_variables(self) -> dict[str, str]:
        self._clock = self.data_dir / "clock"
        self.set_clock("+0")
        if _FALSE_TIME is None:
            return {}
        return {
            "LD_PRELOAD": str(_FALSE_TIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    async def start(self) -> None:
        """Returns when it is ready. As under a supervisor, it is started again while its database is away."""
        for _ in range(20):
            if await self._try_to_start():
                return
            await asyncio.sleep(1)
        raise AssertionError(f"{self.name} did not start: {self.log_path.read_text()[-2000:]}")

    async def _try_to_start(self) -> bool:
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "ownkey", "serve", env=self._variables, stdin=DEVNULL, stdout=PIPE, stderr=log
            )
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.startswith(b"Ready"):
                self._reading = asyncio.create_task(_swallow(self.process.stdout))
                return True
        await self.process.wait()
        if "cannot be reached" not in self.log_path.read_text()[-2000:]:
            raise AssertionError(f"{self.name} did not start: {self.log_path.read_text()[-2000:]}")
        return False

    async def end(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        assert self.process is not None
        await self.resume()
        if number is signal.SIGKILL:
            # With its workers, as whoever supervises it would: those left alone end in order and keep the port so long.
            self._signal_all(number)
        else:
            self.process.send_signal(number)
        async with asyncio.timeout(60):
            await self.process.wait()
        # What the false clock shares with workers outlives a process that was killed.
        for shared in Path("/dev/shm").glob(f"*faketime_*_{self.process.pid}"):
            shared.unlink(missing_ok=True)
        if self._reading is not None:
            await self._reading

    async def kill_a_worker(self) -> bool:
        """SIGKILL for one of its worker processes, if it has some."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        if not children:
            return False
        with suppress(psutil.NoSuchProcess):
            children[0].kill()
        return True

    async def freeze(self) -> None:
        """SIGSTOP for it and its workers."""
        self._signal_all(signal.SIGSTOP)
        self.stopped = True

    async def resume(self) -> None:
        """SIGCONT, if it was stopped."""
        if self.stopped:
            self._signal_all(signal.SIGCONT)
            self.stopped = False

    def _signal_all(self, number: signal.Signals) -> None:
        assert self.process is not None
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            for one in (*parent.children(), parent):
                one.send_signal(number)


async def _swallow(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
