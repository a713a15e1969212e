"""The real command in a process that was forked with everything imported: it may be killed a moment after its start."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import redirect_stdout
from typing import Any

import asyncpg

import ownkey.app
from ownkey.cli.main import app
from ownkey.services.key_rotation import KeyRotation

# Before the fork, so that a rotator is at work a moment after its start.
PRELOADED = (asyncpg, ownkey.app)


def run_rotator(environment: dict[str, str], killed_after_seconds: float | None = None) -> None:
    """`ownkey credential rotate-wrapping-key new`; once that is primary, the same goes on with what is left.

    `killed_after_seconds` counts from the end of its first batch. The clock is inside, so that a busy machine, which
    stops the test, stops it as well; the end is SIGKILL nevertheless.
    """
    os.environ.clear()
    os.environ.update(environment)
    if killed_after_seconds is not None:
        _arm(killed_after_seconds)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
        app(["credential", "rotate-wrapping-key", "new", "--yes"])


def _arm(seconds: float) -> None:
    move_batch = KeyRotation._move_batch
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True

    async def armed(*arguments: Any) -> int | None:
        moved = await move_batch(*arguments)
        if not timer.is_alive():
            timer.start()
        return moved

    KeyRotation._move_batch = armed  # type: ignore[method-assign]
