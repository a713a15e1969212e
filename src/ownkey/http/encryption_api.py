"""`/api/admin/encryption`: wrapping keys, and the rotation from one to the next. No key is ever in an answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from ownkey.http.access import Admin, CoreDep, refuse_panel, require_fresh_session
from ownkey.http.api_outputs import EncryptionOut
from ownkey.services.core import Core

router = APIRouter(prefix="/api/admin/encryption", tags=["Administration"])

KeyId = Annotated[str, Path(min_length=1, max_length=200, description="The id of a wrapping key.")]


@router.get("")
async def get_encryption(core: CoreDep, admin: Admin) -> EncryptionOut:
    """Which wrapping keys there are, how many data keys each wraps, and which processes hold it."""
    return await _answer(core, admin.user_id)


@router.post("/keys/{key_id}/promote")
async def promote_key(core: CoreDep, admin: Admin, key_id: KeyId) -> EncryptionOut:
    """Let this key wrap from now on, and bring every data key under it in the background of the process that answers.

    It has to be loaded in every live process. To call a rotation off, promote the key that was primary before.
    """
    require_fresh_session(admin)
    await core.rotation.promote(admin.user_id, key_id, actor=admin.actor)
    core.rotation.start()
    return await _answer(core, admin.user_id)


@router.post("/rewrap")
async def rewrap_keys(core: CoreDep, admin: Admin) -> EncryptionOut:
    """Go on with a rotation that was interrupted. Several processes may work on it at once."""
    refuse_panel(admin)
    core.rotation.start()
    return await _answer(core, admin.user_id)


@router.post("/keys/{key_id}/retire")
async def retire_key(core: CoreDep, admin: Admin, key_id: KeyId) -> EncryptionOut:
    """Close a key under which nothing is left. The database lets no data key come under it again."""
    require_fresh_session(admin)
    await core.rotation.retire(admin.user_id, key_id, actor=admin.actor)
    return await _answer(core, admin.user_id)


@router.post("/keys/{key_id}/destroy")
async def destroy_key(core: CoreDep, admin: Admin, key_id: KeyId) -> EncryptionOut:
    """Note that every copy of a retired key is erased. No live process may hold it still."""
    require_fresh_session(admin)
    await core.rotation.destroy(admin.user_id, key_id, actor=admin.actor)
    return await _answer(core, admin.user_id)


async def _answer(core: Core, admin_id: str) -> EncryptionOut:
    return EncryptionOut.model_validate(await core.rotation.describe(admin_id))
