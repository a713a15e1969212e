"""The form of a segment: a head, then frames, then zeros.

    OKSPOOL1 | frame | frame | … | 0 0 0 …
    frame: mark(2) | kind(1) | length(4, little-endian) | CRC-32 of kind, length and payload(4) | payload (MessagePack)

Frames are written one after the other by one process. A process that is killed can leave its last frame torn, which
ends the segment; any other frame that does not agree with its CRC was damaged, and reading goes on behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Literal
from zlib import crc32

import msgspec
from msgspec import Struct

from ownkey.domain.usage import UsageEvent

HEAD: Final = b"OKSPOOL1"
_MARK: Final = b"\xa5\x4b"
_FRAME: Final = struct.Struct("<2sBII")
FRAME_BYTES: Final = _FRAME.size
# The largest raw usage that is kept has 8 kB, and no text beside it is long.
LARGEST_FRAME_BYTES: Final = 24 * 1024

INTENT: Final = 1
FINAL: Final = 2
Kind = Literal[1, 2]


class Intent(Struct, frozen=True):
    """A call that is about to be made: what is known of it, and how many bytes the request has."""

    event: UsageEvent
    body_bytes: int


class Frame(Struct, frozen=True):
    """One frame as it was read."""

    content: Intent | UsageEvent


class Damage(Struct, frozen=True):
    """Bytes in the middle that are no frame."""

    offset: int
    length: int


_encode: Final = msgspec.msgpack.Encoder().encode
_INTENTS: Final = msgspec.msgpack.Decoder(Intent)
_FINALS: Final = msgspec.msgpack.Decoder(UsageEvent)


def encode_intent(event: UsageEvent, body_bytes: int) -> bytes:
    """The frame of a call that is about to be made."""
    return _pack(INTENT, _encode(Intent(event, body_bytes)))


def encode_final(event: UsageEvent) -> bytes:
    """The frame of a call that is over."""
    return _pack(FINAL, _encode(event))


def read_frames(segment: bytes) -> Iterator[Frame | Damage]:
    """What a segment holds, in its order; a torn end is silently left out. Raises ValueError for no segment of ours."""
    if segment[: len(HEAD)] != HEAD:
        raise ValueError("not a segment of a usage spool")
    offset, end = len(HEAD), len(segment.rstrip(b"\0"))
    while offset < end:
        found = _read_frame(segment, offset)
        if found is not None:
            frame, offset = found
            yield frame
            continue
        behind = _find_next(segment, offset + 1, end)
        if behind is None:
            return
        yield Damage(offset, behind - offset)
        offset = behind


def _pack(kind: Kind, payload: bytes) -> bytes:
    size = len(payload)
    return _FRAME.pack(_MARK, kind, size, crc32(payload, _seed(kind, size))) + payload


@lru_cache(4096)
def _seed(kind: int, size: int) -> int:
    """Of the checksum. The length is in it: a payload that was cut or grew never agrees."""
    return crc32(b"%d %d" % (kind, size))


def _read_frame(segment: bytes, offset: int) -> tuple[Frame, int] | None:
    start = offset + FRAME_BYTES
    if start > len(segment):
        return None
    mark, kind, length, checksum = _FRAME.unpack_from(segment, offset)
    if mark != _MARK or length > LARGEST_FRAME_BYTES or start + length > len(segment):
        return None
    payload = segment[start : start + length]
    if crc32(payload, _seed(kind, length)) != checksum:
        return None
    try:
        if kind == INTENT:
            return Frame(_INTENTS.decode(payload)), start + length
        if kind == FINAL:
            return Frame(_FINALS.decode(payload)), start + length
    except (msgspec.DecodeError, ValueError):
        pass  # a later version's, or chance
    return None


def _find_next(segment: bytes, offset: int, end: int) -> int | None:
    """Where the next whole frame begins."""
    while (offset := segment.find(_MARK, offset, end)) >= 0:
        if _read_frame(segment, offset) is not None:
            return offset
        offset += 1
    return None
