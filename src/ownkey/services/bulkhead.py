"""So many requests of one user at once, and no more: what one runaway program asks for must not be everybody's wait.

What is beyond the limit stands in a line of its user's own, for a moment. To refuse it at once would cost more than
it spares: a program that does not wait asks again at once, and each refusal is work that others wait for.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Final

from ownkey.errors import TooManyAtOnce

_WAIT_SECONDS: Final = 1.0


class Bulkhead:
    """Counts per user. `limit` 0: no limit. Use it inside one event loop."""

    def __init__(self, limit: int, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._limit, self._wait_seconds = limit, wait_seconds
        # Both hold only users with a request under way.
        self._running: dict[str, int] = {}
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def waiting(self) -> int:
        """How many requests stand in a line."""
        return sum(len(line) for line in self._lines.values())

    def enter(self, user_id: str) -> bool:
        """Begin a request, which `leave` ends. False: this user has enough of them, and the next one has to `wait`."""
        running = self._running.get(user_id, 0)
        if running >= self._limit > 0:
            return False
        self._running[user_id] = running + 1
        return True

    async def wait(self, user_id: str) -> None:
        """Begin a request when another one of this user has ended. Raises TooManyAtOnce when none does in time."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(user_id, deque())
        line.append(turn)
        try:
            # Who came at the same moment is not to be refused at the same moment: others would wait for all that work.
            async with asyncio.timeout(self._wait_seconds * random.uniform(0.5, 1.5)):  # noqa: S311  # no secret
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # Its turn came in the moment in which it gave up.
                self.leave(user_id)
            else:
                self._step_out(user_id, turn)
            if isinstance(error, TimeoutError):
                raise TooManyAtOnce(
                    f"{self._limit} requests of yours are under way at this server, which is as many as it takes of "
                    "one user at once. Wait for some of them to end.",
                    retry_after_seconds=self._wait_seconds,
                ) from None
            raise

    def leave(self, user_id: str) -> None:
        """A request has ended: the next one of its user takes its place, if one waits."""
        line = self._lines.get(user_id) if self._lines else None
        while line:
            turn = line.popleft()
            if not line:
                del self._lines[user_id]
            if not turn.done():
                turn.set_result(None)
                return
        running = self._running[user_id] - 1
        if running:
            self._running[user_id] = running
        else:
            del self._running[user_id]

    def _step_out(self, user_id: str, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(user_id)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[user_id]
