"""Tokens: a prefix that says what for, 43 characters of randomness and a checksum of six. Only their hash is stored."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Final

PREFIX: Final = "ok-"
PANEL_PREFIX: Final = "okp-"
SESSION_PREFIX: Final = "oks-"
LINK_PREFIX: Final = "okl-"
TOKEN_LENGTH: Final = 52

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# 62^43 > 2^256 and 62^6 > 2^32: the shortest fixed widths.
_RANDOM_WIDTH: Final = 43
_CHECKSUM_WIDTH: Final = 6
_FORM = re.compile(rf"(ok[psl]?-)[0-9A-Za-z]{{{_RANDOM_WIDTH + _CHECKSUM_WIDTH}}}", re.ASCII)


def mint_token(prefix: str = PREFIX) -> tuple[str, bytes]:
    """A new token, to be shown once, and its hash, to be stored."""
    body = prefix + _encode(secrets.randbits(256), _RANDOM_WIDTH)
    token = body + _checksum(body)
    return token, hashlib.sha256(token.encode()).digest()


def hash_token(token: str, prefix: str = PREFIX) -> bytes | None:
    """The SHA-256 of a token, or None if it is not one of this kind: a mistyped token costs no query.

    A plain hash is enough: nobody guesses 256 random bits, so there is nothing for a slow hash to slow down.
    """
    form = _FORM.fullmatch(token)
    if form is None or form[1] != prefix:
        return None
    body = token[:-_CHECKSUM_WIDTH]
    # The checksum is no secret: whoever knows the body can compute it.
    if token[-_CHECKSUM_WIDTH:] != _checksum(body):
        return None
    return hashlib.sha256(token.encode()).digest()


def token_hint(token: str) -> str:
    """`ok-…AbCd`, by which a person tells their tokens apart. The four characters belong to the checksum."""
    return f"{PREFIX}…{token[-4:]}"


def _checksum(body: str) -> str:
    return _encode(zlib.crc32(body.encode()), _CHECKSUM_WIDTH)


def _encode(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
