"""`/api/sign-in`: the part of the API that nobody has to be known for."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ownkey.errors import AuthError
from ownkey.http.access import CoreDep, OriginsDep
from ownkey.http.account_inputs import LinkInput, SignInInput, UseLinkInput
from ownkey.http.account_outputs import LinkPurposeOut, OidcProviderOut, SignInWaysOut
from ownkey.http.api_identity import session_principal
from ownkey.http.api_outputs import SignedInOut
from ownkey.http.identity import Principal
from ownkey.http.origins import Origins
from ownkey.http.session_cookie import cookie_header, find_session_token
from ownkey.http.sessions_api import describe_signed_in
from ownkey.services.core import Core
from ownkey.services.sessions import StartedSession, Visitor

router = APIRouter(prefix="/api/sign-in", tags=["Sign-in"])


@router.get("")
async def list_ways_to_sign_in(core: CoreDep, origins: OriginsDep, request: Request) -> SignInWaysOut:
    """How people sign in here, and whether this browser has done it already."""
    shown = find_session_token(request.scope["headers"])
    signed_in = shown is not None and await core.sessions.find(shown) is not None
    outside = [] if core.oidc is None else [OidcProviderOut(id=core.oidc.id, label=core.oidc.label)]
    return SignInWaysOut(local=True, oidc=outside, secure=origins.is_secure(request.scope), signed_in=signed_in)


@router.post("")
async def sign_in_with_password(
    core: CoreDep, origins: OriginsDep, request: Request, response: Response, shown: SignInInput
) -> SignedInOut:
    """Sign in. The session is in a cookie that no script can read. After five wrong passwords the next try waits."""
    origins.refuse_cross_site(request.scope, needs_header=False)
    started = await core.sign_in.sign_in(
        shown.login, shown.password.get_secret_value(), describe_visitor(request, origins)
    )
    return await answer_signed_in(core, response, started)


@router.post("/link/check")
async def check_link(core: CoreDep, shown: LinkInput) -> LinkPurposeOut:
    """What a one-time link is for. It is not used up by this."""
    link = await core.links.check(shown.token.get_secret_value())
    return LinkPurposeOut(purpose=link.purpose.value, login=link.login or link.user_id)


@router.post("/link")
async def sign_in_with_link(
    core: CoreDep, origins: OriginsDep, request: Request, response: Response, shown: UseLinkInput
) -> SignedInOut:
    """Set a password with a one-time link, and sign in. Other sessions of the same user end."""
    origins.refuse_cross_site(request.scope, needs_header=False)
    started = await core.links.use(
        shown.token.get_secret_value(),
        shown.password.get_secret_value(),
        describe_visitor(request, origins),
        login=shown.login,
    )
    return await answer_signed_in(core, response, started)


def describe_visitor(request: Request, origins: Origins) -> Visitor:
    """The browser that asks, and the session that it brings, which will be ended."""
    return Visitor(
        address=origins.client_address(request.scope),
        user_agent=request.headers.get("user-agent"),
        shown=find_session_token(request.scope["headers"]),
    )


async def answer_signed_in(core: Core, response: Response, started: StartedSession) -> SignedInOut:
    """Give the browser its cookie, and the page what it needs first."""
    response.headers.append("set-cookie", cookie_header(started.token))
    return await describe_signed_in(core, await load_principal(core, started))


async def load_principal(core: Core, started: StartedSession) -> Principal:
    """The person of a session that has just begun."""
    owner = await core.sessions.find(started.token)
    if owner is None:
        raise AuthError("Your session has ended. Sign in again.", code="session_ended")
    return session_principal(owner)
