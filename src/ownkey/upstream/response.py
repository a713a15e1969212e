"""A provider's answer as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from ownkey.domain.usage import Outcome
from ownkey.upstream.failures import TransportFailure, body_failure
from ownkey.upstream.http1 import Connection, ExchangeBroken
from ownkey.upstream.inflate import Bomb, Inflater


class UpstreamResponse:
    """An answer whose status and headers are there. Read it to its end, or close it.

    Read to the end, its connection goes back to the pool. Closed before that, the connection is cut, which is how
    a provider learns that nobody waits any more.
    """

    __slots__ = (
        "_connection",
        "_ended",
        "_headers",
        "_host",
        "_inflater",
        "_max_bytes",
        "_raw_headers",
        "_release",
        "request_id",
        "room",
        "status",
    )

    def __init__(
        self, connection: Connection, host: str, max_bytes: int, release: Callable[[Connection], None]
    ) -> None:
        """`release` takes the connection back. `max_bytes` counts after decompression.

        Raises TransportFailure for a content coding that cannot be undone.
        """
        self._connection, self._host, self._max_bytes, self._release = connection, host, max_bytes, release
        # How much of the body may still come.
        self.room = max_bytes
        self._ended = False
        self._headers: dict[str, str] | None = None
        self._inflater: Inflater | None = None
        self.status = connection.status
        self._raw_headers = connection.raw_headers
        # What the provider calls this exchange, or "".
        self.request_id = connection.request_id.decode("latin-1")
        if connection.coding:
            self._prepare_inflater(connection.coding.decode("latin-1"))

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers under lower-case names; of a repeated one, the last."""
        if self._headers is None:
            self._headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._raw_headers
            }
        return self._headers

    async def read(self) -> bytes:
        """The rest of the body. Raises TransportFailure; the connection is closed then."""
        chunk = await self.read_chunk()
        chunks = []
        while chunk is not None:
            chunks.append(chunk)
            chunk = await self.read_chunk()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read_chunk(self) -> bytes | None:
        """What has arrived, at least one byte; None at the end. Raises TransportFailure; the connection is closed then.

        The next bytes are taken as they come, several of the provider's chunks at once if they wait already.
        """
        inflater = self._inflater
        while not self._ended:
            if inflater is not None and (data := self._take_piece(inflater)):
                return data
            try:
                data = await self._connection.read()
            except ExchangeBroken as error:
                fault = error.fault
            else:
                if not data:
                    self._end()
                    return None
                if inflater is None:
                    self._count(data)
                    return data
                self._give(data, inflater)
                continue
            self._ended = True
            raise body_failure(self._host, fault)
        return None

    @property
    def can_flow(self) -> bool:
        """Whether it can be taken as it comes: it has not ended, and nothing has to be unpacked."""
        return not self._ended and self._inflater is None

    @property
    def has_news(self) -> bool:
        """Whether there is something to take, or will not be any more."""
        return self._connection.has_news

    def listen(
        self, on_news: Callable[[], None] | None, on_chunk: Callable[[bytes, bytes], None] | None = None
    ) -> None:
        """Have this called when there is something to take, or will not be any more; None: not any longer.

        `on_chunk`: in place of that, where one chunk of HTTP has come whole and alone. It is given the chunk with its
        framing, and its content, and takes that out of `room`.
        """
        self._connection.on_news, self._connection.on_chunk = on_news, on_chunk
        if on_news is not None and self._connection.has_news:
            on_news()

    def take(self) -> bytes:
        """What has arrived by now. Empty: nothing yet, or nothing any more, as `read_chunk` will tell.

        Raises TransportFailure for an answer that is too large; the connection is closed then.
        """
        data = self._connection.take()
        self._count(data)
        return data

    def limit(self, max_bytes: int) -> None:
        """From here on no more than this is read."""
        self.room = min(self.room, max_bytes)

    def outlive_reader(self) -> None:
        """Cancelling who reads leaves the answer to whoever reads on. It is to be closed in any case."""
        self._connection.outlives_reader = True

    def cut(self) -> None:
        """Cut the connection; whoever reads is told that the answer broke off. May be called again."""
        if not self._ended:
            self._connection.cut()

    async def close(self) -> None:
        """Let go of the answer; cuts the connection if the end has not arrived. May be called again."""
        self._let_go()

    def _end(self) -> None:
        if self._inflater is not None and not self._inflater.complete:
            self._fail("ended in the middle")
        self._let_go()

    def _let_go(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._release(self._connection)

    def _prepare_inflater(self, coding: str) -> None:
        if coding.strip().lower() in ("", "identity"):
            return
        try:
            self._inflater = Inflater(coding)
        except ValueError:
            self._fail("is compressed in a way that was not asked for")

    def _give(self, data: bytes, inflater: Inflater) -> None:
        try:
            inflater.feed(data)
        except ValueError:
            self._fail("is damaged")

    def _take_piece(self, inflater: Inflater) -> bytes:
        try:
            data = inflater.next()
        except Bomb:
            self._fail("grows without end when it is unpacked", Outcome.ANSWER_TOO_LARGE)
        except ValueError:
            self._fail("is damaged")
        self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            self.refuse_rest()

    def refuse_rest(self) -> NoReturn:
        """There is no room for what has come: cut the connection. Raises TransportFailure."""
        self._fail(f"is larger than {self._max_bytes:,} bytes", Outcome.ANSWER_TOO_LARGE)

    def _fail(self, what: str, outcome: Outcome = Outcome.STREAM_BROKEN) -> NoReturn:
        self.listen(None)  # whoever listens is told by the exception
        self._connection.cut()
        self._ended = True
        raise TransportFailure(outcome, f"The answer of {self._host} {what}.") from None
