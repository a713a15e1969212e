"""`/api/tokens` and `/api/session`."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Response

from ownkey.errors import PermissionDenied
from ownkey.http.access import AnyCaller, Caller, CoreDep
from ownkey.http.api_inputs import NewTokenInput
from ownkey.http.api_outputs import (
    ConfiguredProviderOut,
    NewTokenOut,
    SessionOut,
    SignedInOut,
    TokenOut,
)
from ownkey.http.choices_api import describe_settings
from ownkey.http.identity import Principal
from ownkey.services.gateway_tokens import DEFAULT_SCOPES

router = APIRouter(prefix="/api")


@router.get("/tokens", tags=["Tokens"])
async def list_tokens(core: CoreDep, caller: Caller) -> list[TokenOut]:
    """Your gateway tokens, revoked ones included. Their text is not stored."""
    return [TokenOut.model_validate(one) for one in await core.tokens.list_tokens(caller.user_id)]


@router.post("/tokens", status_code=201, tags=["Tokens"])
async def create_token(core: CoreDep, caller: Caller, new: NewTokenInput) -> NewTokenOut:
    """Make a gateway token. Its text is in this answer and nowhere else."""
    made = await core.tokens.create(
        caller.user_id,
        new.name,
        scopes=_grantable_scopes(caller, new.scopes),
        expires_at=new.expires_at,
        actor=caller.actor,
    )
    return NewTokenOut(token=made.text, **TokenOut.model_validate(made.token).model_dump())


@router.delete("/tokens/{token_id}", status_code=204, tags=["Tokens"])
async def revoke_token(core: CoreDep, caller: Caller, token_id: str) -> Response:
    """End a token now, in every process. It may be the one that you show."""
    await core.tokens.revoke(caller.user_id, token_id, actor=caller.actor)
    return Response(status_code=204)


@router.get("/session", tags=["Session"])
async def who_am_i(caller: AnyCaller) -> SessionOut:
    """Whose token this is and what it may do."""
    return SessionOut.model_validate(caller)


@router.post("/session", tags=["Session"])
async def sign_in(core: CoreDep, caller: Caller) -> SignedInOut:
    """Sign in: loads your settings, so that the first request finds them warm."""
    loaded = await core.manager.load_user_settings(caller.user_id, actor=caller.actor)
    return SignedInOut(
        **SessionOut.model_validate(caller).model_dump(),
        settings=describe_settings(core, await core.settings.get_settings(caller.user_id)),
        providers=[ConfiguredProviderOut.model_validate(one) for one in loaded.providers],
    )


@router.delete("/session", status_code=204, tags=["Session"])
async def sign_out(core: CoreDep, caller: Caller) -> Response:
    """Sign out: your settings leave the memory of every process. Tokens stay valid until they are revoked."""
    await core.manager.clear_user_settings(caller.user_id, actor=caller.actor)
    return Response(status_code=204)


def _grantable_scopes(caller: Principal, wanted: Sequence[str] | None) -> Sequence[str]:
    """No token makes a stronger one. Raises PermissionDenied."""
    if wanted is None:
        return [scope for scope in DEFAULT_SCOPES if scope in caller.scopes]
    for scope in wanted:
        if scope not in caller.scopes:
            raise PermissionDenied(f"Your own token does not have the scope `{scope}`, so it cannot pass it on.")
    return wanted
