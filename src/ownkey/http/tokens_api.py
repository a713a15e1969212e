"""`/api/tokens`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fastapi import APIRouter, Response

from ownkey.errors import PermissionDenied
from ownkey.http.access import Caller, CoreDep, require_fresh_session
from ownkey.http.api_inputs import NewTokenInput
from ownkey.http.api_outputs import NewTokenOut, TokenOut
from ownkey.http.identity import Principal
from ownkey.services.gateway_tokens import DEFAULT_SCOPES

router = APIRouter(prefix="/api")


@router.get("/tokens", tags=["Tokens"])
async def list_tokens(core: CoreDep, caller: Caller) -> list[TokenOut]:
    """Your gateway tokens, revoked ones included. Their text is not stored."""
    return [TokenOut.model_validate(one) for one in await core.tokens.list_tokens(caller.user_id)]


@router.post("/tokens", status_code=201, tags=["Tokens"])
async def create_token(core: CoreDep, caller: Caller, new: NewTokenInput) -> NewTokenOut:
    """Make a gateway token. Its text is in this answer and nowhere else.

    In a session, the scope `admin` needs a fresh sign-in. A panel token makes none, and a gateway token none that
    lasts longer than itself: it would outlive itself.
    """
    made = await core.tokens.create(
        caller.user_id,
        new.name,
        scopes=_grantable_scopes(caller, new.scopes),
        expires_at=_grantable_end(caller, new.expires_at),
        actor=caller.actor,
    )
    return NewTokenOut(token=made.text, **TokenOut.model_validate(made.token).model_dump())


@router.delete("/tokens/{token_id}", status_code=204, tags=["Tokens"])
async def revoke_token(core: CoreDep, caller: Caller, token_id: str) -> Response:
    """End a token now, in every process. It may be the one that you show."""
    await core.tokens.revoke(caller.user_id, token_id, actor=caller.actor)
    return Response(status_code=204)


def _grantable_scopes(caller: Principal, wanted: Sequence[str] | None) -> Sequence[str]:
    """No token makes a stronger one, and a panel's short-lived one none at all. Raises PermissionDenied."""
    if caller.via == "panel":
        raise PermissionDenied("A panel token cannot make gateway tokens.")
    if wanted is None:
        return [scope for scope in DEFAULT_SCOPES if scope in caller.scopes]
    for scope in wanted:
        if scope not in caller.scopes:
            raise PermissionDenied(f"Your own token does not have the scope `{scope}`, so it cannot pass it on.")
    if "admin" in wanted:
        require_fresh_session(caller)
    return wanted


def _grantable_end(caller: Principal, wanted: datetime | None) -> datetime | None:
    """A gateway token makes none that outlives it; what is signed in anew each time may. Raises PermissionDenied."""
    own_end = caller.expires_at if caller.via == "token" else None
    if own_end is not None and (wanted is None or wanted > own_end):
        raise PermissionDenied(
            f"Your own token ends at {own_end.isoformat(timespec='seconds')}, so it cannot make one that lasts longer.",
            param="expires_at",
        )
    return wanted
