"""A provider's answer on its way to the client: whole, or as a stream that has begun."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from msgspec import Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.routing import Attempt, Skipped
from ownkey.domain.usage import Outcome
from ownkey.providers.dialect import StreamDecoder
from ownkey.services.spending import Hold
from ownkey.upstream.pool import TransportFailure, UpstreamResponse

_BROKE_OFF: Final = Failure(
    outcome=Outcome.STREAM_BROKEN, message="The provider's stream ended before it was complete."
)
_UNREADABLE: Final = Failure(
    outcome=Outcome.STREAM_BROKEN, message="The provider's stream holds something that cannot be read."
)

logger = logging.getLogger(__name__)


class AnswerStream:
    """The rest of a stream after its first content. Read it to its end, or close it.

    `settle` is called exactly once, with None or the failure, and before the last byte is handed out. `clean` takes
    the secret out of what a provider says of its failure. `received` is told what arrives. `leave` may take over a
    stream whose reader leaves before its end: then it says so, and reads on. `keep` is awaited between the call's
    settlement and the answer's last bytes, where it is set. `mute` turns true when the stream broke
    and its form has no words for that: then the connection must not end as if all were well.
    """

    __slots__ = (
        "_broken",
        "_clean",
        "_decoder",
        "_ended",
        "_leave",
        "_next",
        "_received",
        "_response",
        "_revoked",
        "_settle",
        "_settled",
        "keep",
        "mute",
    )

    def __init__(
        self,
        response: UpstreamResponse,
        decoder: StreamDecoder,
        first: bytes,
        settle: Callable[[StreamDecoder, Failure | None], None],
        clean: Callable[[Failure], Failure],
        received: Callable[[bytes], None],
        leave: Callable[[AnswerStream], bool] | None = None,
    ) -> None:
        # `_next` is for the client, and was not handed out yet.
        self._response, self._decoder, self._next = response, decoder, first
        self._settle, self._clean, self._received, self._leave = settle, clean, received, leave
        self._settled = self._ended = self.mute = False
        self.keep: Callable[[], Awaitable[None]] | None = None
        self._revoked: Failure | None = None
        self._broken: Failure | None = None  # as it was passed on
        response.outlive_reader()

    async def read(self) -> bytes | None:
        """The next bytes for the client, or None at the end. A break is told in-band, without a proper end."""
        data = await self._read_on()
        if self._settled and self.keep is not None:
            keep, self.keep = self.keep, None
            try:
                await keep()
            except asyncio.CancelledError:
                self._next = data or b""  # for whoever has to end it
                raise
        return data

    async def _read_on(self) -> bytes | None:
        decoder = self._decoder
        if self._next and self._revoked is None:
            data, self._next = self._next, b""
            if decoder.complete:
                self._settle_once(None)
            return data
        while not self._ended:
            if self._revoked is not None:
                return await self._end(self._revoked)
            if decoder.failure is not None:  # it came in one piece with content
                return await self._end(decoder.failure)
            if self._broken is not None:
                return await self._end(None if decoder.complete else self._broken)
            try:
                chunk = await self._response.read_chunk()
            except TransportFailure as error:
                # After the terminator nothing is missing, whatever happens to the connection.
                return await self._end(None if decoder.complete else self._cause(error.failure))
            if chunk is not None:
                self._received(chunk)
            if self._cause(None) is not None:
                continue
            try:
                data = decoder.finish() if chunk is None else decoder.feed(chunk)
            except Exception:  # a provider's bytes must not decide how our code ends
                logger.exception("a stream could not be read")
                return await self._end(None if decoder.complete else _UNREADABLE)
            if chunk is None:
                return data + (await self._end(self._final_failure()) or b"") or None
            if decoder.complete:
                self._settle_once(None)
            if data:
                return data
        return None

    async def flow(self, write: Callable[[bytes], bool], write_chunk: Callable[[bytes], bool]) -> None:
        """Pass on by `write` whatever comes, in the moment in which it comes and without a task being woken for it.

        What comes as one chunk of HTTP and stays as it is goes by `write_chunk` with the framing that it has. Returns
        when either says that the client takes no more, and when there is more to do than to pass on: `read` gives the
        rest.
        """
        response, decoder = self._response, self._decoder
        over = self._ended or self._next or decoder.complete or decoder.failure is not None
        if over or not response.can_flow:
            return
        stopped = asyncio.get_running_loop().create_future()
        take, received, feed = response.take, self._received, decoder.feed

        def pass_on() -> None:
            try:
                chunk = b"" if self._revoked is not None else take()
                if chunk:
                    received(chunk)
                    data = feed(chunk)
                    if decoder.complete or decoder.failure is not None:
                        self._next = data
                    elif (not data or write(data)) and not response.has_news:
                        return  # else its end came with it, and nobody would call again
            except TransportFailure as error:
                self._broken = error.failure
            except Exception:  # a provider's bytes must not decide how our code ends
                logger.exception("a stream could not be read")
                self._broken = _UNREADABLE
            stop()

        def pass_chunk_on(framed: bytes, chunk: bytes) -> None:
            try:
                response.room -= len(chunk)
                if response.room < 0:
                    response.refuse_rest()
                received(chunk)
                data = feed(chunk)
                if decoder.complete or decoder.failure is not None or self._revoked is not None:
                    self._next = data
                elif write_chunk(framed) if data is chunk else (not data or write(data)):
                    return
            except TransportFailure as error:
                self._broken = error.failure
            except Exception:  # a provider's bytes must not decide how our code ends
                logger.exception("a stream could not be read")
                self._broken = _UNREADABLE
            stop()

        def stop() -> None:
            response.listen(None)
            if not stopped.done():
                stopped.set_result(None)

        response.listen(pass_on, pass_chunk_on)
        try:
            await stopped
        finally:
            response.listen(None)

    def revoke(self, failure: Failure) -> None:
        """End it now, from elsewhere: the provider is cut off, and the reader gets this failure next."""
        if not self._settled:
            self._revoked = failure
            self._response.cut()

    async def close(self) -> None:
        """Let go of the stream. Before its end this means that the client left, and somebody may read on."""
        leave, self._leave = self._leave, None
        if self._settled or leave is None or not leave(self):
            await self.cut()

    async def break_off(self, failure: Failure) -> bytes:
        """End it here, for a reason of ours: what tells the client so, or the last bytes of an answer that is whole."""
        unsent, self._next = b"" if self._revoked is not None else self._next, b""
        if self._ended:
            return unsent
        if self._decoder.complete:
            # Its end came in the very moment in which it was to be broken off.
            self._settle_once(None)
            return unsent
        return unsent + (await self._end(failure) or b"")

    async def drain(self, max_bytes: int) -> None:
        """Read on for nobody, until the usage is known; no more than so many bytes."""
        self._response.limit(max_bytes)
        while not self._settled and await self.read() is not None:
            pass

    async def cut(self) -> None:
        """Let go of the provider. Before the end the call is settled with what is known until now."""
        if not self._settled:
            gone = Failure(outcome=Outcome.CLIENT_GONE, message="The client closed the connection.")
            self._settle_once(self._revoked or gone)
        self._ended = True
        await self._response.close()

    def _cause(self, failure: Failure | None) -> Failure | None:
        """Why the stream broke: somebody may have ended it while its next bytes were waited for."""
        return self._revoked or failure

    def _final_failure(self) -> Failure | None:
        """How the stream ended, now that the provider's last byte was read."""
        return self._decoder.failure or (None if self._decoder.complete else _BROKE_OFF)

    async def _end(self, failure: Failure | None) -> bytes | None:
        self._ended = True
        if failure is not None:
            failure = self._clean(failure)
        self._settle_once(failure)
        await self._response.close()
        if failure is None:
            return None
        told = self._decoder.break_off(failure)
        self.mute = not told
        return told or None

    def _settle_once(self, failure: Failure | None) -> None:
        if not self._settled:
            self._settled = True
            self._settle(self._decoder, failure)


class Answer(Struct, kw_only=True):
    """What goes to the client. Exactly one of `body` and `stream` is set.

    `content_type` is set where the operation alone does not tell it; `hold` where a budget or cap concerned the call.
    `skipped` are the hops that would have come before the one that answers.
    """

    request_id: str
    attempt: Attempt
    attempts: int
    body: bytes | None = None
    stream: AnswerStream | None = None
    content_type: str | None = None
    hold: Hold | None = None
    skipped: Sequence[Skipped] = ()
