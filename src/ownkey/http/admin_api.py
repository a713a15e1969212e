"""`/api/admin`: what an administrator watches. Read-only, and without a way to any secret."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from msgspec import structs

from ownkey.http.access import Admin, CoreDep
from ownkey.http.api_inputs import AdminUsageFilter, AuditFilter, AuditPageFilter, DaysFilter, UserFilter, UserSearch
from ownkey.http.api_outputs import (
    AuditEntryOut,
    FallbackOut,
    ProviderHealthOut,
    SharedUserOut,
    UsageOut,
    UserOut,
    VerificationOut,
)
from ownkey.http.usage_api import CSV_TABLE, csv_response, describe_usage, name_download, table_response
from ownkey.services.audit_trail import EXPORT_LIMIT, write_audit_csv
from ownkey.services.core import Core
from ownkey.services.oversight import USERS_EXPORT_LIMIT, write_users_csv
from ownkey.services.traffic_report import write_shared_users_csv
from ownkey.services.usage_report import Usage
from ownkey.storage.traffic import ProviderMeasure

router = APIRouter(prefix="/api/admin", tags=["Administration"])


@router.get("/users")
async def list_users(core: CoreDep, admin: Admin, asked: Annotated[UserFilter, Query()]) -> list[UserOut]:
    """Who there is, with the status of their keys per provider and what they used; by id, in pages."""
    found = await core.oversight.list_users(
        admin.user_id, after=asked.after or "", limit=asked.limit, holding=asked.q or None
    )
    return [UserOut.model_validate(one) for one in found]


@router.get("/users.csv", response_class=Response, responses=CSV_TABLE)
async def list_users_csv(core: CoreDep, admin: Admin, asked: Annotated[UserSearch, Query()]) -> Response:
    """All of them as a file for a spreadsheet. No cell can act as a formula."""
    found = await core.oversight.list_users(admin.user_id, limit=USERS_EXPORT_LIMIT, holding=asked.q or None)
    return table_response("users", write_users_csv(found))


@router.get("/usage")
async def get_usage_of_all(core: CoreDep, admin: Admin, asked: Annotated[AdminUsageFilter, Query()]) -> UsageOut:
    """Everybody's usage, summed by the keys you name."""
    return describe_usage(await _query_usage(core, admin.user_id, asked))


@router.get("/usage.csv", response_class=Response, responses=CSV_TABLE)
async def get_usage_of_all_csv(core: CoreDep, admin: Admin, asked: Annotated[AdminUsageFilter, Query()]) -> Response:
    """The same rows as a file for a spreadsheet. No cell can act as a formula."""
    return csv_response(await _query_usage(core, admin.user_id, asked))


@router.get("/usage.json")
async def get_usage_of_all_json(
    core: CoreDep, admin: Admin, asked: Annotated[AdminUsageFilter, Query()], response: Response
) -> UsageOut:
    """The same as a file for programs."""
    usage = await _query_usage(core, admin.user_id, asked)
    name_download(response, f"usage-{usage.query.start}-{usage.query.end}", "json")
    return describe_usage(usage)


@router.get("/health")
async def get_health(core: CoreDep, admin: Admin) -> list[ProviderHealthOut]:
    """Every provider: as the process that answers has met it lately, and as everybody met it in the last hour."""
    measured = await core.traffic.measure_providers(admin.user_id)
    return [
        ProviderHealthOut.model_validate(
            {**structs.asdict(measured.get(one.provider) or ProviderMeasure(provider="")), **structs.asdict(one)}
        )
        for one in core.oversight.list_health()
    ]


@router.get("/fallbacks")
async def list_fallbacks(core: CoreDep, admin: Admin, asked: Annotated[DaysFilter, Query()]) -> list[FallbackOut]:
    """Which provider requests fell to from which, how often, and why; the most frequent first."""
    found = await core.traffic.list_fallbacks(admin.user_id, start=asked.start, end=asked.end)
    return [FallbackOut.model_validate(one) for one in found]


@router.get("/shared-users")
async def list_shared_users(core: CoreDep, admin: Admin, asked: Annotated[DaysFilter, Query()]) -> list[SharedUserOut]:
    """Who runs on the operator's keys, the most expensive first."""
    found = await core.traffic.list_shared_users(admin.user_id, start=asked.start, end=asked.end)
    return [SharedUserOut.model_validate(one) for one in found]


@router.get("/shared-users.csv", response_class=Response, responses=CSV_TABLE)
async def list_shared_users_csv(core: CoreDep, admin: Admin, asked: Annotated[DaysFilter, Query()]) -> Response:
    """The same as a file for a spreadsheet. No cell can act as a formula."""
    found = await core.traffic.list_shared_users(admin.user_id, start=asked.start, end=asked.end)
    return table_response("shared-users", write_shared_users_csv(found))


@router.get("/audit")
async def list_audit_of_all(
    core: CoreDep, admin: Admin, asked: Annotated[AuditPageFilter, Query()]
) -> list[AuditEntryOut]:
    """What was done by anybody, newest first."""
    entries = await core.audit.list_all(admin.user_id, **_restrictions(asked), limit=asked.limit, before=asked.before)
    return [AuditEntryOut.model_validate(entry) for entry in entries]


@router.get("/audit.csv", response_class=Response, responses=CSV_TABLE)
async def list_audit_of_all_csv(core: CoreDep, admin: Admin, asked: Annotated[AuditFilter, Query()]) -> Response:
    """The same as a file for a spreadsheet, at most 50,000 entries. No cell can act as a formula."""
    entries = await core.audit.list_all(admin.user_id, **_restrictions(asked), limit=EXPORT_LIMIT)
    return table_response("audit", write_audit_csv(entries))


@router.post("/audit/verify")
async def verify_audit(core: CoreDep, admin: Admin) -> VerificationOut:
    """Recompute every chain of the audit log, and say where the first entry is that is not as it was written."""
    return VerificationOut.model_validate(await core.audit.verify())


async def _query_usage(core: Core, admin_id: str, asked: AdminUsageFilter) -> Usage:
    return await core.usage_report.query_all(
        admin_id, start=asked.start, end=asked.end, group_by=asked.group_by, measure=True, **asked.choice()
    )


def _restrictions(asked: AuditFilter) -> dict[str, Any]:
    """The filter as moments: the last day counts whole."""
    start = None if asked.start is None else datetime.combine(asked.start, time(), UTC)
    end = None if asked.end is None else datetime.combine(asked.end, time.max, UTC)
    return {"user_id": asked.user_id, "actor": asked.actor, "action": asked.action, "start": start, "end": end}
