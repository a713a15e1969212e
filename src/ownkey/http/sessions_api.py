"""`/api/session`, `/api/sessions` and `/api/account/password`: who one is, where one is signed in, and out again."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter, Request, Response
from msgspec import structs

from ownkey.errors import NotFound
from ownkey.http.access import AnyCaller, Caller, CoreDep, OriginsDep, SignedIn, require_settings
from ownkey.http.account_inputs import ConfirmInput, PasswordChange
from ownkey.http.account_outputs import OpenSessionOut
from ownkey.http.api_outputs import ConfiguredProviderOut, SessionOut, SignedInOut
from ownkey.http.choices_api import describe_settings
from ownkey.http.identity import Principal
from ownkey.http.origins import Origins
from ownkey.http.session_cookie import cookie_header, expired_cookie_header
from ownkey.services.core import Core
from ownkey.services.sessions import StartedSession, Visitor

router = APIRouter(prefix="/api", tags=["Session"])


@router.get("/session")
async def who_am_i(core: CoreDep, caller: AnyCaller) -> SessionOut:
    """Who you are, by what you were recognised, and what you may do."""
    return await describe_session(core, caller)


@router.post("/session")
async def sign_in(core: CoreDep, caller: Caller) -> SignedInOut:
    """Sign in with a token: loads your settings, so that the first request finds them warm."""
    await core.manager.load_user_settings(caller.user_id, actor=caller.actor)
    return await describe_signed_in(core, caller)


@router.delete("/session", status_code=204)
async def sign_out(core: CoreDep, caller: AnyCaller) -> Response:
    """Sign out: this session or panel token ends, and your settings leave the memory of every process.

    Gateway tokens stay valid until they are revoked.
    """
    if caller.session_id is None:
        require_settings(caller)
    else:
        with suppress(NotFound):  # it ended at the same moment in another way
            await core.sessions.end(caller.user_id, caller.session_id, actor=caller.actor)
    await core.manager.clear_user_settings(caller.user_id, actor=caller.actor)
    return _signed_out()


@router.delete("/session/all", status_code=204)
async def sign_out_everywhere(core: CoreDep, caller: Caller) -> Response:
    """End all your sessions and panel tokens, in every process, and what the host application signed for you before.

    Gateway tokens stay valid until they are revoked.
    """
    await core.sessions.end_all(caller.user_id, actor=caller.actor)
    return _signed_out()


@router.get("/sessions")
async def list_sessions(core: CoreDep, caller: Caller) -> list[OpenSessionOut]:
    """Where you are signed in, the latest used first."""
    return [
        OpenSessionOut.model_validate({**structs.asdict(one), "current": one.id == caller.session_id})
        for one in await core.sessions.list_sessions(caller.user_id)
    ]


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(core: CoreDep, caller: Caller, session_id: str) -> Response:
    """Sign out in one place, now. It may be this one."""
    await core.sessions.end(caller.user_id, session_id, actor=caller.actor)
    return Response(status_code=204)


@router.post("/session/confirm")
async def confirm_session(
    core: CoreDep, origins: OriginsDep, caller: SignedIn, request: Request, response: Response, shown: ConfirmInput
) -> SessionOut:
    """Prove again that it is you: for the next five minutes you may do what needs a fresh sign-in."""
    renewed = await core.sign_in.confirm(
        caller.user_id, caller.session_id or "", shown.password.get_secret_value(), _visitor(request, origins)
    )
    return await _answer_renewed(core, caller, response, renewed)


@router.post("/account/password", tags=["Account"])
async def change_password(
    core: CoreDep, origins: OriginsDep, caller: SignedIn, request: Request, response: Response, change: PasswordChange
) -> SessionOut:
    """Change your password. You stay signed in here and are signed out everywhere else."""
    renewed = await core.sign_in.change_password(
        caller.user_id,
        caller.session_id or "",
        change.current.get_secret_value(),
        change.new.get_secret_value(),
        _visitor(request, origins),
    )
    return await _answer_renewed(core, caller, response, renewed)


async def describe_session(core: Core, principal: Principal) -> SessionOut:
    """A caller, with what they sign in with."""
    account = await core.sign_in.find_account(principal.user_id)
    said = {name: getattr(principal, name) for name in principal.__struct_fields__ if name != "snapshot"}
    return SessionOut.model_validate(
        {
            **said,
            "scopes": list(principal.scopes),
            "login": account.login if account else None,
            "display_name": account.display_name if account else None,
            "has_password": account is not None and account.password_hash is not None,
        }
    )


async def describe_signed_in(core: Core, principal: Principal) -> SignedInOut:
    """A caller with their general settings and the providers that their requests can go to."""
    snapshot = await core.manager.get_snapshot(principal.user_id)
    return SignedInOut(
        **(await describe_session(core, principal)).model_dump(),
        settings=describe_settings(core, await core.settings.get_settings(principal.user_id)),
        providers=[ConfiguredProviderOut.model_validate(one) for one in core.manager.providers_of(snapshot)],
    )


async def _answer_renewed(core: Core, caller: Principal, response: Response, renewed: StartedSession) -> SessionOut:
    response.headers.append("set-cookie", cookie_header(renewed.token))
    now_fresh = structs.replace(caller, authenticated_at=renewed.authenticated_at, expires_at=renewed.expires_at)
    return await describe_session(core, now_fresh)


def _visitor(request: Request, origins: Origins) -> Visitor:
    return Visitor(address=origins.client_address(request.scope))


def _signed_out() -> Response:
    return Response(status_code=204, headers={"set-cookie": expired_cookie_header()})
