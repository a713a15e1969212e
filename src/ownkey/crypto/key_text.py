"""The text form of wrapping keys, `id:base64`, and the refusal of keys that are not random."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Final

from ownkey.crypto.box import KEY_BYTES
from ownkey.crypto.known_words import KNOWN_WORDS
from ownkey.errors import ConfigError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_SERVICE = re.compile(r"\s*[a-z][a-z0-9+]*://\S+\s*\Z", re.ASCII)
_HOW_TO_MAKE_ONE: Final = "`ownkey keygen` prints a good one."

# 32 random bytes hold 30.1 distinct values on average, and fewer than 20 once in 7 * 10^9 keys. Their 31 differences
# from one byte to the next are as varied; in a counting sequence they are all equal.
_FEWEST_DISTINCT: Final = 20

# The wrapping keys of the published test vectors.
_VECTOR_NAMES: Final = ("first", "later")
_HASHES: Final[tuple[Callable[[str], bytes], ...]] = (
    lambda text: hashlib.sha256(text.encode()).digest(),
    lambda text: hashlib.sha256(hashlib.sha256(text.encode()).digest()).digest(),
    lambda text: hashlib.sha3_256(text.encode()).digest(),
    lambda text: hashlib.blake2s(text.encode()).digest(),
    lambda text: hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest(),
    lambda text: hashlib.sha512(text.encode()).digest()[:KEY_BYTES],
    lambda text: hashlib.sha384(text.encode()).digest()[:KEY_BYTES],
)


def generate_key_line() -> str:
    """A new `id:base64` line of 32 random bytes; the id tells keys apart and holds nothing of the key."""
    return f"k{secrets.token_hex(4)}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def parse_keys(text: str) -> dict[str, bytes]:
    """Keys by id in their order, from commas or lines; `#` starts a comment line.

    Raises ConfigError. The message names the id or the position, never a part of a key.
    """
    keys = {key_id: entry for key_id, entry in parse_entries(text).items() if isinstance(entry, bytes)}
    if not keys:
        raise ConfigError(f"No wrapping key is given. {_HOW_TO_MAKE_ONE}")
    return keys


def parse_entries(text: str) -> dict[str, bytes | str]:
    """The same with keys at key services, which are URLs. Raises ConfigError."""
    keys: dict[str, bytes | str] = {}
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
    for position, entry in enumerate(entries, start=1):
        key_id, key = _parse_entry(entry, position)
        if key_id in keys:
            raise ConfigError(f"The wrapping key id {key_id!r} occurs twice. Every key needs its own id.")
        if key in keys.values():
            raise ConfigError(f"Wrapping key {key_id!r} is the same as another one. {_HOW_TO_MAKE_ONE}")
        keys[key_id] = key
    if not keys:
        raise ConfigError(f"No wrapping key is given. {_HOW_TO_MAKE_ONE}")
    return keys


def _parse_entry(entry: str, position: int) -> tuple[str, bytes | str]:
    key_id, colon, encoded = entry.partition(":")
    if not colon or not _ID.fullmatch(key_id):
        # The entry is not repeated: without its id it may be the bare key.
        raise ConfigError(f"Wrapping key {position} is not of the form id:base64. {_HOW_TO_MAKE_ONE}")
    if _SERVICE.match(encoded):
        return key_id, encoded.strip()
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
        or key in _known_keys()
    )


@cache
def _known_keys() -> frozenset[bytes]:
    """Public ways to 32 bytes: a common word through a common hash, as the word is typed and as `echo` gives it."""
    written = {form for word in KNOWN_WORDS for form in (word, word.capitalize(), word.upper())}
    texts = [form + end for form in written for end in ("", "\n", "1", "123", "!")]
    known = {hash_text(text) for text in texts for hash_text in _HASHES}
    known |= {
        hashlib.shake_256(f"ownkey published test vector: {name} wrapping key".encode()).digest(KEY_BYTES)
        for name in _VECTOR_NAMES
    }
    return frozenset(known)
