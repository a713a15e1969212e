"""Who may call what under `/api`."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ownkey.domain.user import Role
from ownkey.errors import PermissionDenied
from ownkey.http.identity import Principal
from ownkey.services.core import Core

# Only for the OpenAPI description: the shell has recognised the caller before any of this runs.
_BEARER: Final = HTTPBearer(
    auto_error=False, scheme_name="gatewayToken", description="A gateway token (`ok-…`) with the scope `settings`."
)


def get_core(request: Request) -> Core:
    """The services, as `create_settings_api` was given them."""
    core: Core = request.app.state.core
    return core


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


def require_admin(principal: Annotated[Principal, Depends(get_principal)]) -> Principal:
    """An administrator, with a token made for that. Raises PermissionDenied."""
    if principal.role != Role.ADMIN or "admin" not in principal.scopes:
        raise PermissionDenied("Only an administrator's token with the scope `admin` may see this.")
    return principal


CoreDep = Annotated[Core, Depends(get_core)]
AnyCaller = Annotated[Principal, Depends(get_principal)]
Caller = Annotated[Principal, Depends(require_settings)]
Admin = Annotated[Principal, Depends(require_admin)]
