"""A TCP server on loopback whose handler says byte for byte how a provider behaves."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Request:
    """What arrived."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]


class Connection:
    """One connection, as its handler sees it."""

    def __init__(self, server: ScriptedServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.number = server.connections

    async def read_head(self) -> Request:
        """A request without its body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines if text)}
        request = Request(line, headers, b"")
        self.server.requests.append(request)
        return request

    async def read_request(self) -> Request:
        """A whole request."""
        request = await self.read_head()
        request.body = await self.reader.readexactly(int(request.headers.get("content-length", "0")))
        self.server.arrived.set()
        return request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"{}", *, status: int = 200, headers: str = "") -> None:
        """A whole answer with a length."""
        head = f"HTTP/1.1 {status} Status\r\n{headers}content-length: {len(body)}\r\n\r\n"
        await self.send(head.encode() + body)

    async def wait_gone(self) -> None:
        """Wait until the client has closed or reset the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        self.writer.transport.abort()


Handler = Callable[[Connection], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Runs `handler` for every connection. `gone` is set when a client left a connection that waited for that."""

    handler: Handler
    tls: ssl.SSLContext | None = None
    address: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    open_connections: int = 0
    requests: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[BaseException] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, self.address, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"{'https' if self.tls else 'http'}://{self.address}:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self.errors

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open_connections += 1
        try:
            await self.handler(Connection(self, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            # Streams log a cancelled handler as an error.
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._tasks.discard(task)
            self.open_connections -= 1
            if not self.open_connections:
                self.all_closed.set()
            writer.close()


def sends(data: bytes) -> Handler:
    """Reads a request, sends these bytes and closes."""

    async def handler(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(data)

    return handler


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; empty data end it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
