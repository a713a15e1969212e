"""Seals of one dialect inside another: a client gives back what it was given, and the seal finds its way home.

A client's dialect has a field of its own for opaque reasoning (Anthropic's `signature`, `encrypted_content` of
Responses, `thoughtSignature`, `reasoning_details`). A seal of that same dialect stands there as it is; another
one is wrapped. Clients keep these fields and never read them.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from ownkey.domain.provider import Dialect
from ownkey.providers.conversation import Seal

# What a foreign seal begins with in a client's opaque field; in Gemini's, inside the base64.
PREFIX: Final = "ownkey1."
_SEAL: Final = msgspec.json.Decoder(Seal)


def write_seal(seal: Seal, into: Dialect) -> str:
    """The text for a client's opaque field: the seal itself, or behind a prefix in URL-safe base64.

    Gemini's field must be base64 throughout, so the prefix is inside it there.
    """
    if seal.dialect is into and seal.id is None and not seal.redacted:
        return seal.data
    packed = msgspec.json.encode(seal)
    if into is Dialect.GEMINI:
        return base64.b64encode(PREFIX.encode() + packed).decode()
    return PREFIX + base64.urlsafe_b64encode(packed).decode()


def read_seal(text: str, outof: Dialect) -> Seal:
    """The seal in a client's opaque field; one without our prefix is of the client's own dialect."""
    try:
        if outof is Dialect.GEMINI:
            raw = base64.b64decode(text, validate=True)
            packed = raw.removeprefix(PREFIX.encode()) if raw.startswith(PREFIX.encode()) else b""
        else:
            packed = base64.urlsafe_b64decode(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else b""
        if packed:
            return _SEAL.decode(packed)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        pass
    return Seal(outof, text)
