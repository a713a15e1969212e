"""One request and its answer on one connection of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

import msgspec

from ownkey.domain.exchange import Failure
from ownkey.domain.provider import Dialect
from ownkey.domain.usage import Outcome
from ownkey.errors import OwnkeyError, ServerEnding, TooLarge
from ownkey.http.answer_head import ID_HEADERS, PRIVATE, read_head, write_head
from ownkey.http.body_room import BodyRoom
from ownkey.http.wire_errors import error_body, error_headers, error_status
from ownkey.providers.gemini.json_array import JSONArrayStream
from ownkey.services.answer import Answer, AnswerStream
from ownkey.services.presence import Presence

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream; charset=utf-8"
_OK: Final = b"HTTP/1.1 200 OK\r\n"

_ENDING: Final = Failure(
    outcome=Outcome.INTERNAL,
    message="This server is being restarted, so the answer ends here. Send the request again.",
)
_LAST_WORDS_SECONDS: Final = 1.0


# The key of an ASGI scope under which our own server tells of its connection.
CONNECTION: Final = "ownkey.connection"


class Connection(Protocol):
    """A connection of a client at our own server: it tells when it is lost, and is spared ASGI's messages.

    `heading` is what was read of the running request's head, or of an equal one right before it.
    """

    heading: Any

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What answers the running request."""
        ...

    def attend(self, on_lost: Callable[[], None] | None) -> None:
        """Call this when the client is gone, soon if it is already; None: not any more."""
        ...

    def take_body(self) -> bytes | None:
        """The request's body, if all of it is here; else it has to be received."""
        ...

    def begin_answer(self, head: bytes) -> bool:
        """Take status line and headers. False: this answer has to be sent the ordinary way."""
        ...

    def write_whole(self, body: bytes) -> None:
        """The rest of an answer whose length its head names."""
        ...

    async def write_part(self, data: bytes) -> None:
        """A part of an answer without a known length, at the client's pace."""
        ...

    def write_piece(self, data: bytes) -> bool:
        """A part, at once. Whether the client takes more."""
        ...

    def write_chunk(self, framed: bytes) -> bool:
        """The same, of a part that has the framing of a chunk of HTTP."""
        ...

    def end_parts(self) -> None:
        """That was the last part."""
        ...


class ClientGone(Exception):  # not an error of ours
    """The client closed the connection before its request was complete."""


