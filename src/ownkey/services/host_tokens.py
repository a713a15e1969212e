"""Users by the tokens of the host application: what a token proves is remembered until it ends.

A warm token costs a hash and two dictionary look-ups. What is remembered is only what the token itself says; whether
the user may still come in is asked of the snapshot cache every time, which hears of every change.
"""

from __future__ import annotations

import logging
from hashlib import sha256
from time import time
from typing import Final, Protocol

from msgspec import Struct

from ownkey.crypto.jwt import JwtRefused, read_header, verify
from ownkey.crypto.key_set import VerificationKey
from ownkey.domain.jwt_claims import HostClaims, check_host_claims, expired_token, invalid_token
from ownkey.domain.settings import Snapshot
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import AuthError, PermissionDenied
from ownkey.services.changes import Changes
from ownkey.services.host_token_rules import HostTokenRules
from ownkey.services.signing_keys import SharedSecretKey, SigningKeys
from ownkey.services.snapshot_cache import SnapshotCache
from ownkey.storage.snapshots import Standing

# About 300 bytes each.
_REMEMBERED_LIMIT: Final = 50_000
_SCOPES: Final = ("gateway", "settings")
_ADMIN_SCOPES: Final = (*_SCOPES, "admin")

logger = logging.getLogger(__name__)


class HostCaller(Struct, frozen=True, kw_only=True):
    """Whom a host token names, and what they may do."""

    user_id: str
    role: Role
    scopes: tuple[str, ...]
    snapshot: Snapshot
    issued_at: float


class Keys(Protocol):
    """Whose signatures count."""

    def vouches_for(self, key_id: str) -> bool:
        """Whether a signature of this key still counts. No I/O."""
        ...

    async def find(self, algorithm: str, kid: str | None) -> list[VerificationKey]:
        """The keys that may have signed a token with such a header. Raises IdentityProviderAway."""
        ...

    async def close(self) -> None:
        """Stop what is under way."""
        ...


class _Proven(Struct, frozen=True):
    """A token that was verified, and by which key."""

    claims: HostClaims
    key_id: str


class HostTokenService:
    """Recognises the users of a host application. One per process."""

    @classmethod
    def open(cls, rules: HostTokenRules, *, cache: SnapshotCache, changes: Changes) -> HostTokenService:
        """As the operator configured it. Nothing is fetched before the first token comes."""
        keys: Keys
        if rules.secret_key is not None:
            keys = SharedSecretKey(rules.secret_key)
        else:
            keys = SigningKeys(rules.jwks_url or "", rules.algorithms)
        return cls(rules=rules, keys=keys, cache=cache, changes=changes)

    def __init__(self, *, rules: HostTokenRules, keys: Keys, cache: SnapshotCache, changes: Changes) -> None:
        self._rules, self._keys, self._cache, self._changes = rules, keys, cache, changes
        # By SHA-256 of the token, in order of use, the oldest first.
        self._proven: dict[bytes, _Proven] = {}

    async def close(self) -> None:
        """Forget all tokens."""
        self._proven.clear()
        await self._keys.close()

    async def recognise(self, token: bytes) -> HostCaller:
        """The user that this token names; one who is new to Ownkey is created.

        Raises AuthError (token_invalid, token_expired), PermissionDenied(user_suspended), IdentityProviderAway, and
        StorageError when the user is not warm and the database is away: never a 401 for that.
        """
        digest = sha256(token).digest()
        proven = self._proven.pop(digest, None)
        if proven is None or not self._keys.vouches_for(proven.key_id):
            proven = await self._prove(token)
        if proven.claims.expires_at <= time():
            raise expired_token()
        while len(self._proven) >= _REMEMBERED_LIMIT:
            del self._proven[next(iter(self._proven))]
        self._proven[digest] = proven
        claims = proven.claims
        standing = self._cache.find_standing(claims.user_id) or await self._load(claims.user_id)
        if standing.status is not UserStatus.ACTIVE:
            raise PermissionDenied("This user is suspended. Ask the administrator.", code="user_suspended")
        signed_out_at = standing.signed_out_at
        if signed_out_at is not None and claims.issued_at <= signed_out_at.timestamp():
            raise AuthError("This user has signed out everywhere. Sign in again.", code="token_invalid")
        admin = self._rules.admins and standing.role is Role.ADMIN
        return HostCaller(
            user_id=claims.user_id,
            role=standing.role,
            scopes=_ADMIN_SCOPES if admin else _SCOPES,
            snapshot=standing.snapshot,
            issued_at=claims.issued_at,
        )

    async def _prove(self, token: bytes) -> _Proven:
        try:
            header = read_header(token, self._rules.algorithms)
            claims, key = verify(token, header, await self._keys.find(header.algorithm, header.kid))
        except JwtRefused as refused:
            logger.info("a host token was refused: %s", refused)
            raise invalid_token() from None
        return _Proven(check_host_claims(claims, self._rules.claims, time()), key.id)

    async def _load(self, user_id: str) -> Standing:
        standing = await self._cache.load_standing(user_id)
        if standing is None:
            async with self._changes.begin(user_id):
                pass  # the host vouches for them: from now on they exist
            standing = await self._cache.load_standing(user_id)
        if standing is None:
            raise invalid_token()  # deleted at this very moment
        return standing
