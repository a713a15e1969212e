"""`/api/usage`, `/api/usage.csv`, `/api/requests` and `/api/audit`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from ownkey.http.access import CoreDep, Reader
from ownkey.http.api_inputs import PageFilter, RequestFilter, UsageFilter
from ownkey.http.api_outputs import AuditEntryOut, LoggedRequestOut, UsageOut, UsageRowOut
from ownkey.services.usage_report import Usage, write_csv

router = APIRouter(prefix="/api")

CSV_TABLE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A table with a header line.", "content": {"text/csv": {"schema": {"type": "string"}}}}
}


@router.get("/usage", tags=["Usage"])
async def get_usage(core: CoreDep, caller: Reader, asked: Annotated[UsageFilter, Query()]) -> UsageOut:
    """Your usage, summed by the keys you name. `payer` tells your own keys from the operator's."""
    return describe_usage(
        await core.usage_report.query(
            caller.user_id, start=asked.start, end=asked.end, group_by=asked.group_by, measure=True
        )
    )


@router.get("/usage.csv", tags=["Usage"], response_class=Response, responses=CSV_TABLE)
async def get_usage_csv(core: CoreDep, caller: Reader, asked: Annotated[UsageFilter, Query()]) -> Response:
    """The same as a file for a spreadsheet. No cell can act as a formula."""
    return csv_response(
        await core.usage_report.query(caller.user_id, start=asked.start, end=asked.end, group_by=asked.group_by)
    )


@router.get("/requests", tags=["Usage"])
async def list_requests(
    core: CoreDep, caller: Reader, asked: Annotated[RequestFilter, Query()]
) -> list[LoggedRequestOut]:
    """Your latest requests, newest first: what was tried for each, whose key paid, what it cost and why it failed.

    No text of a request or an answer is kept anywhere.
    """
    found = await core.request_log.list_requests(
        caller.user_id,
        limit=asked.limit,
        before=asked.before,
        provider=asked.provider,
        task=asked.task,
        outcome=asked.outcome,
    )
    return [LoggedRequestOut.model_validate(one) for one in found]


@router.get("/audit", tags=["Audit"])
async def list_audit(core: CoreDep, caller: Reader, asked: Annotated[PageFilter, Query()]) -> list[AuditEntryOut]:
    """What was done to your settings, keys and tokens, and by whom; newest first."""
    entries = await core.audit.list_entries(caller.user_id, limit=asked.limit, before=asked.before)
    return [AuditEntryOut.model_validate(entry) for entry in entries]


def describe_usage(usage: Usage) -> UsageOut:
    """A report as JSON."""
    return UsageOut(
        start=usage.query.start,
        end=usage.query.end,
        group_by=list(usage.query.group_by),
        rows=[UsageRowOut.model_validate(row) for row in usage.rows],
        total=UsageRowOut.model_validate(usage.total),
    )


def csv_response(usage: Usage) -> Response:
    """A report as a download."""
    return table_response(f"usage-{usage.query.start}-{usage.query.end}", write_csv(usage))


def table_response(name: str, table: str) -> Response:
    """A table as a download."""
    return Response(
        table,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="ownkey-{name}.csv"'},
    )
