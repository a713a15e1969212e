"""Tasks that run beside the requests, and how they end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

_ONCE_MORE_SECONDS: Final = 1.0


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is over. Raises what it ended with, unless that is the cancellation.

    One cancellation can be lost: where a library under it turns it into a failure of its own, at which a loop tries
    again. So it is said until it is heard.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_ONCE_MORE_SECONDS)
    with suppress(asyncio.CancelledError):
        task.result()
