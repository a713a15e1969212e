"""The head of a request that comes again and again on one connection, with nothing changed but the body's length.

So ask the libraries of all providers. What the parser made of such a head it would make of it again: a request that
begins with the very same bytes, and comes whole and alone, need not be taken apart a second time.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([1-9][0-9]{0,8})\r\n", re.IGNORECASE)
_MOST_DIGITS: Final = 9


class RepeatedHead(Struct, frozen=True):
    """The bytes before the digits of the length, and those after them, to the end of the head."""

    before: bytes
    after: bytes

    def find_body(self, piece: bytes) -> int:
        """Where the body begins in a piece that is one whole request with this head; 0: it is anything else."""
        begin = len(self.before)
        if not piece.startswith(self.before):
            return 0
        end = piece.find(b"\r", begin, begin + _MOST_DIGITS + 1)
        digits = piece[begin : max(begin, end)]
        body = end + len(self.after)
        if not digits.isdigit() or digits.startswith(b"0") or not piece.startswith(self.after, end):
            return 0
        return body if int(digits) == len(piece) - body else 0


def learn_head(piece: bytes) -> RepeatedHead | None:
    """The head of a piece that a parser has found to be one whole request; None: its length is not there to see."""
    end = piece.find(b"\r\n\r\n") + 4
    found = _LENGTH.search(piece, 0, end)
    if found is None or _LENGTH.search(piece, found.end(1), end) is not None:
        return None
    if int(found[1]) != len(piece) - end:
        return None
    return RepeatedHead(piece[: found.start(1)], piece[found.end(1) : end])
