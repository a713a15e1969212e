"""By which class of service OpenAI answered: a field beside the usage, not inside it, and with a price of its own."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Struct

_FIELD: Final = b'"service_tier"'
_TIER: Final = re.compile(r"[a-z_]{1,20}", re.ASCII)


class _Response(Struct):
    service_tier: str | None = None


class _Answer(Struct):
    service_tier: str | None = None
    response: _Response | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def names_tier(data: bytes) -> bool:
    """Whether it is worth reading. In a text of the model's the quotes would be escaped."""
    return data.find(_FIELD) >= 0


def read_tier(data: bytes) -> str | None:
    """The tier that a whole answer, or the last event of a part of a stream, names."""
    if not names_tier(data):
        return None
    if data.lstrip().startswith(b"{"):
        return _read(data)
    lines = [line[5:] for line in data.split(b"\n") if line.startswith(b"data:")]
    return next((tier for line in reversed(lines) if (tier := _read(line)) is not None), None)


def _read(body: bytes) -> str | None:
    try:
        answer = _ANSWER.decode(body)
    except _UNREADABLE:
        return None
    tier = answer.service_tier or (answer.response.service_tier if answer.response is not None else None)
    return tier if tier is not None and _TIER.fullmatch(tier) else None
