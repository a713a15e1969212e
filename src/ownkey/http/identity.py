"""Who is asking: one place that reads the credentials of a request, whichever header they came in."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal, Protocol
from urllib.parse import parse_qsl

from msgspec import Struct

from ownkey.crypto.tokens import hash_token
from ownkey.domain.settings import Snapshot
from ownkey.errors import AuthError, NotFound
from ownkey.services.running_calls import HOST, Access
from ownkey.services.snapshot_cache import SnapshotCache
from ownkey.services.token_uses import TokenUses
from ownkey.storage.snapshots import TokenOwner

Headers = Iterable[tuple[bytes, bytes]]

# The key of an ASGI scope under which only this process itself can name a user.
IN_PROCESS_USER: Final = "ownkey.user_id"

_CARRIERS = frozenset((b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"))


Via = Literal["token", "session", "panel", "jwt", "in_process"]


class Principal(Struct, frozen=True, kw_only=True):
    """The caller, and by what they were recognised.

    `token_id` names a gateway token, `session_id` a session or a panel token. `authenticated_at` is when the person
    last proved who they are, and `expires_at` when the session or the token ends, where that is known. `snapshot` is
    at hand where recognising read it anyway. `access` is by what a withdrawn right is recognised later.
    """

    user_id: str
    token_id: str
    scopes: tuple[str, ...]
    role: str
    snapshot: Snapshot | None = None
    via: Via = "token"
    session_id: str | None = None
    authenticated_at: datetime | None = None
    expires_at: datetime | None = None
    access: Access = HOST

    @property
    def actor(self) -> str:
        """Who the audit names."""
        return self.user_id


class HostTokens(Protocol):
    """Recognises the tokens that a host application signs for its own users."""

    async def recognise(self, token: bytes) -> Principal | None:
        """Whom the token names, or None when it is none of this host's. Raises AuthError for one that is not valid."""
        ...


_PROVIDER_KEYS: Final = (b"sk-", b"AIza", b"gsk_")
_WHERE_FROM: Final = "Gateway tokens begin with ok-: make one in the panel under Access, or with `ownkey token create`."


