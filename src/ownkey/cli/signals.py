"""SIGINT and SIGTERM, for commands that take down in order what they have started."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Give signals to whatever is under way: at first they cancel the current task; what is given later goes first."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101  # for the type checker: a coroutine always runs in a task
    stops: list[Callable[[], object]] = [task.cancel]
    for number in _SIGNALS:
        loop.add_signal_handler(number, lambda: stops[-1]())
    try:
        yield stops.append
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
