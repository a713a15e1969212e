"""One connection of a client: uvicorn's HTTP protocol, stricter about what a request is and with an end to patience.

uvicorn 0.54 knows one time limit, for idle connections. Here every state of a connection has one; they are looked at
by a walk over all connections once a second (`look`), so that a request costs a few numbers written and no timer.

What follows a broken request is never read: a byte out of place would make one request two. The refusal is written
where its answer belongs, after the answers that are due before it, and never into the middle of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable
from os import dup
from socket import SHUT_WR, socket
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import httptools
import msgspec
from msgspec import Struct
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from ownkey.cli.repeated_head import RepeatedHead, learn_head
from ownkey.cli.request_cycle import RequestCycle
from ownkey.http.exchange import CONNECTION

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 100
MAX_TARGET_BYTES: Final = 16 * 1024
MAX_PIPELINED: Final = 32
# What a body may bring beside itself: chunk sizes, extensions, trailers. A byte of body excuses the framing of the
# smallest chunk, twice over.
MAX_WASTE_BYTES: Final = 64 * 1024
_FRAMING_PER_BYTE: Final = 10
# Less than the slowest mobile network: who is slower than that wants the connection, not the answer.
BODY_BYTES_PER_SECOND: Final = 4096
# A client that was answered before its body had arrived may send this much of it in vain and keep its connection.
MAX_SURPLUS_BYTES: Final = 256 * 1024
# To close at once would reset the connection while the client still sends, and its system would throw the answer away.
LINGER_SECONDS: Final = 2.0
# When the server ends: for how long a connection was not used that is closed.
QUIET_SECONDS: Final = 1.0
# Connections beyond the limit that are there to hear so; the others are closed as they come.
MAX_UNWELCOME: Final = 64
_UNMETERED: Final = frozenset(("/healthz", "/readyz", "/metrics"))
_CODING: Final = b"transfer-encoding"
_HTTP_1_1: Final = b" HTTP/1.1"
_HEAD_WORDS: Final = "The head of the request is larger than this server accepts."


class ClientLimits(Struct, frozen=True, kw_only=True):
    """In seconds: for a request's head, for a body beside its least rate, between requests, for a client that takes
    nothing of its answer. `connections` of all clients, and of one address (0: as many).
    """

    head: float
    body: float
    keep_alive: float
    stall: float
    connections: int
    connections_per_address: int = 0


class Clients(ServerState):
    """The connections of this process, counted."""

    def __init__(self, limits: ClientLimits) -> None:
        super().__init__()
        self.limits = limits
        self.unwelcome = 0
        self._by_address: dict[str, int] = {}
        self._default_head: tuple[Any, bytes | None] = (None, b"")

    def default_head(self) -> bytes | None:
        """The headers that uvicorn puts before all answers; None where they say that a connection is to end."""
        given, head = self._default_head
        if given is not self.default_headers:
            given = self.default_headers
            ending = any(name == b"connection" for name, _ in given)
            head = None if ending else b"".join(b"%b: %b\r\n" % one for one in given)
            self._default_head = (given, head)
        return head

    def admit(self, address: str) -> bool:
        """A connection has come. Whether it is within the limits."""
        count = self._by_address[address] = self._by_address.get(address, 0) + 1
        one = self.limits.connections_per_address
        welcome = len(self.connections) <= self.limits.connections and (not one or count <= one)
        self.unwelcome += not welcome
        return welcome

    def leave(self, address: str, *, welcome: bool) -> None:
        """A connection has gone."""
        self.unwelcome -= not welcome
        left = self._by_address.get(address, 0) - 1
        if left > 0:
            self._by_address[address] = left
        else:
            self._by_address.pop(address, None)


class _Refused(Exception):
    """What the parser was handed is no request of ours."""


class ClientConnection(HttpToolsProtocol):
    """One connection."""

    server_state: Clients
    cycle: RequestCycle

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._running: RequestCycle | None = None
        # What all requests of this connection have in common.
        self._scope: dict[str, Any] = {}
        self._in_head = self._in_body = self._deaf = False
        # Whether the piece that is being read begins with a request of this version, and that is being read.
        self._speaks_1_1 = False
        # Since when: the connection is idle, or the request has been arriving.
        self._since = self._stalled_since = self._cut_at = 0.0
        # Bytes of the piece that is being read; of that in which the request began; and of those after it.
        self._piece_bytes = self._first_bytes = self._more_bytes = 0
        self._body_bytes = self._surplus_bytes = self._hosts = 0
        self._refusal: tuple[int, str, str] | None = None
        self._welcome = True
        self._lost = False
        self._on_lost: Callable[[], None] | None = None
        self._length: tuple[bytes, bytes] | None = None  # the header of the request that is arriving
        # How was asked last, but for the length, and where the gateway keeps what it made of that.
        self._last_asked: tuple[Any, ...] = ()
        self._reading: list[Any] = [None]
        # How that came, where it came twice, and the scope that was made of it; whether it has just come so again.
        self._repeated: RepeatedHead | None = None
        self._last_scope: dict[str, Any] = {}
        self._alike = False
        self._head = b""  # of an answer that has been begun, until its first part

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            CONNECTION: self,
        }
        clients = self.server_state
        self._welcome = clients.admit(self._address)
        if not self._welcome:
            self.app = _Full(self.app)
            if clients.unwelcome > MAX_UNWELCOME:
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.leave(self._address, welcome=self._welcome)
        self.pipeline.clear()
        running = self._running
        if running is not None and running is not self.cycle and not running.response_complete:
            # uvicorn tells only the request that came last.
            running.disconnected = True
            running.notify()
        super().connection_lost(exc)
        self._lost = True
        self._scope = self._last_scope = {}  # they hold this connection
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost()

    def attend(self, on_lost: Callable[[], None] | None) -> None:
        """Call this when the client is gone, soon if it is already; None: not any more."""
        if on_lost is not None and self._lost:
            self.loop.call_soon(on_lost)
        else:
            self._on_lost = on_lost

    # What the gateway does without the detour over ASGI's messages.

    @property
    def heading(self) -> Any:
        """What was read of the running request's head, or of an equal one that came right before it."""
        cycle = self._running
        return None if cycle is None else cycle.reading[0]

    @heading.setter
    def heading(self, heading: Any) -> None:
        if self._running is not None:
            self._running.reading[0] = heading

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What answers the running request."""
        return None if self._running is None else self._running.task

    def take_body(self) -> bytes | None:
        """The running request's body, if all of it is here; else it has to be received."""
        cycle = self._running
        if cycle is None or cycle.more_body or cycle.disconnected:
            return None
        body, cycle.body = cycle.body, b""
        self.flow.resume_reading()
        return body

    def begin_answer(self, head: bytes) -> bool:
        """Take status line and headers for the running request. False: this one has to be sent the ordinary way."""
        cycle, default = self._running, self.server_state.default_head()
        if (
            default is None
            or cycle is None
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or self.flow.write_paused
        ):
            return False
        cycle.response_started = True
        self._head = head + default
        return True

    def write_whole(self, body: bytes) -> None:
        """The rest of an answer whose length its head names."""
        self.transport.write(self._head + b"\r\n" + body)
        self._complete()

    async def write_part(self, data: bytes) -> None:
        """A part of an answer without a known length, at the client's pace."""
        if self.flow.write_paused:
            await self.flow.drain()
        if data:
            self.write_piece(data)

    def write_piece(self, data: bytes) -> bool:
        """A part, which is not empty, at once. Whether the client takes more."""
        if not self._lost:
            head, self._head = self._head, b""
            if head:
                head += b"transfer-encoding: chunked\r\n\r\n"
            self.transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        return not self.flow.write_paused

    def write_chunk(self, framed: bytes) -> bool:
        """The same, of a part that has the framing of a chunk of HTTP. It is not the first one."""
        if not self._lost:
            self.transport.write(framed)
        return not self.flow.write_paused

    def end_parts(self) -> None:
        """That was the last part."""
        if not self._lost:
            head, self._head = self._head, b""  # there may have been no part at all
            self.transport.write((head + b"transfer-encoding: chunked\r\n\r\n" if head else b"") + b"0\r\n\r\n")
        self._complete()

    def _complete(self) -> None:
        cycle = self._running
        if cycle is not None:
            cycle.response_complete = True
            cycle.notify()
            if not cycle.keep_alive:
                self.transport.close()
            cycle.on_response()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        size = self._piece_bytes = len(data)
        at_start = not (self._in_head or self._in_body)
        if not at_start:
            self._more_bytes += size
        elif self._repeated is not None and self._is_idle() and (begin := self._repeated.find_body(data)):
            self._repeat(data[begin:])
            return
        else:
            line_end = data.find(b"\r\n", 0, MAX_TARGET_BYTES)
            self._speaks_1_1 = data.startswith(_HTTP_1_1, max(0, line_end - len(_HTTP_1_1)))
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing here speaks another protocol. The request is answered as what it is, and is the last one.
            self._deaf, self.cycle.keep_alive = True, False
        except httptools.HttpParserError:
            status, code, text = self._refusal or (400, "invalid_request", "This is not a valid HTTP request.")
            self._refuse(status, code, text)
        else:
            if self._in_head:
                if self._more_bytes > MAX_HEAD_BYTES:
                    self._refuse(431, "too_large", _HEAD_WORDS)
            elif self._in_body:
                self._weigh_body(size)
            elif self._alike and at_start:
                # Nobody has seen the scope yet, who may write into it.
                self._repeated, self._last_scope = learn_head(data), dict(self.cycle.scope)
            self._alike = False

    def pause_writing(self) -> None:
        self._stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_since = 0.0
        super().resume_writing()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._length = None
        self._in_head = True
        self._since = self.loop.time()
        self._first_bytes = self._piece_bytes
        self._more_bytes = self._body_bytes = self._surplus_bytes = self._hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: nobody looked at it when the request was let in
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"content-length":
            # What differs between two requests that ask in the same way.
            self._length = (name, value)
            return
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        version = "1.1" if self._speaks_1_1 else self.parser.get_http_version()
        self._check_head(version)
        self._in_head, self._in_body = False, True
        parser, url, headers = self.parser, self.url, self.headers
        method = parser.get_method()
        asked = (method, url, headers)
        if asked != self._last_asked:
            # A new place: requests that came before and still wait to be read keep theirs.
            self._last_asked, self._reading = asked, [None]
            self._repeated = None
        elif self._repeated is None and self._length is not None:
            self._alike = True
        headers = [*headers] if self._length is None else [*headers, self._length]
        path, _, query = url.partition(b"?")
        if url.find(b"#") >= 0:
            parts = httptools.parse_url(url)
            path, query = parts.path, parts.query or b""
        scope = self._scope.copy()
        scope["headers"], scope["method"] = headers, method.decode("ascii")
        scope["raw_path"], scope["query_string"], scope["state"] = path, query, {}
        text = path.decode("ascii")
        scope["path"] = unquote(text) if "%" in text else text
        if version != "1.1":
            scope["http_version"] = version
        earlier = self._newest
        keep_alive = version != "1.0" and parser.should_keep_alive()
        if not keep_alive or self.expect_100_continue or parser.should_upgrade():
            self._alike = False
        self.cycle = cycle = RequestCycle(self, scope, self._reading, keep_alive=keep_alive)
        if earlier is None or earlier.response_complete:
            self._start(cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        cycle = self.cycle
        if not cycle.response_complete and cycle.take(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        self._in_body = self._speaks_1_1 = False
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.notify()

    def _repeat(self, body: bytes) -> None:
        """Take a whole request whose head is the one before but for the length."""
        self._since = self.loop.time()
        self._first_bytes, self._body_bytes = self._piece_bytes, len(body)
        self._more_bytes = self._surplus_bytes = 0
        scope = self._last_scope.copy()
        scope["headers"], scope["state"] = [*self.headers, (b"content-length", b"%d" % len(body))], {}
        self.cycle = cycle = RequestCycle(self, scope, self._reading, keep_alive=True)
        cycle.more_body = False
        if cycle.take(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self._start(cycle)

    # What a request's end and the server's end do.

    def _start(self, cycle: RequestCycle) -> None:
        self._running = cycle
        cycle.task = task = self.loop.create_task(cycle.answer(self.app))
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, _ = self.pipeline.pop()
            self._start(cycle)  # type: ignore[arg-type]
        elif not self._in_body:
            self._since = self.loop.time()

    def shutdown(self) -> None:
        """The server is about to end: no request after those that have begun to arrive. May be called again and again.

        To close a connection on which a request is on its way is to lose that request: no proxy sends it again. One
        that was in use a moment ago is likely to be so again, and is told then, with the answer; the others are not.
        """
        newest = self._newest
        if self._in_head or (newest is not None and not newest.response_complete):
            if newest is not None:
                newest.keep_alive = False
        elif self.loop.time() - self._since > QUIET_SECONDS and not self.transport.is_closing():
            with socket(fileno=dup(self.transport.get_extra_info("socket").fileno())) as same:
                if not self._has_unread():
                    # The event loop would do so later.
                    with contextlib.suppress(OSError):
                        same.shutdown(SHUT_WR)
                    self.transport.close()

    def look(self, now: float, limits: ClientLimits) -> None:
        """Whether it is time to lose patience."""
        if self._cut_at:
            if now > self._cut_at:
                self.transport.abort()
        elif self.transport.is_closing():
            # Closed, and the client does not take what is left of its answer.
            self._cut_at = now + limits.stall
        elif self._stalled_since:
            if now - self._stalled_since > limits.stall:
                self.transport.abort()
        elif self._in_head:
            if now - self._since > limits.head:
                self._refuse(408, "request_timeout", f"The head of the request took over {limits.head:g} seconds.")
        elif self._in_body:
            self._look_at_body(now, limits)
        elif self._is_idle() and now - self._since > (limits.keep_alive if self._running else limits.head):
            if self._has_unread():
                return
            self.transport.close()

    # Within.

    @property
    def _newest(self) -> RequestCycle | None:
        """The request that came last; uvicorn declares that there always is one."""
        return self.cycle

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _is_idle(self) -> bool:
        return self._newest is None or self._newest.response_complete

    def _has_unread(self) -> bool:
        """Whether a request lies in the kernel: a busy loop knows late."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _check_head(self, version: str) -> None:
        """Raises _Refused for what two readers could take for two different requests, and for what is too much."""
        if self._first_bytes + self._more_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
                self._reject(431, "too_large", _HEAD_WORDS)
        if len(self.url) > MAX_TARGET_BYTES:
            self._reject(414, "too_large", "The URL is longer than this server accepts.")
        if len(self.pipeline) >= MAX_PIPELINED:
            self._reject(400, "invalid_request", "Too many requests were sent without waiting for an answer.")
        if version != "1.1":
            if version != "1.0":
                self._reject(505, "invalid_request", "This server speaks HTTP/1.1.")
            if any(name == _CODING for name, _ in self.headers):
                self._reject(400, "invalid_request", "HTTP/1.0 has no Transfer-Encoding.")
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            self._reject(400, "invalid_request", "A request has exactly one Host header.")
        if self.parser.should_upgrade() and (self._length or any(name == _CODING for name, _ in self.headers)):
            # The parser would take the body for what comes after the upgrade, and uvicorn for the next request.
            self._reject(400, "invalid_request", "This server speaks HTTP/1.1 only: send no Upgrade with a body.")
        if not self.url.startswith(b"/"):
            self._reject(400, "invalid_request", "The request line must name a path, not a URL or an authority.")

    def _reject(self, status: int, code: str, text: str) -> NoReturn:
        self._refusal = status, code, text
        raise _Refused

    def _weigh_body(self, size: int) -> None:
        if self._more_bytes - (1 + _FRAMING_PER_BYTE) * self._body_bytes > MAX_WASTE_BYTES:
            self._refuse(400, "invalid_request", "The body has more framing than content.")
        elif self.cycle.response_complete:
            self._surplus_bytes += size
            if self._surplus_bytes > MAX_SURPLUS_BYTES:
                self._linger()

    def _look_at_body(self, now: float, limits: ClientLimits) -> None:
        if self.flow.read_paused:
            self._since = now  # it is we who do not read
        elif now - self._since > limits.body + self._body_bytes / BODY_BYTES_PER_SECOND:
            self._refuse(408, "request_timeout", f"The body of the request took over {limits.body:g} seconds.")

    def _refuse(self, status: int, code: str, text: str) -> None:
        """Read nothing any more, and say so where the answer to the broken request belongs."""
        self._deaf = True
        cycle, running = self._newest, self._running
        if self._in_body and cycle is not None:
            # It is this request's body that is broken.
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
                earlier = self.pipeline[0][0] if self.pipeline else running
                if earlier is not None:
                    earlier.keep_alive = False
                return
            cycle.disconnected = True
            cycle.notify()
            if not cycle.response_started:
                self._write_refusal(status, code, text)
            elif not cycle.response_complete:
                self.transport.abort()
                return
            self._linger()
        elif cycle is not None and not cycle.response_complete:
            # Answers are due; then the connection ends. Which of the bytes behind them were a request, nobody knows.
            cycle.keep_alive = False
        else:
            self._write_refusal(status, code, text)
            self._linger()

    def _write_refusal(self, status: int, code: str, text: str) -> None:
        error = {"message": text, "type": "invalid_request_error", "code": code, "param": None}
        body = msgspec.json.encode({"error": error})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)

    def _linger(self) -> None:
        """End our side, and hear no more; the client's is cut a moment later."""
        self._deaf = True
        self._cut_at = self.loop.time() + LINGER_SECONDS
        self.flow.resume_reading()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        else:
            self.transport.close()


class _Full:
    """What a client hears for whom there is no room. Whoever watches the server hears the truth all the same."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in _UNMETERED:

            async def send_and_close(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
                await send(message)

            await self._application(scope, receive, send_and_close)
            return
        error = {
            "message": "This server has as many connections as it can take. Try again in a moment.",
            "type": "service_unavailable",
            "code": "too_many_connections",
            "param": None,
        }
        body = msgspec.json.encode({"error": error})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"1"),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})
