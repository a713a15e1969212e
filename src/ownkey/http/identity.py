"""Who is asking: one place that reads the credentials of a request, whichever header they came in."""

from __future__ import annotations

import time
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from msgspec import Struct

from ownkey.crypto.tokens import hash_token
from ownkey.domain.settings import Snapshot
from ownkey.errors import AuthError, NotFound
from ownkey.services.snapshot_cache import SnapshotCache
from ownkey.services.token_uses import TokenUses
from ownkey.storage.snapshots import TokenOwner

Headers = Iterable[tuple[bytes, bytes]]

# The key of an ASGI scope under which only this process itself can name a user.
IN_PROCESS_USER: Final = "ownkey.user_id"

_CARRIERS = frozenset((b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"))


class Principal(Struct, frozen=True, kw_only=True):
    """The caller, and their settings as of the moment they were recognised."""

    user_id: str
    token_id: str
    scopes: tuple[str, ...]
    role: str
    snapshot: Snapshot

    @property
    def actor(self) -> str:
        """Who the audit names."""
        return self.user_id


class Identity:
    """Recognises gateway tokens. A warm token costs a hash and a dictionary look-up."""

    def __init__(self, cache: SnapshotCache, token_uses: TokenUses) -> None:
        self._cache, self._token_uses = cache, token_uses

    async def authenticate(self, headers: Headers) -> Principal:
        """The caller of a request with these headers (lower-case names).

        Raises AuthError (token_missing, token_invalid, token_expired, ambiguous_credentials: 400) or
        StorageError when the token is not warm and the database is away: never a 401 for that.
        """
        token = read_token(headers)
        owner = self._cache.find_owner(sha256(token).digest()) or await self._load_owner(token)
        if owner is None:
            raise AuthError("There is no such gateway token. It may have been revoked.")
        _check_state(owner)
        self._token_uses.note(owner.user_id, owner.token_id)
        snapshot = self._cache.find(owner.user_id) or owner.snapshot
        return Principal(
            user_id=owner.user_id,
            token_id=owner.token_id,
            scopes=owner.scopes,
            role=owner.role,
            snapshot=snapshot,
        )

    async def vouch(self, user_id: str) -> Principal:
        """A user whom the host application itself has signed in. Raises NotFound(user_not_found)."""
        snapshot = await self._cache.load(user_id)
        if snapshot is None:
            raise NotFound(f"There is no user {user_id!r}. Call load_user_settings at login.", code="user_not_found")
        return Principal(user_id=user_id, token_id="", scopes=("gateway",), role="user", snapshot=snapshot)

    async def _load_owner(self, token: bytes) -> TokenOwner | None:
        token_hash = hash_token(token.decode("latin-1"))
        if token_hash is None:
            raise AuthError("This is not a gateway token: it is mistyped or belongs to something else.")
        return await self._cache.load_owner(token_hash)


def read_token(headers: Headers) -> bytes:
    """The one credential that a request shows. Two that differ are refused: whose would be meant?"""
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
    if not found:
        raise AuthError("Send a gateway token: `Authorization: Bearer ok-…`.", code="token_missing")
    return found


def _check_state(owner: TokenOwner) -> None:
    if owner.state == "suspended":
        raise AuthError("This user is suspended. Ask the administrator.", code="user_suspended", http_status=403)
    expired = owner.expires_at is not None and owner.expires_at.timestamp() <= time.time()
    if owner.state == "expired" or expired:
        raise AuthError("This gateway token has expired. Create a new one.", code="token_expired")
    if owner.state != "active":
        raise AuthError("There is no such gateway token. It may have been revoked.")
