"""`/api/sign-in/oidc/…`: to the identity provider and back. A browser goes here itself; no script calls these."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse

from ownkey.errors import NotFound, OwnkeyError
from ownkey.http.access import CoreDep, OriginsDep
from ownkey.http.origins import Origins
from ownkey.http.session_cookie import cookie_header, find_session_token
from ownkey.http.sign_in_api import describe_visitor
from ownkey.services.core import Core
from ownkey.services.oidc import ATTEMPT_SECONDS, OidcService, ProviderAnswer
from ownkey.services.sign_in_attempt import SignInAttempt

router = APIRouter(prefix="/api/sign-in/oidc", include_in_schema=False)

ATTEMPT_COOKIE: Final = "__Host-ownkey_oidc"
# Lax: it must come along when the provider, another site, sends the person back.
_ATTRIBUTES: Final = "Path=/; Secure; HttpOnly; SameSite=Lax"
_COOKIE_LENGTH: Final = 1000
_PARAMETER_LENGTH: Final = 4096


@router.get("/{provider}")
async def go_to_provider(
    core: CoreDep, origins: OriginsDep, request: Request, provider: str, confirm: bool = False
) -> RedirectResponse:
    """On the way to the provider; `confirm` to prove again who one is."""
    oidc = _find(core, provider)
    try:
        url, attempt = await oidc.begin(_redirect_uri(origins, request, provider), fresh=confirm)
    except OwnkeyError as error:
        return _to_page(origins, request, error.code)
    answer = RedirectResponse(url, status_code=303)
    value = urlsafe_b64encode(msgspec.json.encode(attempt)).decode().rstrip("=")
    answer.headers.append("set-cookie", f"{ATTEMPT_COOKIE}={value}; Max-Age={ATTEMPT_SECONDS}; {_ATTRIBUTES}")
    return answer


@router.get("/{provider}/callback")
async def come_back(core: CoreDep, origins: OriginsDep, request: Request, provider: str) -> RedirectResponse:
    """Back from the provider: to the page, signed in or with the reason why not behind `#error=`."""
    oidc = _find(core, provider)
    shown = find_session_token(request.scope["headers"])
    try:
        started = await oidc.finish(
            _read_attempt(request),
            ProviderAnswer(
                state=_parameter(request, "state"),
                code=_parameter(request, "code"),
                error=_parameter(request, "error"),
                issuer=_parameter(request, "iss"),
            ),
            _redirect_uri(origins, request, provider),
            describe_visitor(request, origins),
            None if shown is None else await core.sessions.find(shown),
        )
    except OwnkeyError as error:
        answer = _to_page(origins, request, error.code)
    else:
        answer = _to_page(origins, request)
        answer.headers.append("set-cookie", cookie_header(started.token))
    # What was begun is answered: nobody answers it twice.
    answer.headers.append("set-cookie", f"{ATTEMPT_COOKIE}=; Max-Age=0; {_ATTRIBUTES}")
    return answer


def _find(core: Core, provider: str) -> OidcService:
    if core.oidc is None or provider != core.oidc.id:
        raise NotFound("There is no such way to sign in.")
    return core.oidc


def _redirect_uri(origins: Origins, request: Request, provider: str) -> str:
    return f"{origins.base_url(request.scope)}/api/sign-in/oidc/{provider}/callback"


def _to_page(origins: Origins, request: Request, error: str | None = None) -> RedirectResponse:
    fragment = "" if error is None else f"#error={error}"
    return RedirectResponse(f"{origins.base_url(request.scope)}/{fragment}", status_code=303)


def _parameter(request: Request, name: str) -> str | None:
    """A parameter that comes once. Two of a kind say nothing that could be relied on."""
    values = request.query_params.getlist(name)
    return values[0] if len(values) == 1 and len(values[0]) <= _PARAMETER_LENGTH else None


def _read_attempt(request: Request) -> SignInAttempt | None:
    value = request.cookies.get(ATTEMPT_COOKIE, "")
    if not value or len(value) > _COOKIE_LENGTH:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(value + "=" * (-len(value) % 4)), type=SignInAttempt)
    except (ValueError, msgspec.MsgspecError):
        return None
