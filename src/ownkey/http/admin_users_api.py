"""`/api/admin/users`: what administrators do to users. An id may hold slashes, written as they are or as `%2F`.

What would give somebody at an abandoned desk a way in that lasts (a link to another person's account, another
administrator) needs a fresh sign-in, and no panel token can do it.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from msgspec import UNSET

from ownkey.domain.user import Role, UserStatus
from ownkey.errors import NotFound
from ownkey.http.access import Admin, CoreDep, OriginsDep, refuse_panel, require_fresh_session
from ownkey.http.account_inputs import NewUserInput, UserChange
from ownkey.http.account_outputs import ChangedUserOut, ErasureReceiptOut, NewLinkOut
from ownkey.http.origins import Origins
from ownkey.services.core import Core
from ownkey.services.one_time_links import NewLink

router = APIRouter(prefix="/api/admin/users", tags=["Administration"])

_OF_SESSIONS: Final = b"/sessions"


@router.post("", status_code=201)
async def create_user(
    core: CoreDep, origins: OriginsDep, request: Request, admin: Admin, new: NewUserInput
) -> NewLinkOut:
    """Make a user, and the link with which they set their password. It works once, within a day.

    In a session it needs a fresh sign-in where the user will be an administrator, or is somebody whom a host
    application brought already. A panel token makes no link at all.
    """
    refuse_panel(admin)
    user_id = new.id or new.login or ""
    if new.role == "admin" or await _exists(core, user_id):
        require_fresh_session(admin)
    link = await core.links.invite(user_id, login=new.login, role=Role(new.role), actor=admin.actor)
    return _describe(link, origins, request)


@router.post("/{user_id:path}/reset", status_code=201)
async def create_reset_link(
    core: CoreDep, origins: OriginsDep, request: Request, admin: Admin, user_id: str
) -> NewLinkOut:
    """A link with which a user sets a new password. The old one works until then; an earlier link does not.

    In a session it needs a fresh sign-in. A panel token makes none.
    """
    require_fresh_session(admin)
    return _describe(await core.links.reset(user_id, actor=admin.actor), origins, request)


@router.patch("/{user_id:path}")
async def change_user(core: CoreDep, admin: Admin, user_id: str, change: UserChange) -> ChangedUserOut:
    """Another role, status or group, now and in every process. Who is suspended is signed out as well.

    In a session, making an administrator needs a fresh sign-in. A panel token makes none.
    """
    if change.role == "admin":
        require_fresh_session(admin)
    changed = await core.administration.change_user(
        user_id,
        role=None if change.role is None else Role(change.role),
        status=None if change.status is None else UserStatus(change.status),
        group=change.group if "group" in change.model_fields_set else UNSET,
        actor=admin.actor,
    )
    return ChangedUserOut.model_validate(changed)


@router.delete("/{user_id:path}/sessions", status_code=204)
async def end_sessions_of_user(core: CoreDep, admin: Admin, request: Request, user_id: str) -> Response:
    """Sign a user out everywhere, now."""
    if not request.scope.get("raw_path", _OF_SESSIONS).endswith(_OF_SESSIONS):
        # The slash was written as %2F: this is the end of an id, and that user is to be erased.
        receipt = await delete_user(core, admin, user_id + _OF_SESSIONS.decode())
        return JSONResponse(receipt.model_dump(mode="json"))
    await core.administration.end_sessions(user_id, actor=admin.actor)
    return Response(status_code=204)


@router.delete("/{user_id:path}")
async def delete_user(core: CoreDep, admin: Admin, user_id: str) -> ErasureReceiptOut:
    """Erase a user with their keys, settings, tokens and usage; the answer is a receipt. The audit entries stay."""
    return ErasureReceiptOut.model_validate(await core.administration.delete_user(user_id, actor=admin.actor))


async def _exists(core: Core, user_id: str) -> bool:
    try:
        await core.users.get(user_id)
    except NotFound:
        return False
    return True


def _describe(link: NewLink, origins: Origins, request: Request) -> NewLinkOut:
    return NewLinkOut(
        user_id=link.user_id,
        login=link.login,
        purpose=link.purpose.value,
        link=link.url(origins.base_url(request.scope)),
        expires_at=link.expires_at,
    )
