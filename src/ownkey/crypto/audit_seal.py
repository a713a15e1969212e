"""Seals on the audit chain that only who holds the key can make: whoever owns the database can recompute every hash.

A seal is an HMAC over an entry's hash and place. Anchors, which are copies of the chains' ends kept elsewhere, are
signed with the same key.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ownkey.crypto.box import KEY_BYTES, pack_fields

# No user can have it: ids hold no control characters.
AUDIT_OWNER: Final = "\x01audit"


class AuditKey:
    """Makes and checks the seals of one installation. `data_key`: that of `AUDIT_OWNER`."""

    __slots__ = ("_deployment_id", "_key")

    def __init__(self, data_key: bytes, deployment_id: str) -> None:
        derive = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"ownkey/audit-seal/v1")
        self._key, self._deployment_id = derive.derive(data_key), deployment_id

    def __repr__(self) -> str:
        return "AuditKey()"

    def seal(self, chain: int, position: int, entry_hash: bytes) -> bytes:
        """Of an entry with this hash at this place."""
        return self._sign("entry", chain, position, entry_hash)

    def seal_start(self, chain: int, position: int, head: bytes) -> bytes:
        """Of the place behind which every entry of a chain has a seal."""
        return self._sign("start", chain, position, head)

    def sign_anchor(self, text: bytes) -> bytes:
        """Of a line with the ends of all chains."""
        return self._sign("anchor", 0, 0, text)

    def _sign(self, kind: str, chain: int, position: int, content: bytes) -> bytes:
        digest = sha256(content).hexdigest()
        fields = pack_fields("ownkey/audit-seal", self._deployment_id, kind, chain, position, digest)
        return hmac.digest(self._key, fields, "sha256")
