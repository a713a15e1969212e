"""Gateway tokens: the visible half in `ownkey.gateway_tokens`, the hash in `ownkey_private.token_hashes`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from ownkey.storage.database import Database
from ownkey.storage.record_id import parse_record_id
from ownkey.storage.sql import query


class GatewayToken(Struct, frozen=True, kw_only=True):
    """What may be shown of a token. Times are UTC."""

    id: str
    name: str
    hint: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


async def insert_token(
    tx: Any,
    *,
    id: str,
    user_id: str,
    name: str,
    hash: bytes,
    hint: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
) -> None:
    """Store a new token of the transaction's user by its SHA-256."""
    key = UUID(id)
    await tx.execute(query("insert_token"), user_id, key, name, hint, list(scopes), expires_at)
    await tx.execute(query("insert_token_hash"), user_id, key, hash)


async def list_tokens(tx: Any) -> list[GatewayToken]:
    """The user's tokens, the newest first, revoked ones included."""
    return [GatewayToken(**{**row, "scopes": tuple(row["scopes"])}) for row in await tx.fetch(query("list_tokens"))]


async def revoke_token(tx: Any, token_id: str) -> bool:
    """End a token; False if there is none that was still valid."""
    key = parse_record_id(token_id)
    return key is not None and await tx.fetchval(query("revoke_token"), key) is not None


async def touch_tokens(db: Database, uses: Iterable[tuple[str, str, datetime]]) -> int:
    """Note last uses, given as (user id, token id, time); says how many tokens were known. Raises StorageError."""
    rows = [{"user_id": user_id, "id": token_id, "at": at} for user_id, token_id, at in uses]
    return int(await db.fetch_value("touch_tokens", msgspec.json.encode(rows).decode())) if rows else 0
