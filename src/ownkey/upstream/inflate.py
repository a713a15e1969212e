"""Undoes gzip and deflate piece by piece and within a limit: a gigabyte of zeros travels as a megabyte.

Providers are asked for `identity`; some middleboxes compress all the same.
"""

from __future__ import annotations

import zlib
from typing import Final

_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_PIECE_BYTES: Final = 64 * 1024
# JSON and event streams shrink to a fifth, the most repetitive ones to a fiftieth; zeros to a thousandth.
_MAX_RATIO: Final = 100
# So much may come of anything: a small answer of blanks is no bomb.
_FREE_BYTES: Final = 1024 * 1024


class Bomb(ValueError):
    """The compressed data grow as nothing does that a provider has to say."""


class Inflater:
    """A decompressor for one answer: `feed` it what has arrived, and take `next` until that gives nothing.

    `complete` turns true at the end of the compressed data.
    """

    def __init__(self, coding: str) -> None:
        """Raises ValueError for a content coding that is not gzip or deflate."""
        bits = _WINDOW_BITS.get(coding.strip().lower())
        if bits is None:
            raise ValueError("unknown content coding")
        self._inflate = zlib.decompressobj(bits)
        self._waiting = b""
        self._packed = self._unpacked = 0

    @property
    def complete(self) -> bool:
        """Whether the compressed data have come to their end."""
        return self._inflate.eof

    def feed(self, data: bytes) -> None:
        """Take what has arrived, once everything before it was taken out.

        Raises ValueError for anything after the end of the data, which zlib would keep and copy each time.
        """
        if self._inflate.eof:
            raise ValueError("bytes after the compressed data")
        self._waiting = data
        self._packed += len(data)

    def next(self) -> bytes:
        """The next piece, at most 64 KiB; empty when more has to arrive. Raises Bomb, and ValueError for damaged data.

        Within the limits of memory nothing is held but that piece: what it unpacks to is not made before it is wanted.
        """
        if not self._waiting and not self._packed:
            return b""
        try:
            piece = self._inflate.decompress(self._waiting, _PIECE_BYTES)
        except zlib.error:
            raise ValueError("damaged compressed data") from None
        self._waiting = self._inflate.unconsumed_tail
        if self._inflate.unused_data:
            raise ValueError("bytes after the compressed data")
        self._unpacked += len(piece)
        if self._unpacked > max(_FREE_BYTES, _MAX_RATIO * (self._packed - len(self._waiting))):
            raise Bomb("the compressed data grow without end")
        return piece
