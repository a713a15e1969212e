"""Everything that is kept of one user, for them to take away: as one JSON document, piece by piece, without a secret.

No transaction is open while a piece is on its way, so a slow reader holds up nothing; what changes meanwhile may show
in the later pieces and not in the earlier ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct, convert

from ownkey.domain.audit import AuditEntry
from ownkey.domain.credential import Credential
from ownkey.domain.settings import Preference, Settings, TaskOverride
from ownkey.errors import NotFound
from ownkey.services.changes import Changes
from ownkey.services.expiry import utc_now
from ownkey.storage import accounts, audit, credentials, sessions, settings, tokens, usage, users
from ownkey.storage.sessions import Session
from ownkey.storage.tokens import GatewayToken
from ownkey.storage.usage import UsageDay
from ownkey.storage.users import User

FORMAT: Final = "ownkey-export"
VERSION: Final = 1
_PAGE: Final = 500


class SignsInWith(Struct, frozen=True, kw_only=True):
    """The account, without what proves that one owns it."""

    login: str
    display_name: str | None
    password_changed_at: datetime | None


class Holdings(Struct, frozen=True, kw_only=True):
    """What is small: read at one moment."""

    format: str = FORMAT
    version: int = VERSION
    exported_at: datetime
    user: User
    settings: Settings
    preferences: list[Preference]
    tasks: list[TaskOverride]
    credentials: list[Credential]
    tokens: list[GatewayToken]
    account: SignsInWith | None
    sessions: list[Session]


class Export:
    """Writes the document. Its lists of usage and audit entries are read page by page."""

    def __init__(self, changes: Changes, *, session_idle_seconds: float, now: Callable[[], datetime] = utc_now) -> None:
        self._changes, self._session_idle_seconds, self._now = changes, session_idle_seconds, now

    async def open(self, user_id: str) -> AsyncIterator[bytes]:
        """The pieces of the document. Raises NotFound(user_not_found) before the first of them."""
        async with self._changes.read(user_id) as tx:
            user = await users.find_user(tx, user_id)
            if user is None:
                raise NotFound("There is no such user.", code="user_not_found")
            account = await accounts.find_account(tx)
            holdings = Holdings(
                exported_at=self._now(),
                user=user,
                settings=await settings.get_settings(tx),
                preferences=await settings.list_preferences(tx),
                tasks=await settings.list_task_overrides(tx),
                credentials=await credentials.list_credentials(tx),
                tokens=await tokens.list_tokens(tx),
                account=None if account is None else convert(account, SignsInWith, from_attributes=True),
                sessions=await sessions.list_sessions(tx, self._session_idle_seconds),
            )
        return self._write(user_id, holdings)

    async def _write(self, user_id: str, holdings: Holdings) -> AsyncIterator[bytes]:
        yield msgspec.json.encode(holdings)[:-1] + b',\n"usage_daily":['
        separator = b"\n"
        day: UsageDay | None = None
        while True:
            async with self._changes.read(user_id) as tx:
                days = await usage.list_days(tx, after=day, limit=_PAGE)
            if days:
                yield separator + _join(days)
                separator = b",\n"
                day = days[-1]
            if len(days) < _PAGE:
                break
        yield b'],\n"audit":['
        separator = b"\n"
        entry: AuditEntry | None = None
        while True:
            async with self._changes.read(user_id) as tx:
                entries = await audit.list_entries(tx, limit=_PAGE, before=None if entry is None else entry.id)
            if entries:
                yield separator + _join(entries)
                separator = b",\n"
                entry = entries[-1]
            if len(entries) < _PAGE:
                break
        yield b"]}\n"


def _join(rows: Sequence[Any]) -> bytes:
    return b",\n".join(msgspec.json.encode(row) for row in rows)
