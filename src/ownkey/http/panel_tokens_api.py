"""`/api/panel-tokens`: how the back end of a host application opens the panel for one of its users."""

from __future__ import annotations

from fastapi import APIRouter

from ownkey.errors import PermissionDenied
from ownkey.http.access import Admin, CoreDep
from ownkey.http.account_inputs import PanelTokenInput
from ownkey.http.account_outputs import PanelTokenOut

router = APIRouter(prefix="/api", tags=["Panel"])


@router.post("/panel-tokens", status_code=201)
async def create_panel_token(core: CoreDep, caller: Admin, wanted: PanelTokenInput) -> PanelTokenOut:
    """Make a short-lived token for the panel in a page of yours, for a user whom your application has signed in.

    For back ends only: it needs a gateway token of an administrator with the scope `admin`. A user who is new is
    created.
    """
    if caller.via != "token":
        raise PermissionDenied("Only a gateway token with the scope `admin` opens panels for other people.")
    made = await core.sessions.open_panel(
        wanted.user_id,
        scopes=wanted.scopes,
        ttl_seconds=wanted.ttl_seconds,
        origin=wanted.origin,
        actor=caller.actor,
    )
    return PanelTokenOut(token=made.text, expires_at=made.expires_at)
