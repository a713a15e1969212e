"""Sessions: who is signed in, until when, and how that ends at once in every process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from ownkey.crypto.tokens import PANEL_PREFIX, SESSION_PREFIX, hash_token, mint_token
from ownkey.domain.account import SignInMethod
from ownkey.domain.audit import AuditAction
from ownkey.domain.origin import parse_origin
from ownkey.domain.usage import new_id
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import AuthError, NotFound, PermissionDenied, RequestError
from ownkey.services.changes import Change, Changes
from ownkey.services.expiry import utc_now
from ownkey.services.llm_config_manager import LLMConfigManager
from ownkey.storage import accounts
from ownkey.storage import sessions as rows
from ownkey.storage import users as user_rows
from ownkey.storage.database import Database
from ownkey.storage.sessions import Session, SessionOwner

SESSIONS_LIMIT: Final = 100
PANEL_SCOPES: Final = ("settings", "usage", "admin")
PANEL_TTL_SECONDS: Final = 600
PANEL_TTL_RANGE: Final = (60, 3600)
_USER_AGENT_LENGTH: Final = 200
_ORIGIN_LENGTH: Final = 300


class Visitor(Struct, frozen=True, kw_only=True):
    """What is known of the browser that signs in. `shown` is the session cookie that it brought, if any."""

    address: str | None = None
    user_agent: str | None = None
    shown: str | None = None


class StartedSession(Struct, frozen=True, kw_only=True):
    """A session just made or renewed. `token` goes into the cookie and is stored nowhere."""

    token: str
    id: str
    user_id: str
    authenticated_at: datetime
    expires_at: datetime

    def __repr__(self) -> str:
        return f"StartedSession(id={self.id!r}, user_id={self.user_id!r})"


class PanelToken(Struct, frozen=True, kw_only=True):
    """What a host page gives to its panel. `text` cannot be had again."""

    text: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"PanelToken(expires_at={self.expires_at!r})"


class SessionService:
    """Every look-up is one query and nothing is cached: what is ended here is over in every process.

    `idle_seconds` is how long a session lasts without a request, `lifetime_seconds` how long at most.
    """

    def __init__(
        self,
        changes: Changes,
        database: Database,
        manager: LLMConfigManager,
        *,
        idle_seconds: float,
        lifetime_seconds: float,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._changes, self._database, self._manager, self._now = changes, database, manager, now
        self._idle_seconds, self._lifetime = idle_seconds, timedelta(seconds=lifetime_seconds)

    async def find(self, token: str) -> SessionOwner | None:
        """The session of a cookie, if it still holds. Raises StorageError."""
        digest = hash_token(token, SESSION_PREFIX)
        if digest is None:
            return None
        return await rows.load_session(self._database, digest, "session", self._idle_seconds)

    async def find_panel(self, token: str) -> SessionOwner | None:
        """The owner of a panel token, if it still holds. Raises StorageError."""
        digest = hash_token(token, PANEL_PREFIX)
        return None if digest is None else await rows.load_session(self._database, digest, "panel", None)

    async def start(
        self, user_id: str, visitor: Visitor, *, method: SignInMethod, proved_at: datetime | None = None
    ) -> StartedSession:
        """Sign in somebody who has proved elsewhere who they are, at `proved_at` (None: just now); load their settings.

        A user who is new is created. Raises PermissionDenied(user_suspended).
        """
        async with self._changes.begin(user_id) as change:
            started = await self.insert(change, visitor, method=method, proved_at=proved_at)
        return await self.finish_start(started, visitor)

    async def insert(
        self,
        change: Change,
        visitor: Visitor,
        *,
        method: SignInMethod,
        proved_at: datetime | None = None,
        **details: object,
    ) -> StartedSession:
        """The rows of a new session, inside a change; `finish_start` does the rest once that is committed.

        The token is always a new one: what the browser brought is never made valid.
        """
        user = await user_rows.find_user(change.tx, change.user_id)
        if user is None or user.status is not UserStatus.ACTIVE:
            raise PermissionDenied("This user is suspended. Ask the administrator.", code="user_suspended")
        token, digest = mint_token(SESSION_PREFIX)
        now, session_id = self._now(), new_id()
        await rows.sweep_sessions(change.tx, SESSIONS_LIMIT - 1)
        await rows.insert_session(
            change.tx,
            id=session_id,
            user_id=change.user_id,
            hash=digest,
            kind="session",
            method=method,
            scopes=(),
            origin=None,
            user_agent=visitor.user_agent and visitor.user_agent[:_USER_AGENT_LENGTH],
            authenticated_at=proved_at or now,
            expires_at=now + self._lifetime,
        )
        await change.record(AuditAction.SESSION_STARTED, session_id, method=method, **details)
        return StartedSession(
            token=token,
            id=session_id,
            user_id=change.user_id,
            authenticated_at=proved_at or now,
            expires_at=now + min(self._lifetime, timedelta(seconds=self._idle_seconds)),
        )

    async def finish_start(self, started: StartedSession, visitor: Visitor) -> StartedSession:
        """End the session that the browser had before, and load the settings of whoever has come."""
        if visitor.shown is not None and (before := await self.find(visitor.shown)) is not None:
            with suppress(NotFound):  # it has ended meanwhile
                await self.end(before.user_id, before.session_id)
        await self._manager.load_user_settings(started.user_id)
        return started

    async def renew(self, change: Change, session_id: str) -> StartedSession:
        """The same session with another token, by somebody who has just proved who they are; the old token is dead.

        Raises AuthError(session_ended).
        """
        token, digest = mint_token(SESSION_PREFIX)
        now = self._now()
        ends = await rows.rotate_session(change.tx, session_id, digest, now)
        if ends is None:
            raise AuthError("Your session has ended. Sign in again.", code="session_ended")
        await change.record(AuditAction.SESSION_CONFIRMED, session_id)
        return StartedSession(
            token=token,
            id=session_id,
            user_id=change.user_id,
            authenticated_at=now,
            expires_at=min(ends, now + timedelta(seconds=self._idle_seconds)),
        )

    async def list_sessions(self, user_id: str) -> list[Session]:
        """Where the user is signed in, the latest used first."""
        async with self._changes.read(user_id) as tx:
            return await rows.list_sessions(tx, self._idle_seconds)

    async def end(self, user_id: str, session_id: str, *, actor: str | None = None) -> None:
        """End one session or panel token of the user. Raises NotFound."""
        async with self._changes.begin(user_id, actor, create=False) as change:
            if not await rows.end_session(change.tx, session_id):
                raise NotFound("There is no such session.")
            await change.record(AuditAction.SESSION_ENDED, session_id)

    async def end_all(self, user_id: str, *, actor: str | None = None) -> int:
        """Sign out everywhere: all sessions and panel tokens, and what a host signed before now; says how many.

        Gateway tokens stay: they are revoked one by one.
        """
        async with self._changes.begin(user_id, actor, create=False) as change:
            ended = await end_everything(change)
        await self._manager.clear_user_settings(user_id, actor=actor)
        return ended

    async def open_panel(
        self,
        user_id: str,
        *,
        scopes: Sequence[str] = ("settings",),
        ttl_seconds: int = PANEL_TTL_SECONDS,
        origin: str | None = None,
        actor: str | None = None,
    ) -> PanelToken:
        """A token for a panel in a page of `origin`; None: only in pages of this server's own origin.

        Raises RequestError and PermissionDenied (user_suspended; the scope `admin` for somebody who is none).
        """
        wanted = check_panel_scopes(scopes)
        low, high = PANEL_TTL_RANGE
        if not low <= ttl_seconds <= high:
            raise RequestError(f"A panel token lasts {low} to {high} seconds.", param="ttl_seconds")
        text, digest = mint_token(PANEL_PREFIX)
        now, token_id = self._now(), new_id()
        expires_at = now + timedelta(seconds=ttl_seconds)
        async with self._changes.begin(user_id, actor) as change:
            user = await user_rows.find_user(change.tx, user_id)
            if user is None or user.status is not UserStatus.ACTIVE:
                raise PermissionDenied("This user is suspended. Ask the administrator.", code="user_suspended")
            if "admin" in wanted and user.role is not Role.ADMIN:
                raise PermissionDenied("Only an administrator's panel can have the admin scope.", param="scopes")
            await rows.sweep_sessions(change.tx, SESSIONS_LIMIT - 1)
            await rows.insert_session(
                change.tx,
                id=token_id,
                user_id=user_id,
                hash=digest,
                kind="panel",
                method="host",
                scopes=wanted,
                origin=None if origin is None else check_origin(origin),
                user_agent=None,
                authenticated_at=now,
                expires_at=expires_at,
            )
            await change.record(AuditAction.PANEL_OPENED, token_id, scopes=list(wanted), origin=origin)
        return PanelToken(text=text, expires_at=expires_at)


async def end_everything(change: Change) -> int:
    """All sessions and panel tokens of the change's user are over, and what a host signed before now."""
    ended = await rows.end_sessions(change.tx)
    await accounts.set_signed_out(change.tx)
    await user_rows.bump_generation(change.tx, change.user_id)
    await change.record(AuditAction.SESSION_ALL_ENDED, change.user_id, count=ended)
    return ended


def check_panel_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """The scopes in their fixed order, each once. Raises RequestError."""
    if not scopes or set(scopes) - set(PANEL_SCOPES):
        raise RequestError(f"Scopes are one or more of: {', '.join(PANEL_SCOPES)}.", param="scopes")
    return tuple(scope for scope in PANEL_SCOPES if scope in scopes)


def check_origin(origin: str) -> str:
    """An origin as a browser spells it. Raises RequestError."""
    found = parse_origin(origin) if len(origin) <= _ORIGIN_LENGTH else None
    if found is None:
        raise RequestError("An origin looks like https://app.example.com, without a path.", param="origin")
    return found
