"""Who calls the management API: besides the tokens of `/v1`, a person with a session and a panel in a host page."""

from __future__ import annotations

from ownkey.crypto.tokens import PANEL_PREFIX
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import AuthError, PermissionDenied
from ownkey.http.gateway import Scope
from ownkey.http.identity import Identity, Principal, find_token, refuse_key_in_url
from ownkey.http.origins import SAFE_METHODS, Origins
from ownkey.http.session_cookie import find_session_token
from ownkey.services.sessions import SessionService
from ownkey.storage.sessions import SessionOwner

_SESSION_SCOPES = ("gateway", "settings")


class ApiIdentity:
    """An `Authorization` header decides where there is one: no page can be made to send it. Else it is the cookie."""

    def __init__(self, identity: Identity, sessions: SessionService, origins: Origins) -> None:
        self._identity, self._sessions, self._origins = identity, sessions, origins

    async def authenticate(self, scope: Scope) -> Principal:
        """The caller. Raises AuthError, PermissionDenied(cross_site_request, wrong_origin) and StorageError."""
        token = find_token(scope["headers"])
        refuse_key_in_url(scope.get("query_string", b""), token)
        if token:
            if token.startswith(PANEL_PREFIX.encode()):
                return await self._recognise_panel(scope, token.decode("latin-1"))
            return await self._identity.recognise(token)
        cookie = find_session_token(scope["headers"])
        if cookie is not None and scope["method"] not in SAFE_METHODS:
            self._origins.refuse_cross_site(scope)
        if cookie is None or self._origins.is_foreign(scope):
            raise AuthError("Sign in, or send a token: `Authorization: Bearer ok-…`.", code="token_missing")
        owner = await self._sessions.find(cookie)
        if owner is None:
            raise AuthError("Your session has ended. Sign in again.", code="session_ended")
        return session_principal(owner)

    async def _recognise_panel(self, scope: Scope, token: str) -> Principal:
        owner = await self._sessions.find_panel(token)
        if owner is None:
            raise AuthError("This panel token has expired. The page has to ask for a new one.", code="token_expired")
        _refuse_suspended(owner)
        if self._origins.page_origin(scope) != (owner.origin or self._origins.own(scope)):
            raise PermissionDenied("This panel token was made for another origin.", code="wrong_origin")
        return _principal(owner, owner.scopes, via_panel=True)


def session_principal(owner: SessionOwner) -> Principal:
    """The person of a session, with the rights that they have at this moment. Raises AuthError(user_suspended)."""
    _refuse_suspended(owner)
    admin = ("admin",) if owner.role is Role.ADMIN else ()
    return _principal(owner, (*_SESSION_SCOPES, *admin), via_panel=False)


def _principal(owner: SessionOwner, scopes: tuple[str, ...], *, via_panel: bool) -> Principal:
    return Principal(
        user_id=owner.user_id,
        token_id="",
        scopes=scopes,
        role=owner.role,
        via="panel" if via_panel else "session",
        session_id=owner.session_id,
        authenticated_at=owner.authenticated_at,
        expires_at=owner.expires_at,
    )


def _refuse_suspended(owner: SessionOwner) -> None:
    if owner.status is not UserStatus.ACTIVE:
        raise AuthError("This user is suspended. Ask the administrator.", code="user_suspended", http_status=403)
