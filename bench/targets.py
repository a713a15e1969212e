"""What load is put on: where it listens, how each case is asked of it, and which processes do the work."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.cases import Case

PROVIDER_KEY = "sk-bench-provider-key-000000000000"
CHAT_PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Ask:
    """How one case is asked of one target. `tokens` is a file of tokens to take in turn, from line `skip` on."""

    url: str
    model: str
    token: str
    tokens: Path | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Target:
    """Something to put load on. `pids` are the processes whose CPU time and memory count."""

    name: str
    ask: Callable[[Case], Ask | None]  # None: it cannot do this one
    pids: list[int] = field(default_factory=list)
    # How many calls are in its own books, for a target that keeps some.
    count_metered: Callable[[], int] | None = None
    start_seconds: float = 0.0
    note: str = ""


def get(url: str, token: str = "", timeout: float = 5) -> bytes:
    """A small answer."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        content: bytes = answer.read()
        return content


def wait_for(
    url: str,
    process: subprocess.Popen[bytes] | subprocess.Popen[str],
    log: Path | None = None,
    *,
    seconds: float = 120,
) -> None:
    """Until it answers. Raises RuntimeError with the end of its log when it has ended instead."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"ended at start:\n{log.read_text()[-3000:] if log else ''}")
        try:
            get(url)
        except urllib.error.HTTPError:
            return  # it answers, if only that it has no such page
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.01)
        else:
            return
    raise TimeoutError(url)


def free_port() -> int:
    """A port of the loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def stop(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End it, in order if it can."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
