"""What becomes of a call whose client has left: it is read on for a while, for the sake of the usage at its end.

The client's leaving is noticed at once, whatever becomes of the call. Reading on costs: the provider makes the rest of
the answer, and charges for it. To cut the connection costs, too: what was made until then is charged for, and nobody
says how much that was. So a call is read on within bounds (how many at once, for how long, how many bytes), and what
does not come to its end in them is cut, and its tokens are estimated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Protocol, TypeVar

from ownkey.services.answer import Answer, AnswerStream

T = TypeVar("T")

logger = logging.getLogger(__name__)


class AbandonedCall(Protocol):
    """An upstream call that nobody waits for any more."""

    def abandon(self, max_bytes: int) -> None:
        """The client has left; of the answer no more than this is to be read."""
        ...


class Drains:
    """`limit` is how many calls are read on at once, `seconds` for how long, `max_bytes` how much of each; 0: none."""

    def __init__(self, *, limit: int, seconds: float, max_bytes: int) -> None:
        self._limit = limit if seconds > 0 and max_bytes > 0 else 0
        self._seconds, self._max_bytes = seconds, max_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        # Requests that go on in their own task, and when each of them is cut.
        self._adopted: dict[asyncio.Task[Any], asyncio.TimerHandle] = {}
        self._closing = asyncio.Event()

    def __len__(self) -> int:
        """How many calls are being read on."""
        return len(self._tasks) + len(self._adopted)

    async def close(self) -> None:
        """Cut them all, and whatever may still come; when this returns their usage is handed over."""
        self._closing.set()
        for task in self._adopted:
            task.cancel()
        while self._tasks or self._adopted:
            await asyncio.wait({*self._tasks, *self._adopted})

    def adopt(self, task: asyncio.Task[Any], call: AbandonedCall) -> bool:
        """Let a request go on whose client has left, in its own task. False: there is no room, and it is to be cut."""
        call.abandon(self._max_bytes)
        if not self._has_room:
            return False
        self._adopted[task] = asyncio.get_running_loop().call_later(self._seconds, task.cancel)
        task.add_done_callback(self._release)
        return True

    async def finish(self, answer: Answer | None) -> None:
        """The rest of an answer that nobody waits for, within what `adopt` has allowed."""
        if answer is not None and answer.stream is not None:
            try:
                await answer.stream.drain(self._max_bytes)
            finally:
                await answer.stream.cut()

    async def see_through(self, exchange: Coroutine[Any, Any, T], call: AbandonedCall) -> T:
        """The result of an exchange, for who may be cancelled at any time: the exchange goes on here without them."""
        task = asyncio.ensure_future(exchange)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                call.abandon(self._max_bytes)
                self._start(self._finish(task, self._seconds if self._has_room else 0))
            raise

    def take_over(self, stream: AnswerStream) -> bool:
        """Read on a stream whose reader has left. False: there is no room, and it is the reader's to cut."""
        if not self._has_room:
            return False
        self._start(self._drain(stream, self._seconds))
        return True

    @property
    def _has_room(self) -> bool:
        return not self._closing.is_set() and len(self) < self._limit

    def _release(self, task: asyncio.Task[Any]) -> None:
        self._adopted.pop(task).cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, exchange: asyncio.Task[Any], seconds: float) -> None:
        """An exchange whose answer has not come yet. Cutting it settles it."""
        begin = monotonic()
        answer = await self._bounded(exchange, seconds)
        if isinstance(answer, Answer) and answer.stream is not None:
            await self._drain(answer.stream, seconds - (monotonic() - begin))

    async def _drain(self, stream: AnswerStream, seconds: float) -> None:
        try:
            await self._bounded(asyncio.ensure_future(stream.drain(self._max_bytes)), seconds)
        finally:
            await stream.cut()

    async def _bounded(self, task: asyncio.Task[Any], seconds: float) -> Any:
        """What a task gives; None when its time is over, or everything is to end."""
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait({task, closing}, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if task.cancelled():
            return None
        error = task.exception()
        if error is not None:
            logger.error("a call could not be read on", exc_info=error)
            return None
        return task.result()
