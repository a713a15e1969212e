"""Sessions of people and of panels in host pages, found by the SHA-256 of what the browser shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ownkey.domain.account import SessionKind, SignInMethod
from ownkey.domain.user import Role, UserStatus
from ownkey.storage.database import Database
from ownkey.storage.record_id import parse_record_id
from ownkey.storage.sql import query


class SessionOwner(Struct, frozen=True, kw_only=True):
    """Whose session it is, as of this moment. Times are UTC; `scopes` are those of a panel token."""

    session_id: str
    user_id: str
    role: Role
    status: UserStatus
    scopes: tuple[str, ...]
    origin: str | None
    created_at: datetime
    authenticated_at: datetime
    expires_at: datetime


class Session(Struct, frozen=True, kw_only=True):
    """What its owner may see of a session. Times are UTC."""

    id: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    method: str
    user_agent: str | None


_OWNER: Final = msgspec.json.Decoder(SessionOwner)


async def load_session(
    db: Database, token_hash: bytes, kind: SessionKind, idle_seconds: float | None
) -> SessionOwner | None:
    """The session of this hash if it still holds: one query, never cached. Raises StorageError."""
    text = await db.fetch_value("load_session", token_hash, kind, idle_seconds)
    return None if text is None else _OWNER.decode(text)


async def insert_session(
    tx: Any,
    *,
    id: str,
    user_id: str,
    hash: bytes,
    kind: SessionKind,
    method: SignInMethod,
    scopes: Sequence[str],
    origin: str | None,
    user_agent: str | None,
    authenticated_at: datetime,
    expires_at: datetime,
) -> None:
    """Store a session of the transaction's user."""
    await tx.execute(
        query("insert_session"),
        user_id,
        UUID(id),
        hash,
        kind,
        method,
        list(scopes),
        origin,
        user_agent,
        authenticated_at,
        expires_at,
    )


async def list_sessions(tx: Any, idle_seconds: float) -> list[Session]:
    """The user's sessions that still hold, without panel tokens."""
    return [Session(**row) for row in await tx.fetch(query("list_sessions"), idle_seconds)]


async def rotate_session(tx: Any, session_id: str, hash: bytes, authenticated_at: datetime) -> datetime | None:
    """Give the session another hash; when it ends, or None if it is over."""
    key = parse_record_id(session_id)
    if key is None:
        return None
    ends: datetime | None = await tx.fetchval(query("rotate_session"), key, hash, authenticated_at)
    return ends


async def end_session(tx: Any, session_id: str) -> bool:
    """End one session or panel token; False if there was none."""
    key = parse_record_id(session_id)
    return key is not None and await tx.fetchval(query("end_session"), key) is not None


async def end_sessions(tx: Any, *, keep: str | None = None) -> int:
    """End all sessions and panel tokens of the user but `keep`; says how many there were."""
    return int(await tx.fetchval(query("end_sessions"), keep and UUID(keep)))


async def sweep_sessions(tx: Any, limit: int) -> None:
    """Delete what has ended, and the longest unused beyond `limit`."""
    await tx.execute(query("sweep_sessions"), limit)
