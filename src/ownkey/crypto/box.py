"""The one sealed-box format: versioned header, derived key, commitment, AES-256-GCM.

    magic(2) | ver=1 | alg=1 | key_version(4) | salt(32) | nonce(12) | commit(32) | ciphertext + tag(16)

`envelope` uses it for secrets and `wrapping` for data keys, with different magics and different purposes, so that
neither opens as the other. docs/reference/envelope.md describes every byte.

Why derive a key per record: a random 96-bit nonce is safe for 2^32 messages under one key. With a fresh key per
32-byte salt that limit never comes near, however many records a long-lived key seals. Why commit: AES-GCM alone lets
somebody build one ciphertext that opens under two keys.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ownkey.errors import CredentialUnreadable

KEY_BYTES: Final = 32
FORMAT_VERSION: Final = 1
AES_256_GCM: Final = 1

HEADER_BYTES: Final = 8
_SALT_END: Final = HEADER_BYTES + 32
_NONCE_END: Final = _SALT_END + 12
_COMMIT_END: Final = _NONCE_END + 32
_TAG_BYTES: Final = 16
# One byte of plaintext at least: nothing that is worth sealing is empty.
_SHORTEST: Final = _COMMIT_END + _TAG_BYTES + 1
_SHA256: Final = SHA256()


def unreadable() -> CredentialUnreadable:
    """The error for whatever does not open. One message for every cause: the difference helps only who tampers."""
    return CredentialUnreadable("A stored API key cannot be opened. Enter it again.")


def seal_box(key: bytes, plaintext: bytes, *, magic: bytes, purpose: str, key_version: int, fields: bytes) -> bytes:
    """Seal `plaintext` under `key` for `purpose`. `fields` is the packed tuple that the box is bound to.

    Raises ValueError for a key of the wrong length, an empty plaintext or a key version outside 32 bits.
    """
    if len(key) != KEY_BYTES or not plaintext:
        raise ValueError("a box needs a key of 32 bytes and a plaintext")
    if not 1 <= key_version < 2**32:
        raise ValueError("a key version lies between 1 and 2^32 - 1")
    header = magic + bytes((FORMAT_VERSION, AES_256_GCM)) + key_version.to_bytes(4, "big")
    salt, nonce = os.urandom(32), os.urandom(12)
    derived = HKDF(_SHA256, 64, salt, f"ownkey/{purpose}/v1".encode()).derive(key)
    ciphertext = AESGCM(derived[:32]).encrypt(nonce, plaintext, fields + header)
    return b"".join((header, salt, nonce, derived[32:], ciphertext))


class BoxOpener:
    """What it takes to open one box again and again: its derived key, which costs more than the opening."""

    __slots__ = ("_aad", "_box", "_cipher")

    def __init__(self, key: bytes, box: bytes, *, magic: bytes, purpose: str, fields: bytes) -> None:
        """Raises CredentialUnreadable for a box of another form or another key; its content may still not open."""
        if len(key) != KEY_BYTES or not is_box(box, magic):
            raise unreadable()
        derived = HKDF(_SHA256, 64, box[HEADER_BYTES:_SALT_END], f"ownkey/{purpose}/v1".encode()).derive(key)
        if not hmac.compare_digest(derived[32:], box[_NONCE_END:_COMMIT_END]):
            raise unreadable()
        self._cipher, self._box, self._aad = AESGCM(derived[:32]), box, fields + box[:HEADER_BYTES]

    def open(self) -> bytes:
        """The plaintext. Raises CredentialUnreadable for anything that is not exactly what was sealed."""
        box = self._box
        try:
            return self._cipher.decrypt(box[_SALT_END:_NONCE_END], box[_COMMIT_END:], self._aad)
        except InvalidTag:
            pass
        # Outside the except block: an exception keeps the one it was raised under as its context.
        raise unreadable()


def open_box(key: bytes, box: bytes, *, magic: bytes, purpose: str, fields: bytes) -> bytes:
    """The plaintext of a box. Raises CredentialUnreadable for anything that is not exactly what was sealed."""
    return BoxOpener(key, box, magic=magic, purpose=purpose, fields=fields).open()


def is_box(box: bytes, magic: bytes) -> bool:
    """Whether the bytes have the form of a box of this version; says nothing about whether they open."""
    return len(box) >= _SHORTEST and box[:2] == magic and box[2] == FORMAT_VERSION and box[3] == AES_256_GCM


def read_key_version(box: bytes, magic: bytes) -> int:
    """The version of the key that sealed this box. Raises CredentialUnreadable for anything but a box."""
    if not is_box(box, magic):
        raise unreadable()
    return int.from_bytes(box[4:HEADER_BYTES], "big")


def pack_fields(*fields: str | int) -> bytes:
    """The tuple as bytes, each field after its length in four bytes; an integer is eight bytes, big-endian.

    The lengths make it injective: ("ab", "c") and ("a", "bc") differ. Raises ValueError for a negative number,
    one beyond 64 bits, or text that is not Unicode.
    """
    parts: list[bytes] = []
    for field in fields:
        if isinstance(field, str):
            packed = field.encode()
        elif 0 <= field < 2**64:
            packed = field.to_bytes(8, "big")
        else:
            raise ValueError("a bound number lies between 0 and 2^64 - 1")
        parts += (len(packed).to_bytes(4, "big"), packed)
    return b"".join(parts)
