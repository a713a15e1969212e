"""The hash of an audit entry, as PostgreSQL computes it in `audit_hash`, made by other means.

SHA-256 over the hash of the entry before and this one's canonical form: a fixed label, then each field as its length
in UTF-8 (4 bytes, big-endian) and its bytes, ff ff ff ff for none. A function of the database is its owner's to
replace, so whoever seals or verifies an entry computes its hash here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

CHAINS: Final = 8
_LABEL: Final = b"ownkey-audit-v1"
_NONE: Final = b"\xff\xff\xff\xff"


def hash_entry(
    previous_hash: bytes,
    *,
    id: int,
    chain: int,
    position: int,
    occurred_at: datetime | None,
    actor: str,
    user_id: str,
    action: str,
    subject: str | None,
    details: str,
) -> bytes:
    """SHA-256 of an entry that follows the one with `previous_hash`. `details` is the JSON text as it is stored.

    `occurred_at` None is no time of ours, and neither is the hash then that of an entry.
    """
    moment = None if occurred_at is None else occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = (str(id), str(chain), str(position), moment, actor, user_id, action, subject, details)
    return sha256(previous_hash + _LABEL + b"".join(map(_pack, fields))).digest()


def first_hash(chain: int) -> bytes:
    """What the first entry of a chain follows."""
    return sha256(b"%b chain %d" % (_LABEL, chain)).digest()


def _pack(value: str | None) -> bytes:
    if value is None:
        return _NONE
    data = value.encode()
    return len(data).to_bytes(4, "big") + data
