"""Who may call what under `/api`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ownkey.domain.user import Role
from ownkey.errors import PermissionDenied
from ownkey.http.identity import Principal
from ownkey.http.origins import Origins
from ownkey.services.core import Core

# Only for the OpenAPI description: the shell has recognised the caller before any of this runs.
_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="gatewayToken",
    description="A gateway token (`ok-…`) with the scope `settings`, a panel token (`okp-…`) or a token of the host. "
    "Pages of this server use the cookie of a session in its place.",
)
# How long a proof of who one is counts for what must not happen at an abandoned desk.
FRESH: Final = timedelta(minutes=5)


def get_core(request: Request) -> Core:
    """The services, as `create_settings_api` was given them."""
    core: Core = request.app.state.core
    return core


def get_origins(request: Request) -> Origins:
    """Which pages may talk to us, and where people open this server."""
    origins: Origins = request.app.state.origins
    return origins


def get_principal(
    request: Request, _shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> Principal:
    """The caller, whatever their scopes."""
    principal: Principal = request.state.principal
    return principal


def require_settings(principal: Annotated[Principal, Depends(get_principal)]) -> Principal:
    """A caller who may read and change their own settings. Raises PermissionDenied."""
    if "settings" not in principal.scopes:
        raise PermissionDenied("This token may not read or change settings: it needs the scope `settings`.")
    return principal


def require_reader(principal: Annotated[Principal, Depends(get_principal)]) -> Principal:
    """A caller who may at least look at their own usage, audit and settings. Raises PermissionDenied."""
    if "settings" not in principal.scopes and "usage" not in principal.scopes:
        raise PermissionDenied("This token may not see this: it needs the scope `settings` or `usage`.")
    return principal


def require_session(principal: Annotated[Principal, Depends(get_principal)]) -> Principal:
    """Somebody who has signed in here themselves. Raises PermissionDenied."""
    if principal.via != "session":
        raise PermissionDenied("This is only for people who are signed in, not for tokens.")
    return principal


def require_fresh(principal: Principal) -> Principal:
    """Somebody who proved within the last five minutes who they are; no token can.

    Raises PermissionDenied(fresh_sign_in_required): `POST /api/session/confirm` is the way out.
    """
    at = principal.authenticated_at
    if principal.via != "session" or at is None or datetime.now(UTC) - at >= FRESH:
        raise PermissionDenied("Confirm first that it is you: enter your password.", code="fresh_sign_in_required")
    return principal


def require_fresh_session(principal: Principal) -> Principal:
    """The same for what a program with a token of its own may do as well, and a panel's short-lived token may not:
    it would have made a way in that outlives it.

    Raises PermissionDenied (permission_denied, fresh_sign_in_required).
    """
    refuse_panel(principal)
    return require_fresh(principal) if principal.via == "session" else principal


def refuse_panel(principal: Principal) -> None:
    """No token of some minutes leaves something behind that lasts. Raises PermissionDenied."""
    if principal.via == "panel":
        raise PermissionDenied(
            "A panel token cannot do this: it would outlast the token. Sign in on the server itself."
        )


def require_admin(principal: Annotated[Principal, Depends(get_principal)]) -> Principal:
    """An administrator, with a token made for that. Raises PermissionDenied."""
    if principal.role != Role.ADMIN or "admin" not in principal.scopes:
        raise PermissionDenied("Only an administrator's token with the scope `admin` may see this.")
    return principal


OriginsDep = Annotated[Origins, Depends(get_origins)]
CoreDep = Annotated[Core, Depends(get_core)]
AnyCaller = Annotated[Principal, Depends(get_principal)]
Caller = Annotated[Principal, Depends(require_settings)]
Reader = Annotated[Principal, Depends(require_reader)]
SignedIn = Annotated[Principal, Depends(require_session)]
Admin = Annotated[Principal, Depends(require_admin)]
