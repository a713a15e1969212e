"""The text form of wrapping keys, `id:base64`, and the refusal of keys that are not random."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from itertools import pairwise
from typing import Final

from ownkey.crypto.box import KEY_BYTES
from ownkey.errors import ConfigError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_HOW_TO_MAKE_ONE: Final = "`ownkey keygen` prints a good one."

# 32 random bytes hold 30.1 distinct values on average, and fewer than 20 once in 7 * 10^9 keys. Their 31 differences
# from one byte to the next are as varied; in a counting sequence they are all equal.
_FEWEST_DISTINCT: Final = 20

# What people and examples hash or encode to get 32 bytes: public, so as good as no key.
_KNOWN_WORDS: Final = (
    "",
    "admin",
    "changeme",
    "change-me",
    "default",
    "dev",
    "development",
    "example",
    "key",
    "master",
    "masterkey",
    "ownkey",
    "password",
    "secret",
    "secretkey",
    "test",
)
# The wrapping keys of the published test vectors.
_VECTOR_NAMES: Final = ("first", "later")
_KNOWN_KEYS: Final = frozenset(
    [
        getattr(hashlib, algorithm)(word.encode()).digest()
        for word in _KNOWN_WORDS
        for algorithm in ("sha256", "sha3_256", "blake2s")
    ]
    + [
        hashlib.shake_256(f"ownkey published test vector: {name} wrapping key".encode()).digest(KEY_BYTES)
        for name in _VECTOR_NAMES
    ]
)


def generate_key_line() -> str:
    """A new `id:base64` line of 32 random bytes; the id tells keys apart and holds nothing of the key."""
    return f"k{secrets.token_hex(4)}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def parse_keys(text: str) -> dict[str, bytes]:
    """Keys by id in their order, from commas or lines; `#` starts a comment line.

    Raises ConfigError. The message names the id or the position, never a part of a key.
    """
    keys: dict[str, bytes] = {}
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
    for position, entry in enumerate(entries, start=1):
        key_id, key = _parse_entry(entry, position)
        if key_id in keys:
            raise ConfigError(f"The wrapping key id {key_id!r} occurs twice. Every key needs its own id.")
        if key in keys.values():
            raise ConfigError(f"Wrapping key {key_id!r} has the same bytes as another one. {_HOW_TO_MAKE_ONE}")
        keys[key_id] = key
    if not keys:
        raise ConfigError(f"No wrapping key is given. {_HOW_TO_MAKE_ONE}")
    return keys


def _parse_entry(entry: str, position: int) -> tuple[str, bytes]:
    key_id, colon, encoded = entry.partition(":")
    if not colon or not _ID.fullmatch(key_id):
        # The entry is not repeated: without its id it may be the bare key.
        raise ConfigError(f"Wrapping key {position} is not of the form id:base64. {_HOW_TO_MAKE_ONE}")
    key = _decode(encoded.strip())
    if key is None or len(key) != KEY_BYTES:
        raise ConfigError(f"Wrapping key {key_id!r} is not the base64 of {KEY_BYTES} bytes. {_HOW_TO_MAKE_ONE}")
    if _is_weak(key):
        raise ConfigError(
            f"Wrapping key {key_id!r} is not random: it is a known, repeated or typed value. {_HOW_TO_MAKE_ONE}"
        )
    return key_id, key


def _decode(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        return None


def _is_weak(key: bytes) -> bool:
    differences = {(after - before) % 256 for before, after in pairwise(key)}
    return (
        len(set(key)) < _FEWEST_DISTINCT
        or len(differences) < _FEWEST_DISTINCT
        # Text: one random key in 10^14 is printable ASCII throughout.
        or all(0x20 <= byte < 0x7F or byte in b"\t\n\r" for byte in key)
        or key in _KNOWN_KEYS
    )