class Identity:
    """Recognises gateway tokens and host tokens. A warm gateway token costs a hash and a dictionary look-up."""

    def __init__(self, cache: SnapshotCache, token_uses: TokenUses, host_tokens: HostTokens | None = None) -> None:
        self._cache, self._token_uses, self._host_tokens = cache, token_uses, host_tokens

    async def authenticate(self, headers: Headers, query: bytes = b"") -> Principal:
        """The caller of a request with these headers (lower-case names) and this query.

        Raises AuthError (token_missing, token_invalid, token_expired, ambiguous_credentials: 400) or
        StorageError when the token is not warm and the database is away: never a 401 for that.
        """
        token = find_token(headers)
        if query:
            refuse_key_in_url(query, token)
        return await self.recognise(token)

    def find(self, token_hash: bytes) -> Principal | None:
        """The caller who shows a warm gateway token of this SHA-256. No I/O. Raises AuthError for one that is over."""
        owner = self._cache.find_owner(token_hash)
        return None if owner is None else self._admit(owner, token_hash)

    async def recognise(self, token: bytes | None) -> Principal:
        """The caller who shows this token. Raises as `authenticate`."""
        if not token:
            raise AuthError("Send a gateway token: `Authorization: Bearer ok-…`.", code="token_missing")
        return self.find(sha256(token).digest()) or await self._recognise_cold(token)

    async def vouch(self, user_id: str) -> Principal:
        """A user whom the host application itself has signed in. Raises NotFound(user_not_found)."""
        snapshot = await self._cache.load(user_id)
        if snapshot is None:
            raise NotFound(f"There is no user {user_id!r}. Call load_user_settings at login.", code="user_not_found")
        return Principal(
            user_id=user_id, token_id="", scopes=("gateway",), role="user", snapshot=snapshot, via="in_process"
        )

    def is_current(self, snapshot: Snapshot) -> bool:
        """Whether a request that was recognised a while ago would be given the same settings now. No I/O."""
        return self._cache.is_current(snapshot)

    async def load_snapshot(self, principal: Principal) -> Snapshot:
        """The caller's settings: those that came with recognising them, or warm, or by one query.

        Raises AuthError(user_suspended) and NotFound(user_not_found).
        """
        snapshot = principal.snapshot or await self._cache.load(principal.user_id)
        if snapshot is None:
            raise NotFound(f"There is no user {principal.user_id!r}.", code="user_not_found")
        return snapshot

    async def _recognise_cold(self, token: bytes) -> Principal:
        if self._host_tokens is not None and looks_like_jwt(token):
            principal = await self._host_tokens.recognise(token)
            if principal is None:
                raise AuthError("This token is not from the application that this server knows.")
            return principal
        token_hash = hash_token(token.decode("latin-1"))
        if token_hash is None:
            # Nothing of it is repeated: it may be somebody's key.
            what = "an API key of a provider" if token.startswith(_PROVIDER_KEYS) else "not a gateway token"
            raise AuthError(f"This is {what}. {_WHERE_FROM}")
        owner = await self._cache.load_owner(token_hash)
        if owner is None:
            raise AuthError("There is no such gateway token. It may have been revoked.")
        return self._admit(owner, token_hash)

    def _admit(self, owner: TokenOwner, token_hash: bytes) -> Principal:
        """Whose token it is, unless it lets nobody in. Raises AuthError."""
        if owner.state == "suspended":
            raise AuthError("This user is suspended. Ask the administrator.", code="user_suspended", http_status=403)
        expires_at = owner.expires_at
        if owner.state == "expired" or (expires_at is not None and expires_at.timestamp() <= time.time()):
            raise AuthError("This gateway token has expired. Create a new one.", code="token_expired")
        if owner.state != "active":
            raise AuthError("There is no such gateway token. It may have been revoked.")
        self._token_uses.note(owner.user_id, owner.token_id)
        return Principal(
            user_id=owner.user_id,
            token_id=owner.token_id,
            scopes=owner.scopes,
            role=owner.role,
            snapshot=self._cache.find(owner.user_id) or owner.snapshot,
            expires_at=expires_at,
            access=Access(token_hash),
        )


def find_token(headers: Headers) -> bytes | None:
    """The one credential that a request shows, if any. Two that differ are refused: whose would be meant?"""
    found: bytes | None = None
    for name, value in headers:
        if name not in _CARRIERS:
            continue
        token = value.strip()
        if name == b"authorization":
            scheme, _, rest = token.partition(b" ")
            if scheme.lower() != b"bearer":
                raise AuthError("The Authorization header must be `Bearer` and a gateway token.", code="token_invalid")
            token = rest.strip()
        if found is not None and token != found:
            raise AuthError(
                "The request shows two different credentials. Send one.",
                code="ambiguous_credentials",
                http_status=400,
            )
        found = token
    return found


def refuse_key_in_url(query: bytes, token: bytes | None) -> None:
    """Google's `?key=`: what stands in a URL ends up in logs, so it is nobody's credential here.

    Raises AuthError: for a second one that differs (ambiguous_credentials), and for the only one (token_missing).
    """
    if query.find(b"key=") < 0:
        return
    keys = [value for name, value in parse_qsl(query.decode("latin-1")) if name == "key"]
    if not keys:
        return
    if not token:
        raise AuthError(
            "A key in the URL is not read: it would end up in logs. Send the token as `x-goog-api-key`.",
            code="token_missing",
        )
    if any(key.encode() != token for key in keys):
        raise AuthError(
            "The request shows one credential in a header and another one in its URL. Send one, in a header.",
            code="ambiguous_credentials",
            http_status=400,
        )


def looks_like_jwt(token: bytes) -> bool:
    """Whether this may be a signed JWT: three parts, the first of which begins an object in base64url."""
    return token.startswith(b"eyJ") and token.count(b".") == 2
