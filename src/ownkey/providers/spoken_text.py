"""How much text a request for speech has: what some models are charged by, and no answer tells.

The number is kept in place of the usage that the provider does not report, under a name that no provider uses.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from ownkey.providers.unreadable import UNREADABLE


class _Speech(Struct):
    input: str = ""


_SPEECH: Final = msgspec.json.Decoder(_Speech)


def count_characters(body: bytes) -> int:
    """The characters that are to be spoken; 0 where there are none to be read."""
    try:
        return len(_SPEECH.decode(body).input)
    except UNREADABLE:
        return 0


def write_characters(body: bytes) -> bytes | None:
    """Their number as a usage object; None without any."""
    count = count_characters(body)
    return b'{"ownkey_characters":%d}' % count if count else None
