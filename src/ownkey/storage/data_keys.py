"""Rows of `ownkey_private.data_keys`: one wrapped data key per user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from ownkey.storage.database import Database
from ownkey.storage.sql import query


class StoredDataKey(Struct, frozen=True, kw_only=True):
    """A wrapped data key with its owner, as rotation sees it."""

    user_id: str
    wrapped: bytes
    wrapping_key_id: str
    version: int


async def get_data_key(tx: Any, user_id: str) -> tuple[bytes, str, int] | None:
    """(wrapped, wrapping key id, version) of the user, or None."""
    row = await tx.fetchrow(query("get_data_key"), user_id)
    return None if row is None else (row["wrapped"], row["wrapping_key_id"], row["version"])


async def read_data_key(database: Database, user_id: str) -> tuple[bytes, str, int] | None:
    """The same in a transaction of its own. Raises StorageError."""
    async with database.transaction(user_id) as tx:
        return await get_data_key(tx, user_id)


async def put_data_key(
    tx: Any, user_id: str, wrapped: bytes, wrapping_key_id: str, version: int
) -> tuple[bytes, str, int]:
    """Store the user's first data key and give the one that counts: another process may have been quicker."""
    await tx.execute(query("insert_data_key"), user_id, wrapped, wrapping_key_id, version)
    stored = await get_data_key(tx, user_id)
    if stored is None:
        raise LookupError("the data key that was just stored is not in sight: the transaction has another identity")
    return stored


async def count_by_wrapping_key(tx: Any) -> dict[str, int]:
    """How many data keys each wrapping key wraps. `tx` has the role `ownkey_rotator`."""
    return {row["wrapping_key_id"]: row["keys"] for row in await tx.fetch(query("count_data_keys"))}


async def lock_data_keys(tx: Any, wrapping_key_id: str, limit: int) -> list[StoredDataKey]:
    """Up to `limit` keys under this wrapping key that nobody else is rotating. `tx` has the role `ownkey_rotator`."""
    rows = await tx.fetch(query("lock_data_keys"), wrapping_key_id, limit)
    return [StoredDataKey(**dict(row)) for row in rows]


async def swap_data_key(tx: Any, old: StoredDataKey, wrapped: bytes, wrapping_key_id: str) -> bool:
    """Put the same key in a new wrapping; False if the row is not what `old` says any more."""
    swapped = await tx.fetchval(
        query("swap_data_key"), old.user_id, old.wrapping_key_id, old.version, wrapping_key_id, wrapped
    )
    return swapped is not None


async def swap_data_keys(
    tx: Any, wrapping_key_id: str, renewed: Sequence[tuple[StoredDataKey, bytes]], new_wrapping_key_id: str
) -> int:
    """Put many keys under `wrapping_key_id` in new wrappings; says how many rows were what was expected."""
    return int(
        await tx.fetchval(
            query("swap_data_keys"),
            [old.user_id for old, _ in renewed],
            wrapping_key_id,
            [old.version for old, _ in renewed],
            [wrapped for _, wrapped in renewed],
            new_wrapping_key_id,
        )
    )
