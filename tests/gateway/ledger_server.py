"""A provider for load: answers at once and compares the key of every request with the user named in its body.

The simulated providers speak richer wire formats but take milliseconds a call; twenty thousand calls need less.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from time import perf_counter
from types import TracebackType
from typing import Self

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_BEARER = re.compile(rb"authorization: *bearer +([^\r\n]+)", re.IGNORECASE)
_USER = re.compile(rb'"user": *"([^"]+)"')
_ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"ok"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'
)
_CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'
)
_LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
    b"data: [DONE]\n\n"
)


class LedgerServer:
    """Listens on a free loopback port while it is open.

    `keys` counts calls by (key, user in the body), `last_use` says when a key was seen last; `left` counts clients that
    went away during a stream. `hold_whole_answers`: answers that are no streams wait for `chunk_pause`, too.
    """

    def __init__(self, *, chunk_pause: asyncio.Event | None = None) -> None:
        self.keys: Counter[tuple[str, str]] = Counter()
        self.last_use: dict[str, float] = {}
        self.left = 0
        self.hold_whole_answers = False
        self.streaming = asyncio.Event()
        self.someone_left = asyncio.Event()
        self._pause = chunk_pause
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def calls(self) -> int:
        return sum(self.keys.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length.group(1))) if length else b""
        key, user = _BEARER.search(head), _USER.search(body)
        shown = key.group(1).decode() if key else ""
        self.keys[shown, user.group(1).decode() if user else ""] += 1
        self.last_use[shown] = perf_counter()
        if b'"stream":true' not in body and b'"stream": true' not in body:
            if self.hold_whole_answers and not await self._wait(reader):
                return False
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_ANSWER)
                + _ANSWER
            )
            await writer.drain()
            return True
        return await self._stream(reader, writer)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(_CHUNK), _CHUNK))
        await writer.drain()
        if not await self._wait(reader):
            return False
        for part in (_CHUNK, _CHUNK, _LAST):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _wait(self, reader: asyncio.StreamReader) -> bool:
        """Silence until the test says go on, or the other side hangs up: then False."""
        self.streaming.set()
        if self._pause is None:
            return True
        gone = asyncio.ensure_future(reader.read(1))
        waiting = asyncio.ensure_future(self._pause.wait())
        await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if gone.done():
            self.left += 1
            self.someone_left.set()
            return False
        gone.cancel()
        return True
