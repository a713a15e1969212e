"""A time limit that runs only while somebody is there to look.

A process that comes to nothing for seconds (a busy machine, a long collection of garbage, a lid that was closed) finds
its time limits over and the answers unread, both at once. Whoever asks whether *another* is alive must not take that
for an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

# However long the loop stood still, no more than one of them is over by that: enough turns of the loop are left for
# what takes several, as a connection that is opened.
_STEPS: Final = 20


@asynccontextmanager
async def attentive_timeout(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, of time in which the loop did not stand still. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle
    async with asyncio.timeout(None) as limit:

        def pass_on(left: int) -> None:
            nonlocal timer
            if left > 0:
                timer = loop.call_later(seconds / _STEPS, pass_on, left - 1)
            else:
                limit.reschedule(loop.time())

        timer = loop.call_later(seconds / _STEPS, pass_on, _STEPS - 1)
        try:
            yield
        finally:
            timer.cancel()
