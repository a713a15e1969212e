"""One HTTP/1.1 connection to a provider: a request goes out, its answer is taken in, then perhaps the next one.

The bytes are read by llhttp in its strict mode, the parser of Node.js. What is decided here is when an answer
begins and ends, how long it may take, and whether the connection may carry another request afterwards. In doubt
it may not: a byte out of place would make one user's answer another's.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import httptools
from msgspec import Struct

_MAX_HEAD_BYTES: Final = 64 * 1024
# What a header costs besides its own bytes, so that many small ones count too.
_FIELD_OVERHEAD_BYTES: Final = 32
# Beyond this the provider has to wait for the client to read.
_MAX_BUFFERED_BYTES: Final = 256 * 1024
# Chunk extensions and trailers, which nobody asked for and the parser partly keeps. A byte of body excuses the
# framing of the smallest chunk, twice over; credit is not saved up, so that no body excuses a trailer without end.
_MAX_WASTE_BYTES: Final = 64 * 1024
_FRAMING_PER_BYTE: Final = 10
# Of a chunk that is not taken apart by the parser: the length of its size in hexadecimal, and the end of that line.
_LONGEST_SIZE_LINE: Final = 8
# The headers that are looked at in every answer, by their length, which costs less than lower case of thirty of them.
_NOTED: Final = {
    len(name): name
    for name in (b"content-length", b"transfer-encoding", b"content-encoding", b"x-request-id", b"request-id")
}
_HTTP_1_1: Final = b"HTTP/1.1 "
_WRITE_BYTES: Final = 256 * 1024


class Fault(Enum):
    """Why an exchange did not come to its end."""

    CLOSED = "closed"
    NOT_HTTP = "not_http"
    TIMEOUT = "timeout"


class ExchangeBroken(Exception):
    """The exchange on a connection failed; the connection is cut."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Deadlines(Struct, frozen=True, kw_only=True):
    """In seconds: until an answer's first byte, between its bytes, for all of it, and for an idle connection."""

    first_byte: float
    idle: float
    total: float
    keep_alive: float


