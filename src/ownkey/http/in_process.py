"""An HTTP client's transport that ends in this process: `openai.AsyncOpenAI` without a socket.

The request is served by the gateway itself, so that routing, metering and errors are the same as over the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from httpx2 import AsyncBaseTransport, AsyncByteStream, ReadError, Request, Response

from ownkey.http.identity import IN_PROCESS_USER

T = TypeVar("T")


class InProcessTransport(AsyncBaseTransport):
    """Hands each request to an ASGI application, on behalf of one user whom the host has signed in."""

    def __init__(self, application: Any, *, user_id: str) -> None:
        self._application, self._user_id = application, user_id

    async def handle_async_request(self, request: Request) -> Response:
        """Serve one request; the answer's body is streamed as it is made."""
        exchange = _Exchange(await request.aread())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "server": ("in-process", 0),
            "client": None,
            # Only this process can put a key into the scope: no header of a client ends up here.
            IN_PROCESS_USER: self._user_id,
        }
        task = asyncio.create_task(self._application(scope, exchange.receive, exchange.send))
        task.add_done_callback(exchange.done)
        try:
            status, headers = await exchange.start()
        except BaseException:
            task.cancel()
            raise
        return Response(status, headers=headers, stream=_Body(exchange, task))


class _Exchange:
    """The two ends of one ASGI conversation."""

    def __init__(self, body: bytes) -> None:
        self._request: bytes | None = body
        self._started: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = (
            asyncio.get_running_loop().create_future()
        )
        # One chunk at a time: a reader that stalls holds the provider back, as a socket would.
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        self._left = asyncio.Event()
        self._finished = asyncio.Event()
        self._error: BaseException | None = None

    async def receive(self) -> dict[str, Any]:
        """The request's body, then the news that the client left."""
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        """Take a message of the application; what comes after the client left is dropped."""
        if message["type"] == "http.response.start":
            if not self._started.done():
                self._started.set_result((message["status"], message["headers"]))
            return
        if message.get("body") and not self._left.is_set():
            await _first_of(self._chunks.put(message["body"]), self._left.wait())
        if not message.get("more_body", False):
            self._finished.set()

    async def start(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Status and headers, once the application has them."""
        return await self._started

    async def read(self) -> bytes | None:
        """The next chunk of the answer, or None at its end. Raises what broke the application."""
        while self._chunks.empty():
            if self._finished.is_set():
                if self._error is not None:
                    raise ReadError("the request broke off") from self._error
                return None
            chunk = await _first_of(self._chunks.get(), self._finished.wait())
            if isinstance(chunk, bytes):
                return chunk
        return self._chunks.get_nowait()

    def leave(self) -> None:
        """The client does not want the rest."""
        self._left.set()

    def done(self, task: asyncio.Task[None]) -> None:
        """The application returned, or broke: nobody must wait for it any longer."""
        error = None if task.cancelled() else task.exception()
        if not self._finished.is_set():
            self._error = error or RuntimeError("The answer ended before its last byte.")
            self._finished.set()
        if not self._started.done():
            self._started.set_exception(error or RuntimeError("The request ended without an answer."))


class _Body(AsyncByteStream):
    """An answer's body that stops the application when it is closed early."""

    def __init__(self, exchange: _Exchange, task: asyncio.Task[None]) -> None:
        self._exchange, self._task = exchange, task

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._exchange.read()) is not None:
            yield chunk

    async def aclose(self) -> None:
        """End the conversation; returns when the application has let go of the provider."""
        self._exchange.leave()
        await asyncio.wait([self._task])


async def _first_of(one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, Any]) -> T | None:
    """What `one` gives, or None when `other` ends before it; the slower of the two is cancelled."""
    tasks = (asyncio.ensure_future(one), asyncio.ensure_future(other))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()
