"""Programs of the examples, started as their README says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
_START_SECONDS: Final = 60


def find_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def run(command: Sequence[str], *, cwd: Path, port: int, **variables: str) -> Iterator[None]:
    """A program in a process group of its own, from when it listens until the block ends."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**clean_environment(), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        _wait_for(process, port)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def clean_environment() -> Mapping[str, str]:
    """Nothing of the tester's own configuration and keys."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OWNKEY_", "VITE_", "SUPABASE_", "DJANGO_")) and not name.endswith("_API_KEY")
    } | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def vite(port: int) -> list[str]:
    """`npm run dev`."""
    return ["node", "node_modules/vite/bin/vite.js", "--host", "127.0.0.1", "--port", str(port), "--strictPort"]


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _wait_for(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    raise AssertionError(f"nothing listens on port {port}:\n{output}")