class Connection(asyncio.Protocol):
    """One connection, in `registry` for as long as it is open.

    Between `start` and `finish` it belongs to one request.
    """

    __slots__ = (
        "_body_begun",
        "_body_written",
        "_buffered",
        "_chunks",
        "_deadlines",
        "_ends_with_connection",
        "_fault",
        "_field_bytes",
        "_head_bytes",
        "_head_done",
        "_keep_alive",
        "_loop",
        "_parser",
        "_patience_until",
        "_poll",
        "_reading_paused",
        "_registry",
        "_speaks_1_1",
        "_timer",
        "_total_until",
        "_transport",
        "_waiter",
        "_waste",
        "_whole_chunks",
        "_writing_paused",
        "clean",
        "coding",
        "complete",
        "heard",
        "on_chunk",
        "on_news",
        "outlives_reader",
        "parked_in",
        "raw_headers",
        "request_id",
        "status",
        "unsent",
    )

    def __init__(self, deadlines: Deadlines, registry: set[Connection]) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadlines, self._registry = deadlines, registry
        self._transport: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._poll: select.poll | None = None
        self._reading_paused = self._writing_paused = False
        self._fault: Fault | None = None
        self._patience_until = self._total_until = 0.0
        # Where the pool keeps it while it is idle, so that it can leave that when it is closed.
        self.parked_in: deque[Connection] | None = None
        # Whether no exchange is under way and nothing speaks against another one.
        self.clean = True
        # Of one exchange after the other: each of them ends where its parser says that the next one may begin.
        self._parser: Any = httptools.HttpResponseParser(self)
        # The state of the exchange; `start` sets it anew.
        self._chunks: list[bytes] = []
        self._buffered = self._head_bytes = self._field_bytes = self._waste = 0
        self._head_done = self._body_begun = self._body_written = False
        self._keep_alive = self._ends_with_connection = self._whole_chunks = self._speaks_1_1 = False
        self.complete = self.heard = False
        # Called when something has come, or nothing more can, in place of waking who waits for that.
        self.on_news: Callable[[], None] | None = None
        # Called in place of that with a chunk that came whole and alone, where nothing else waits to be taken: as it
        # came, and what is in it.
        self.on_chunk: Callable[[bytes, bytes], None] | None = None
        # Whether cancelling who reads the answer leaves it to somebody else.
        self.outlives_reader = False
        # Whether nothing of the request can have arrived: its first byte found the connection closed.
        self.unsent = False
        self.status = 0
        self.raw_headers: list[tuple[bytes, bytes]] = []
        # Of these: how the body is packed, and what the provider calls this exchange.
        self.coding = self.request_id = b""

    # What the pool and the answer do with it.

    @property
    def transport(self) -> Any:
        """The transport, for an upgrade to TLS behind a proxy."""
        return self._transport

    async def start(self, head: bytes, body: bytes | tuple[bytes | memoryview, ...]) -> None:
        """Send a request and wait for the head of its answer. Raises ExchangeBroken. Cancelling cuts the connection."""
        self._begin()
        try:
            if isinstance(body, tuple):
                await self._write_slowly(head, body)
            elif len(body) <= _WRITE_BYTES:
                self._transport.write(head + body)
                self.unsent = self._transport.is_closing()
                self._body_written = True
            else:
                await self._write_slowly(head, (body,))
            while not self._head_done:
                await self._wait()
        except BaseException:
            self.cut()
            raise

    async def read(self) -> bytes:
        """What has arrived of the body, at least one byte; empty at its end. Raises ExchangeBroken.

        Cancelling cuts the connection, unless it outlives its reader.
        """
        while not self._chunks:
            if self.complete:
                return b""
            try:
                await self._wait()
            except BaseException as error:
                if not (self.outlives_reader and isinstance(error, asyncio.CancelledError)):
                    self.cut()
                raise
        return self.take()

    @property
    def has_news(self) -> bool:
        """Whether something has arrived and was not taken, or nothing more will."""
        return bool(self._chunks) or self.complete or self._fault is not None

    def take(self) -> bytes:
        """What has arrived of the body by now; empty for nothing yet, and for nothing any more."""
        chunks, self._chunks = self._chunks, []
        self._buffered = 0
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._patience_until = self._loop.time() + self._deadlines.idle
            self._transport.resume_reading()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def finish(self) -> bool:
        """End the exchange. True if the connection can carry another one; otherwise it is cut."""
        reusable = self.complete and self._keep_alive and self._body_written and self._fault is None
        # The rest of a body that the provider never read would stand before the next request.
        if not reusable or self._transport.is_closing() or self._transport.get_write_buffer_size():
            self.cut()
            return False
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        self._chunks, self._buffered = [], 0
        self.clean = True
        self._patience_until = self._loop.time() + self._deadlines.keep_alive
        return True

    def is_usable(self) -> bool:
        """Whether an idle connection can take a request now.

        The kernel is asked, because a busy loop knows late: what waits there unread, be it a second answer or the
        provider's goodbye, came before the request. No room to write is the rest of an earlier one, held up below
        the TLS layer, which does not tell.
        """
        if not self.clean or self._transport.is_closing():
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLOUT)
        ready = self._poll.poll(0)
        return len(ready) == 1 and ready[0][1] == select.POLLOUT

    def cut(self) -> None:
        """Close at once, without a goodbye for which a busy provider would not listen. May be called again."""
        self.clean = False
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def detach(self) -> None:
        """Let go of the transport, which TLS has taken over: from now on nothing is told to this object, or timed."""
        if self._timer is not None:
            self._timer.cancel()
        self.clean = False
        self._transport = self._parser = None
        self._registry.discard(self)

    # What the event loop calls.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._registry.add(self)
        self._timer = self._loop.call_later(self._tick_seconds(), self._check_time)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.clean = False
        if exc is None and self._head_done and self._ends_with_connection:
            self.complete = True
        elif self._fault is None:
            self._fault = Fault.CLOSED
        self._wake()
        self._parser = None  # each holds the other
        self._registry.discard(self)
        if self.parked_in is not None:
            self.parked_in.remove(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self._fault is not None:
            return
        if self.clean or self.complete:
            # Nobody asked: these bytes must not become the answer to the next request.
            self._fault = Fault.NOT_HTTP
            self.cut()
            return
        if self._whole_chunks and self.on_chunk is not None and not self._chunks:
            # One chunk, as nearly every piece of a stream is. The parser stands before a chunk, and would again.
            begin = data.find(b"\r\n", 0, _LONGEST_SIZE_LINE) + 2
            size = len(data) - begin - 2
            # Of one byte there is more framing than body; the parser's way counts that.
            if size > 1 and data.endswith(b"\r\n") and data.startswith((b"%x\r\n" % size, b"%X\r\n" % size)):
                self._patience_until = self._loop.time() + self._deadlines.idle
                self.on_chunk(data, data[begin:-2])
                return
        if not self.heard:
            self._speaks_1_1 = data.startswith(_HTTP_1_1)
        self.heard = True
        head_was_done, buffered = self._head_done, self._buffered
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Fault.NOT_HTTP)
            return
        if self._whole_chunks and not data.endswith(b"\r\n"):
            self._whole_chunks = False  # the next one has begun
        if not self._head_done:
            # A part of a head buys no time: whoever dripped it could hold on to the request as long as it liked.
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._fail(Fault.NOT_HTTP)
            return
        body = self._buffered - buffered
        if head_was_done:
            waste = self._waste + len(data) - (1 + _FRAMING_PER_BYTE) * body
            self._waste = waste if waste > 0 else 0
            if waste > _MAX_WASTE_BYTES:
                self._fail(Fault.NOT_HTTP)
                return
        if body or not head_was_done:
            # Until the body begins, a provider may think as long as it may before its head: some send that at once
            # and the first token two minutes later.
            patience = self._deadlines.idle if self._body_begun else self._deadlines.first_byte
            self._patience_until = self._loop.time() + patience
        if self._buffered > _MAX_BUFFERED_BYTES and not (self._reading_paused or self.complete):
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.complete:
            # A second answer in the same breath. The first one is whole; the connection is done for.
            self._fault = Fault.NOT_HTTP

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return
        self.raw_headers.append((name, value))
        self._field_bytes += len(name) + len(value) + _FIELD_OVERHEAD_BYTES
        if self._field_bytes > _MAX_HEAD_BYTES:
            self._fail(Fault.NOT_HTTP)

    def on_headers_complete(self) -> None:
        if self.complete or self._fault is not None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._ends_with_connection = not self._parser.should_keep_alive()
        if not self._read_head() or not (self._speaks_1_1 or self._parser.get_http_version() in ("1.1", "1.0")):
            self._fail(Fault.NOT_HTTP)
            return
        self.status = status
        self._head_done = True

    def on_chunk_header(self) -> None:
        self._whole_chunks = False

    def on_chunk_complete(self) -> None:
        self._whole_chunks = True

    def on_body(self, data: bytes) -> None:
        if not self.complete and self._fault is None:
            self._body_begun = True
            self._chunks.append(data)
            self._buffered += len(data)

    def on_message_complete(self) -> None:
        if self._fault is not None:
            return
        if self._head_done:
            self.complete = True
            self._keep_alive = self._parser.should_keep_alive()
        else:
            # The end of an interim answer: the real one follows.
            self.raw_headers.clear()
            self._speaks_1_1 = False

    # Within.

    def _read_head(self) -> bool:
        """Note what is looked at in every answer; False for a transfer coding that is not plain chunks."""
        codings, own_name = list[bytes](), b""
        for name, value in self.raw_headers:
            noted = _NOTED.get(len(name))
            if noted is None or name.lower() != noted:
                continue
            if noted == b"content-length":
                self._ends_with_connection = False
            elif noted == b"transfer-encoding":
                self._ends_with_connection = False
                if value.lower() != b"chunked":
                    return False
            elif noted == b"content-encoding":
                codings.append(value)
            elif noted == b"x-request-id":
                self.request_id = value
            else:
                own_name = value
        self.coding = b", ".join(codings)
        self.request_id = self.request_id or own_name
        return True

    def _begin(self) -> None:
        now = self._loop.time()
        self._patience_until = now + self._deadlines.first_byte
        self._total_until = now + self._deadlines.total
        self._head_bytes = self._field_bytes = self._waste = 0
        self._head_done = self._body_begun = self._body_written = False
        self._keep_alive = self._ends_with_connection = self._whole_chunks = False
        self.complete = self.heard = self.clean = self.unsent = self.outlives_reader = False
        self.status, self.on_news, self.on_chunk = 0, None, None
        self.raw_headers = []
        self.coding = self.request_id = b""

    async def _write_slowly(self, head: bytes, body: tuple[bytes | memoryview, ...]) -> None:
        """Piece by piece, so that other requests are served in between, and an early answer ends it."""
        self._transport.write(head)
        self.unsent = self._transport.is_closing()
        for piece in body:
            view = memoryview(piece)
            for begin in range(0, len(view), _WRITE_BYTES):
                while self._writing_paused and not self._head_done:
                    await self._wait()
                if self._head_done or self._fault is not None:
                    return
                self._transport.write(view[begin : begin + _WRITE_BYTES])
                await asyncio.sleep(0)
        self._body_written = True

    async def _wait(self) -> None:
        """Wait until something happened. Raises ExchangeBroken when nothing good can."""
        if self._fault is not None:
            raise ExchangeBroken(self._fault)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self.on_news is not None:
            self.on_news()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, fault: Fault) -> None:
        if self._fault is None and not self.complete:
            self._fault = fault
        self.cut()

    def _tick_seconds(self) -> float:
        deadlines = self._deadlines
        return min(deadlines.first_byte, deadlines.idle, deadlines.total, deadlines.keep_alive)

    def _check_time(self) -> None:
        """Look whether a deadline has passed.

        One timer for the life of the connection: it fires at least once per shortest deadline, and deadlines only
        move forward, so moving one costs no more than writing a number.
        """
        now = self._loop.time()
        if self._reading_paused:
            # It is the client that takes its time, not the provider.
            self._patience_until = now + self._deadlines.idle
        until = self._patience_until if self.clean else min(self._patience_until, self._total_until)
        if now < until:
            self._timer = self._loop.call_at(min(until, now + self._tick_seconds()), self._check_time)
            return
        self._timer = None
        if not self.clean and not self.complete:
            self._fault = self._fault or Fault.TIMEOUT
        self.cut()
