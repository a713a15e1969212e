"""`/api/policy` and `/api/admin/policy`: what is decided for everybody."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Response

from ownkey.domain.policy import PolicyDocument, check_nothing_left_out
from ownkey.http.access import Admin, CoreDep, Reader
from ownkey.http.api_inputs import PolicyInput
from ownkey.http.api_outputs import PolicyFrameOut, PolicyOut, UserPolicyOut
from ownkey.http.if_match import VERSIONED, Shown, put_etag
from ownkey.services.core import Core
from ownkey.services.policies import changed_elsewhere
from ownkey.storage.policy import StoredPolicy

router = APIRouter(prefix="/api", tags=["Policy"])

_ETAG: Final = re.compile(r'(?:W/)?"(\d{1,18})"', re.ASCII)


@router.get("/policy")
async def get_policy(core: CoreDep, caller: Reader) -> UserPolicyOut:
    """What the administrators decided, as far as it concerns you."""
    told = core.policies.describe(caller.user_id)
    return UserPolicyOut.model_validate({**msgspec.to_builtins(told), "custom_base_urls": core.config.custom_base_urls})


@router.get("/admin/policy", responses=VERSIONED, tags=["Administration"])
async def get_whole_policy(core: CoreDep, admin: Admin, response: Response) -> PolicyOut:
    """What is decided for everybody, and the frame that the operator's environment sets."""
    return _answer(core, await core.policies.get(admin.user_id), response)


@router.put("/admin/policy", responses=VERSIONED, tags=["Administration"])
async def put_policy(
    core: CoreDep,
    admin: Admin,
    wanted: PolicyInput,
    response: Response,
    if_match: Shown = None,
    reset: Annotated[bool, Query(description="Set what is left out back to its default, instead of refusing.")] = False,
) -> PolicyOut:
    """Replace the whole policy, for every process and from now on. With `If-Match`, only over the version that you saw.

    What `GET` answered has all that is asked for, but for `frame`, `generation`, `updated_at`, `updated_by` and
    `unknown_users`, which are not decided here.
    """
    if not reset:
        check_nothing_left_out(
            wanted.model_dump(exclude_unset=True),
            "Change what GET /api/admin/policy answers and send all of it, or mean it: ?reset=true.",
        )
    document = msgspec.convert(wanted.model_dump(), PolicyDocument)
    stored = await core.policies.put(admin.user_id, document, expected=_read_etag(if_match), actor=admin.actor)
    return _answer(core, stored, response)


def _answer(core: Core, stored: StoredPolicy, response: Response) -> PolicyOut:
    frame = core.policies.frame
    put_etag(response, str(stored.generation))
    return PolicyOut.model_validate(
        {
            **msgspec.to_builtins(stored.document),
            "frame": PolicyFrameOut(
                allowed_providers=None if frame.allowed is None else sorted(frame.allowed),
                shared_providers=[name for name in core.catalog if name in frame.shared],
            ),
            "generation": stored.generation,
            "updated_at": stored.updated_at,
            "updated_by": stored.updated_by,
            "unknown_users": list(stored.unknown_users),
        }
    )


def _read_etag(if_match: str | None) -> int | None:
    """The generation of an If-Match header; None where there is none, or where any will do. Raises ChangedElsewhere."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise changed_elsewhere()
    return int(found[1])
