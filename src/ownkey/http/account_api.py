"""`/api/export` and `/api/account`: what is kept of the caller, to take away and to erase."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from ownkey.errors import RequestError
from ownkey.http.access import Caller, CoreDep, require_fresh
from ownkey.http.account_inputs import ErasureInput
from ownkey.http.account_outputs import ErasureReceiptOut
from ownkey.http.session_cookie import expired_cookie_header

router = APIRouter(prefix="/api", tags=["Account"])

_DOCUMENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One JSON document, sent as it is read. It is whole when it is valid JSON.",
        "content": {"application/json": {"schema": {"type": "object"}}},
        "headers": {
            "Content-Disposition": {
                "description": "`attachment`, with a name for the file.",
                "schema": {"type": "string"},
            }
        },
    }
}


@router.get("/export", response_class=StreamingResponse, responses=_DOCUMENT)
async def export_account(core: CoreDep, caller: Caller) -> StreamingResponse:
    """Everything that is kept of you: `user`, `settings`, `preferences`, `tasks`, `credentials`, `tokens`, `account`,
    `sessions`, `usage_daily` and `audit`. API keys, passwords, tokens and hashes are not in it, nor any text of a
    request."""
    pieces = await core.export.open(caller.user_id)
    return StreamingResponse(
        pieces,
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="ownkey-export-{datetime.now(UTC).date()}.json"'},
    )


@router.delete("/account")
async def delete_account(core: CoreDep, caller: Caller, erasure: ErasureInput, response: Response) -> ErasureReceiptOut:
    """Erase yourself: keys, settings, preferences, tasks, tokens, sessions and usage, at once and in every process.

    Only the audit entries stay; they hold no secret. The answer is a receipt. A person who is signed in must have
    confirmed that within the last five minutes (`POST /api/session/confirm`). The last administrator stays.
    """
    if caller.via == "session":
        require_fresh(caller)
    if erasure.confirm != caller.user_id:
        raise RequestError(
            "To erase yourself, repeat your user id exactly. Nothing was changed.",
            code="confirmation_mismatch",
            param="confirm",
        )
    receipt = await core.administration.delete_user(caller.user_id, actor=caller.actor)
    response.headers["set-cookie"] = expired_cookie_header()
    return ErasureReceiptOut.model_validate(receipt)
