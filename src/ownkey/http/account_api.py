"""`/api/export`: what is kept of the caller, to take away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from ownkey.http.access import Caller, CoreDep

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
    """Everything that is kept of you: `user`, `settings`, `preferences`, `tasks`, `credentials`, `tokens`,
    `usage_daily` and `audit`. API keys, tokens and hashes are not in it, nor any text of a request."""
    pieces = await core.export.open(caller.user_id)
    return StreamingResponse(
        pieces,
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="ownkey-export-{datetime.now(UTC).date()}.json"'},
    )
