"""Undoes gzip and deflate within a limit: a gigabyte of zeros travels as a megabyte.

Providers are asked for `identity`; some middleboxes compress all the same.
"""

from __future__ import annotations

import zlib
from typing import Final

_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class Inflater:
    """A decompressor for one answer.

    `complete` turns true at the end of the compressed data.
    """

    def __init__(self, coding: str) -> None:
        """Raises ValueError for a content coding that is not gzip or deflate."""
        bits = _WINDOW_BITS.get(coding.strip().lower())
        if bits is None:
            raise ValueError("unknown content coding")
        self._inflate = zlib.decompressobj(bits)

    @property
    def complete(self) -> bool:
        """Whether the compressed data have come to their end."""
        return self._inflate.eof

    def feed(self, data: bytes, room: int) -> bytes:
        """What these bytes unpack to, at most `room` + 1 bytes of it.

        Raises ValueError for damaged data and for anything after their end, which zlib would keep and copy each time.
        """
        if self._inflate.eof:
            raise ValueError("bytes after the compressed data")
        try:
            unpacked = self._inflate.decompress(data, room + 1)
        except zlib.error:
            raise ValueError("damaged compressed data") from None
        if self._inflate.unused_data:
            raise ValueError("bytes after the compressed data")
        return unpacked
