"""A provider that numbers its calls, keeps a book of them, and misbehaves when it is told to.

The number of a call is in its `x-request-id` and is its number of input tokens, so that each call is found again on the
other side's books, with what it used.
"""

from __future__ import annotations

import asyncio
import random
import re
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

OUTPUT_TOKENS: Final = 3
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_BEARER = re.compile(rb"authorization: *bearer +([^\r\n]+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": *true')
_EVENT: Final = 'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":%s%s}\n\n'
_KINDS: Final = ("reset", "unavailable", "rate_limited", "stall", "cut")


class Call(Struct):
    """One call as the provider saw it. `answered`: all of a good answer was handed to the network."""

    number: int
    key: str
    answered: bool = False


class NumberingProvider:
    """Listens on a free loopback port while it is open."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.trouble: list[str] = []
        self._seed = random.Random(1)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
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
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def misbehave(self, count: int) -> None:
        """With the next so many calls."""
        self.trouble += self._seed.choices(_KINDS, k=count)

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
        body = await reader.readexactly(int(length[1])) if length else b""
        key = _BEARER.search(head)
        call = Call(len(self.calls) + 1, key[1].decode() if key else "")
        self.calls.append(call)
        trouble = self.trouble.pop() if self.trouble else None
        if trouble == "reset":
            writer.transport.abort()
            return False
        if trouble in ("unavailable", "rate_limited"):
            status = b"503 Away" if trouble == "unavailable" else b"429 Slowly\r\nretry-after: 1"
            writer.write(b"HTTP/1.1 %b\r\nx-request-id: call-%d\r\ncontent-length: 2\r\n\r\n{}" % (status, call.number))
            await writer.drain()
            return True
        if trouble == "stall":
            await asyncio.sleep(0.5)
        if _STREAM.search(body):
            return await self._stream(writer, call, cut=trouble == "cut")
        answer = (
            '{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
            f'{{"role":"assistant","content":"ok"}},"finish_reason":"stop"}}]{_usage(call)}}}'
        ).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: call-%d\r\ncontent-length: %d\r\n\r\n"
            % (call.number, len(answer))
        )
        if trouble == "cut":
            writer.write(answer[:40])
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        call.answered = True
        return True

    async def _stream(self, writer: asyncio.StreamWriter, call: Call, *, cut: bool) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: call-%d\r\n"
            b"transfer-encoding: chunked\r\n\r\n" % call.number
        )
        word = '[{"index":0,"delta":{"content":"x"},"finish_reason":null}]'
        end = '[{"index":0,"delta":{},"finish_reason":"stop"}]'
        for number, event in enumerate(
            (_EVENT % (word, ""), _EVENT % (word, ""), _EVENT % (end, ""), _EVENT % ("[]", _usage(call)))
        ):
            data = event.encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            if cut and number == 1:
                return False
            await asyncio.sleep(0.002)
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()
        call.answered = True
        return True


def _usage(call: Call) -> str:
    total = call.number + OUTPUT_TOKENS
    return f',"usage":{{"prompt_tokens":{call.number},"completion_tokens":{OUTPUT_TOKENS},"total_tokens":{total}}}'
