"""Whether the client still waits for its answer, and what happens when it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Presence:
    """Of one client during one request. `on_leave` says whether the request goes on without it; if not, it ends."""

    __slots__ = ("left", "on_leave", "task")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        """`task` is the one that answers the request."""
        self.task, self.left = task, False
        self.on_leave: Callable[[asyncio.Task[Any]], bool] | None = None

    def leave(self) -> None:
        """The client is gone. Cancels the request's task unless somebody wants its end all the same."""
        if self.left:
            return
        self.left = True
        task = self.task
        if task is not None and (self.on_leave is None or not self.on_leave(task)):
            task.cancel()
