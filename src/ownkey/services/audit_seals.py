"""Sealing what is appended to the audit chain, in the transaction that appends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ownkey.crypto.audit_seal import AUDIT_OWNER, AuditKey
from ownkey.crypto.data_keys import DataKeys
from ownkey.domain.audit_chain import hash_entry
from ownkey.errors import ConfigError, CredentialUnreadable, DataKeyClosed, KeyServiceAway, StorageError
from ownkey.storage import audit as rows
from ownkey.storage import data_keys as key_rows
from ownkey.storage import wrapping_keys
from ownkey.storage.database import Database


async def open_audit_key(database: Database, data_keys: DataKeys, deployment_id: str) -> AuditKey:
    """The key of this installation's seals. The first process makes it, and seals begin then.

    Never again: whoever takes the start of the seals away does not get another one, behind everything that they wrote.

    Raises StorageError, and ConfigError when the wrapping keys that are loaded do not open it.
    """
    async with database.transaction(AUDIT_OWNER) as tx:
        stored, begins = await key_rows.get_data_key(tx, AUDIT_OWNER), False
        if stored is None:
            made = await data_keys.make(AUDIT_OWNER, await wrapping_keys.lock_primary(tx))
            stored = await key_rows.put_data_key(tx, AUDIT_OWNER, made.wrapped, made.wrapping_key_id, made.version)
            begins = stored[0] == made.wrapped  # else another process was quicker
        try:
            data_key = await data_keys.load(AUDIT_OWNER, *stored)
        except KeyServiceAway as error:
            raise ConfigError(f"The audit trail cannot be sealed: {error.message}") from None
        except (CredentialUnreadable, DataKeyClosed):
            raise ConfigError(
                f"The audit trail cannot be sealed: its key is wrapped by {stored[1]!r}, which is not among the "
                "wrapping keys of this server, or is another key of that name."
            ) from None
        key = AuditKey(data_key, deployment_id)
        if begins and (heads := await rows.lock_heads(tx)):
            await rows.start_seals(tx, {one.chain: key.seal_start(one.chain, one.position, one.hash) for one in heads})
        return key


class AuditSeals:
    """Seals entries before their transaction commits."""

    def __init__(self, key: AuditKey) -> None:
        self._key = key

    async def seal(self, tx: Any, entries: Sequence[rows.AuditRow]) -> None:
        """Seal what `append` gave: the hash was computed from what was handed to the database."""
        if entries:
            seals = {one.id: self._key.seal(one.chain, one.position, one.hash) for one in entries}
            await rows.seal(tx, seals)

    async def seal_rest(self, tx: Any) -> None:
        """Seal what functions of the database have appended in this transaction.

        Raises StorageError(audit_broken) for an entry whose hash is not that of its content.
        """
        entries = await rows.list_unsealed(tx)
        for one in entries:
            if one.hash != recompute_hash(one):
                raise StorageError("The database has written an audit entry with a wrong hash.", code="audit_broken")
        await self.seal(tx, entries)


def recompute_hash(row: rows.AuditRow) -> bytes:
    """What the hash of a stored entry must be."""
    return hash_entry(
        row.previous_hash,
        id=row.id,
        chain=row.chain,
        position=row.position,
        occurred_at=row.occurred_at,
        actor=row.actor,
        user_id=row.user_id,
        action=row.action,
        subject=row.subject,
        details=row.details,
    )
