"""One request of a client and its answer, as uvicorn makes them, but for what most of them never need.

A request whose body came at once is answered without a message of ASGI being sent or waited for; what uvicorn prepares
for those is prepared here when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_LOGGER: Final = logging.getLogger("uvicorn.error")


class RequestCycle(RequestResponseCycle):
    """`body` is what has come of it and was not taken yet. `reading` holds what was read of its head, and is shared by
    those that ask in the same way, one right after the other.
    """

    # As every request begins.
    logger = access_logger = _LOGGER
    access_log = False
    disconnected = response_started = response_complete = False
    more_body = True
    body = b""  # type: ignore[assignment]  # seldom more than one piece
    chunked_encoding = None
    expected_content_length = 0
    task: asyncio.Task[None] | None = None
    _event: asyncio.Event | None = None

    def __init__(self, connection: Any, scope: Any, reading: list[Any], *, keep_alive: bool) -> None:
        """`connection` is a `ClientConnection`."""
        self.scope, self.reading, self.keep_alive = scope, reading, keep_alive
        self.transport, self.flow = connection.transport, connection.flow
        self.default_headers = connection.server_state.default_headers
        self.waiting_for_100_continue = connection.expect_100_continue
        self.on_response = connection.on_response_complete
        self._tasks = connection.tasks

    @property
    def message_event(self) -> asyncio.Event:  # type: ignore[override]
        """Set while there is something to receive."""
        if self._event is None:
            self._event = asyncio.Event()
            if self.body or not self.more_body or self.disconnected or self.response_complete:
                self._event.set()
        return self._event

    def notify(self) -> None:
        """There is something to receive, if anybody waits for it."""
        if self._event is not None:
            self._event.set()

    def take(self, piece: bytes) -> int:
        """Another piece of the body has come. How much of it waits."""
        self.body = self.body + piece if self.body else piece
        self.notify()
        return len(self.body)

    async def answer(self, app: Any) -> None:
        """Have it answered. Whatever goes wrong, the client is not left waiting."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            self.logger.exception("a request failed", exc_info=error)
            await self._give_up()
        else:
            if not (self.response_complete or self.disconnected):
                self.logger.error("a request was left without an answer, or without its end")
                await self._give_up()
        finally:
            self.on_response = _do_nothing
            self._tasks.discard(self.task)

    async def _give_up(self) -> None:
        if self.response_started:
            self.transport.close()
        else:
            await self.send_500_response()


def _do_nothing() -> None:
    pass