class Exchange:
    """Reads the request, writes the answer, and notices when the client leaves.

    `dialect` is the client's, for errors; OpenAI's until it is known. `held_bytes` of a `BodyRoom` are its own.
    """

    __slots__ = (
        "_attended",
        "_connection",
        "_direct",
        "_presence",
        "_receive",
        "_send",
        "_started",
        "_watcher",
        "dialect",
        "held_bytes",
        "request_id",
    )

    def __init__(self, receive: Receive, send: Send, request_id: str, connection: Connection | None) -> None:
        self._receive, self._send, self._connection = receive, send, connection
        self.request_id, self.dialect = request_id, Dialect.OPENAI_CHAT
        self._started = self._direct = False
        self.held_bytes = 0
        self._presence: Presence | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._attended: Connection | None = None

    @property
    def client_left(self) -> bool:
        """Whether nobody is there any more to hear an answer."""
        return self._presence is not None and self._presence.left

    async def read_body(self, headers: list[Header], limit: int, room: BodyRoom) -> bytes:
        """The request's body. Raises TooLarge, before reading where the length is announced, and ServerFull."""
        if self._connection is not None and (whole := self._connection.take_body()) is not None:
            if len(whole) > limit:
                raise _too_large(limit)
            return whole
        for name, value in headers:
            # The length of the number is compared first: int() refuses more than 4,300 digits.
            if name == b"content-length" and (len(value) > 18 or int(value) > limit):
                raise _too_large(limit)
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return body
        chunks: list[bytes] = []
        size = 0
        while True:
            chunks.append(body)
            size += len(body)
            if size > limit:
                raise _too_large(limit)
            room.take(len(body))
            self.held_bytes = size
            if not message.get("more_body", False):
                break
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body = message.get("body", b"")
        return b"".join(chunks)

    def watch(self) -> Presence:
        """From now on the current task is cancelled when the client leaves, unless somebody wants it to go on."""
        connection = self._connection
        if connection is not None:
            presence = self._presence = Presence(connection.task)
            self._attended = connection
            connection.attend(presence.leave)
        else:
            presence = self._presence = Presence(asyncio.current_task())
            # Another server than ours tells only who asks, and asking takes a task of its own.
            self._watcher = asyncio.create_task(self._wait_for_disconnect(presence))
        return presence

    def stop_watching(self) -> None:
        """The answer is complete, or there will be none."""
        # Once: behind the end of an answer another request may attend to the same connection.
        watcher, self._watcher = self._watcher, None
        connection, self._attended = self._attended, None
        if watcher is not None:
            watcher.cancel()
        elif connection is not None:
            connection.attend(None)

    async def _wait_for_disconnect(self, presence: Presence) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        presence.leave()

    async def send_answer(self, answer: Answer) -> None:
        """A whole answer."""
        body = answer.body or b""
        self.stop_watching()
        kind = (answer.content_type or _JSON).encode()
        await self._begin_answer(answer, b"content-type: %b\r\ncontent-length: %d\r\n" % (kind, len(body)))
        if self._direct and self._connection is not None:
            self._connection.write_whole(body)
        else:
            await self._send({"type": "http.response.body", "body": body})

    async def _send_part(self, data: bytes) -> None:
        if self._direct and self._connection is not None:
            await self._connection.write_part(data)
        else:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _end_parts(self) -> None:
        if self._direct and self._connection is not None:
            self._connection.end_parts()
        else:
            await self._send({"type": "http.response.body", "body": b""})

    async def send_stream(self, answer: Answer, stream: AnswerStream, array: JSONArrayStream | None = None) -> None:
        """A stream, at the pace of the slower side: `send` waits while the client's buffer is full."""
        kind = (_JSON if array else answer.content_type or _EVENTS).encode()
        try:
            await self._begin_answer(answer, b"content-type: %b\r\nx-accel-buffering: no\r\n" % kind)
            data: bytes | None = b""  # what is not sent yet
            try:
                while (data := await stream.read()) is not None:
                    if array is not None:
                        data = array.feed(data)
                    await self._send_part(data)
                    data = b""
                    if self._direct and self._connection is not None and array is None:
                        await stream.flow(self._connection.write_piece, self._connection.write_chunk)
            except asyncio.CancelledError:
                if self.client_left:
                    raise
                await self._break_off(stream, data or b"", array)
            self.stop_watching()
            if stream.mute:
                return  # the server closes a connection whose answer has no end
            if array is not None:
                await self._send_part(array.finish())
            await self._end_parts()
        finally:
            await asyncio.shield(stream.close())

    async def _break_off(self, stream: AnswerStream, unsent: bytes, array: JSONArrayStream | None) -> None:
        """The server ends: tell the client in the words of its stream. `unsent` may have been held up before that.

        Raises TimeoutError when the client does not take it: its connection must not end as if all were well.
        """
        told = await stream.break_off(_ENDING)
        if array is not None and told:
            told = array.feed(told)
        if unsent + told:
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._send_part(unsent + told)

    async def say_goodbye(self) -> bool:
        """The server ends before there is an answer. Whether that could still be said."""
        if self._started:
            return False
        await self.fail(ServerEnding())
        return True

    async def send_json(self, content: object, headers: list[Header] | None = None) -> None:
        """A small answer of our own."""
        await self.send_bytes(200, msgspec.json.encode(content), headers or [])

    async def fail(self, error: OwnkeyError) -> None:
        """An error in the client's form; after the first byte of an answer nothing more can be said."""
        if self._started or self.client_left:
            return
        self.stop_watching()
        body = error_body(error, self.request_id, self.dialect)
        await self.send_bytes(error_status(error, self.dialect), body, error_headers(error))

    async def send_bytes(self, status: int, body: bytes, headers: list[Header]) -> None:
        """A small answer in JSON."""
        self._started = True
        request_id = self.request_id.encode()
        headers = [(b"content-type", _JSON.encode()), (b"content-length", b"%d" % len(body)), *headers, *PRIVATE]
        headers.append((b"x-ownkey-request-id", request_id))
        name = ID_HEADERS.get(self.dialect)
        if name is not None:
            headers.append((name, request_id))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _begin_answer(self, answer: Answer, first: bytes) -> None:
        self._started = True
        lines = write_head(answer, self.dialect, first)
        if self._connection is not None:
            self._direct = self._connection.begin_answer(_OK + lines)
        if not self._direct:
            await self._send({"type": "http.response.start", "status": 200, "headers": read_head(lines)})


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit:,} bytes, the limit of this server.")
