"""A provider's answer as it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import aiohttp
from msgspec import Struct

from ownkey.domain.usage import Outcome
from ownkey.upstream.failures import TransportFailure, body_failure
from ownkey.upstream.inflate import Inflater


class ReadLimits(Struct, frozen=True, kw_only=True):
    """How long and how large an answer may be. Bytes count after decompression."""

    idle_timeout_seconds: float
    max_answer_bytes: int


class UpstreamResponse:
    """An answer whose status and headers are there. Read it to its end, or close it.

    Read to the end, its connection goes back to the pool. Closed before that, the connection is cut, which is how
    a provider learns that nobody waits any more.
    """

    __slots__ = ("__weakref__", "_answer", "_ended", "_headers", "_host", "_inflater", "_limits", "_room", "status")

    def __init__(self, answer: aiohttp.ClientResponse, host: str, limits: ReadLimits) -> None:
        self._answer, self._host, self._limits = answer, host, limits
        self._room = limits.max_answer_bytes
        self._ended = False
        self._headers: dict[str, str] | None = None
        self._inflater: Inflater | None = None
        self.status = answer.status
        if "content-encoding" in answer.headers:
            self._prepare_inflater(answer.headers["content-encoding"])
        if (connection := answer.connection) is not None and (protocol := connection.protocol) is not None:
            # Until the body begins, a provider may think as long as it may before its headers: some send
            # those at once and the first token two minutes later.
            protocol.read_timeout = limits.idle_timeout_seconds
            if answer.content.total_bytes:
                protocol.start_timeout()

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers under lower-case names; of a repeated one, the last."""
        if self._headers is None:
            self._headers = {name.lower(): value for name, value in self._answer.headers.items()}
        return self._headers

    async def read(self) -> bytes:
        """The rest of the body. Raises TransportFailure; the connection is closed then."""
        chunk = await self.read_chunk()
        if chunk is None:
            return b""
        following = await self.read_chunk()
        if following is None:
            return chunk
        chunks = [chunk, following]
        while (chunk := await self.read_chunk()) is not None:
            chunks.append(chunk)
        return b"".join(chunks)

    async def read_chunk(self) -> bytes | None:
        """The next bytes as they came, or None at the end. Raises TransportFailure; the connection is closed then."""
        while not self._ended:
            try:
                data = await self._answer.content.readany()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                failure = body_failure(self._host, error, self._limits.idle_timeout_seconds)
            except BaseException:
                self._cut()
                raise
            else:
                if not data:
                    self._end()
                    return None
                if self._inflater is not None:
                    data = self._inflate(data, self._inflater)
                self._room -= len(data)
                if self._room < 0:
                    self._fail(f"is larger than {self._limits.max_answer_bytes:,} bytes")
                if data:
                    return data
                continue
            # Outside the handler, so that the library's error, which knows the request's headers, is not chained.
            self._cut()
            raise failure
        return None

    async def close(self) -> None:
        """Let go of the answer; cuts the connection if the end was not reached. May be called again."""
        self._cut()

    def _end(self) -> None:
        if self._inflater is not None and not self._inflater.complete:
            self._fail("ended in the middle")
        self._ended = True
        self._answer.release()

    def _cut(self) -> None:
        if self._ended:
            return
        self._ended = True
        if (connection := self._answer.connection) is not None and connection.transport is not None:
            # A polite TLS goodbye could wait for a provider that is busy streaming.
            connection.transport.abort()
        self._answer.close()

    def _prepare_inflater(self, coding: str) -> None:
        if coding.strip().lower() in ("", "identity"):
            return
        try:
            self._inflater = Inflater(coding)
        except ValueError:
            self._fail("is compressed in a way that was not asked for")

    def _inflate(self, data: bytes, inflater: Inflater) -> bytes:
        try:
            return inflater.feed(data, self._room)
        except ValueError:
            self._fail("is damaged")

    def _fail(self, what: str) -> NoReturn:
        self._cut()
        raise TransportFailure(Outcome.STREAM_BROKEN, f"The answer of {self._host} {what}.") from None
