"""Gateway tokens: what a client shows to Ownkey. The text is shown once; only its hash is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from ownkey.crypto.tokens import mint_token, token_hint
from ownkey.domain.audit import AuditAction
from ownkey.domain.credential import clean_label
from ownkey.domain.usage import new_id
from ownkey.domain.user import Role
from ownkey.errors import NotFound, PermissionDenied, RequestError
from ownkey.services.changes import Changes
from ownkey.services.expiry import check_expiry, utc_now
from ownkey.storage import tokens as rows
from ownkey.storage import users as user_rows
from ownkey.storage.tokens import GatewayToken

TOKENS_LIMIT: Final = 50
SCOPES: Final = ("gateway", "settings", "admin")
DEFAULT_SCOPES: Final = ("gateway", "settings")


class NewToken(Struct, frozen=True, kw_only=True):
    """A token just made. `text` cannot be had again."""

    text: str
    token: GatewayToken

    def __repr__(self) -> str:
        return f"NewToken({self.token!r})"


class GatewayTokenService:
    """Create, list and revoke the tokens of a user."""

    def __init__(self, changes: Changes, *, now: Callable[[], datetime] = utc_now) -> None:
        self._changes, self._now = changes, now

    async def create(
        self,
        user_id: str,
        name: str,
        *,
        scopes: Sequence[str] = DEFAULT_SCOPES,
        expires_at: datetime | None = None,
        actor: str | None = None,
    ) -> NewToken:
        """A new token. Raises RequestError(invalid_request, token_limit) and PermissionDenied for the admin scope."""
        label, wanted = _check_name(name), check_scopes(scopes)
        expires_at = check_expiry(expires_at, self._now())
        text, digest = mint_token()
        token_id = new_id()
        async with self._changes.begin(user_id, actor) as change:
            held = await rows.list_tokens(change.tx)
            if sum(_is_valid(token, self._now()) for token in held) >= TOKENS_LIMIT:
                raise RequestError(
                    f"At most {TOKENS_LIMIT} tokens can be valid at once. Revoke one first.", code="token_limit"
                )
            if "admin" in wanted:
                user = await user_rows.find_user(change.tx, user_id)
                if user is None or user.role != Role.ADMIN:
                    raise PermissionDenied("Only an administrator's token can have the admin scope.", param="scopes")
            await rows.insert_token(
                change.tx,
                id=token_id,
                user_id=user_id,
                name=label,
                hash=digest,
                hint=token_hint(text),
                scopes=wanted,
                expires_at=expires_at,
            )
            await change.record(
                AuditAction.TOKEN_CREATED,
                token_id,
                name=label,
                scopes=list(wanted),
                expires_at=expires_at.isoformat() if expires_at else None,
            )
            stored = next(token for token in await rows.list_tokens(change.tx) if token.id == token_id)
        return NewToken(text=text, token=stored)

    async def list_tokens(self, user_id: str) -> list[GatewayToken]:
        """The user's tokens, revoked ones included, without any hash."""
        async with self._changes.read(user_id) as tx:
            return await rows.list_tokens(tx)

    async def revoke(self, user_id: str, token_id: str, *, actor: str | None = None) -> None:
        """End a token now, in every process. Raises NotFound; a token revoked before stays as it was."""
        async with self._changes.begin(user_id, actor) as change:
            token = next((one for one in await rows.list_tokens(change.tx) if one.id == token_id), None)
            if token is None:
                raise NotFound("There is no such token.")
            if token.revoked_at is None and await rows.revoke_token(change.tx, token_id):
                await change.record(AuditAction.TOKEN_REVOKED, token_id, name=token.name)


def check_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """The scopes in their fixed order, each once. Raises RequestError."""
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise RequestError(f"Scopes are one or more of: {', '.join(SCOPES)}.", param="scopes")
    return tuple(scope for scope in SCOPES if scope in scopes)


def _is_valid(token: GatewayToken, now: datetime) -> bool:
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > now)


def _check_name(name: str) -> str:
    if not name.strip():
        raise RequestError("Give the token a name by which you will know it again.", param="name")
    try:
        return clean_label(name)
    except RequestError as error:
        raise RequestError(error.message.replace("label", "name"), param="name") from None
