"""`/api/usage`, `/api/requests` (both as files, too) and `/api/audit`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from ownkey.http.access import CoreDep, Reader
from ownkey.http.api_inputs import PageFilter, RequestChoice, RequestFilter, UsageFilter
from ownkey.http.api_outputs import AuditEntryOut, LoggedRequestOut, UsageOut, UsageRowOut
from ownkey.services.core import Core
from ownkey.services.request_log import write_requests_csv
from ownkey.services.usage_report import Usage, write_csv

router = APIRouter(prefix="/api")

CSV_TABLE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A table with a header line.", "content": {"text/csv": {"schema": {"type": "string"}}}}
}


@router.get("/usage", tags=["Usage"])
async def get_usage(core: CoreDep, caller: Reader, asked: Annotated[UsageFilter, Query()]) -> UsageOut:
    """Your usage, summed by the keys you name. `payer` tells your own keys from the operator's."""
    return describe_usage(await _query(core, caller.user_id, asked))


@router.get("/usage.csv", tags=["Usage"], response_class=Response, responses=CSV_TABLE)
async def get_usage_csv(core: CoreDep, caller: Reader, asked: Annotated[UsageFilter, Query()]) -> Response:
    """The same rows as a file for a spreadsheet. No cell can act as a formula."""
    return csv_response(await _query(core, caller.user_id, asked))


@router.get("/usage.json", tags=["Usage"])
async def get_usage_json(
    core: CoreDep, caller: Reader, asked: Annotated[UsageFilter, Query()], response: Response
) -> UsageOut:
    """The same as a file for programs."""
    usage = await _query(core, caller.user_id, asked)
    name_download(response, _file_name(usage), "json")
    return describe_usage(usage)


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
        start=asked.start,
        end=asked.end,
        **asked.choice(),
    )
    return [LoggedRequestOut.model_validate(one) for one in found]


@router.get("/requests.csv", tags=["Usage"], response_class=Response, responses=CSV_TABLE)
async def list_requests_csv(core: CoreDep, caller: Reader, asked: Annotated[RequestChoice, Query()]) -> Response:
    """The same as a file for a spreadsheet: a line per attempt, of at most 10,000 requests. No cell is a formula."""
    found = await core.request_log.export(caller.user_id, start=asked.start, end=asked.end, **asked.choice())
    return table_response("requests", write_requests_csv(found))


@router.get("/requests.json", tags=["Usage"])
async def list_requests_json(
    core: CoreDep, caller: Reader, asked: Annotated[RequestChoice, Query()], response: Response
) -> list[LoggedRequestOut]:
    """The same as a file for programs, of at most 10,000 requests."""
    found = await core.request_log.export(caller.user_id, start=asked.start, end=asked.end, **asked.choice())
    name_download(response, "requests", "json")
    return [LoggedRequestOut.model_validate(one) for one in found]


@router.get("/requests/{request_id}", tags=["Usage"])
async def get_request(core: CoreDep, caller: Reader, request_id: str) -> LoggedRequestOut:
    """One of your requests, by its `X-Ownkey-Request-Id`: its attempts in order, and what each of them cost.

    A request that was refused before any provider was called (a budget, a cap, no key) is not kept.
    """
    return LoggedRequestOut.model_validate(await core.request_log.get_request(caller.user_id, request_id))


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
        exact=bool(usage.exact),
        rows=[UsageRowOut.model_validate(row) for row in usage.rows],
        total=UsageRowOut.model_validate(usage.total),
    )


def csv_response(usage: Usage) -> Response:
    """A report as a download."""
    return table_response(_file_name(usage), write_csv(usage))


def table_response(name: str, table: str) -> Response:
    """A table as a download."""
    response = Response(table, media_type="text/csv; charset=utf-8")
    name_download(response, name, "csv")
    return response


def name_download(response: Response, name: str, kind: str) -> None:
    """Have a browser keep the answer as a file."""
    response.headers["content-disposition"] = f'attachment; filename="ownkey-{name}.{kind}"'


async def _query(core: Core, user_id: str, asked: UsageFilter) -> Usage:
    return await core.usage_report.query(
        user_id, start=asked.start, end=asked.end, group_by=asked.group_by, measure=True, **asked.choice()
    )


def _file_name(usage: Usage) -> str:
    return f"usage-{usage.query.start}-{usage.query.end}"
