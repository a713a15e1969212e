"""`/api/admin`: what an administrator watches. Read-only, and without a way to any secret."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from ownkey.http.access import Admin, CoreDep
from ownkey.http.api_inputs import AdminPageFilter, AdminUsageFilter, UserFilter
from ownkey.http.api_outputs import (
    AdminProviderOut,
    AuditEntryOut,
    EncryptionOut,
    ProviderHealthOut,
    UsageOut,
    UserOut,
)
from ownkey.http.credentials_api import describe_provider
from ownkey.http.usage_api import CSV_TABLE, csv_response, describe_usage

router = APIRouter(prefix="/api/admin", tags=["Administration"])


@router.get("/users")
async def list_users(core: CoreDep, admin: Admin, asked: Annotated[UserFilter, Query()]) -> list[UserOut]:
    """Who there is, with the status of their keys per provider; by id, in pages."""
    found = await core.oversight.list_users(admin.user_id, after=asked.after or "", limit=asked.limit)
    return [UserOut.model_validate(one) for one in found]


@router.get("/usage")
async def get_usage_of_all(core: CoreDep, admin: Admin, asked: Annotated[AdminUsageFilter, Query()]) -> UsageOut:
    """Everybody's usage, summed by the keys you name."""
    return describe_usage(
        await core.usage_report.query_all(admin.user_id, start=asked.start, end=asked.end, group_by=asked.group_by)
    )


@router.get("/usage.csv", response_class=Response, responses=CSV_TABLE)
async def get_usage_of_all_csv(core: CoreDep, admin: Admin, asked: Annotated[AdminUsageFilter, Query()]) -> Response:
    """The same as a file for a spreadsheet. No cell can act as a formula."""
    return csv_response(
        await core.usage_report.query_all(admin.user_id, start=asked.start, end=asked.end, group_by=asked.group_by)
    )


@router.get("/health")
async def get_health(core: CoreDep, admin: Admin) -> list[ProviderHealthOut]:
    """Every provider as the process that answers has met it lately."""
    return [ProviderHealthOut.model_validate(one) for one in core.oversight.list_health()]


@router.get("/providers")
async def list_providers_for_admins(core: CoreDep, admin: Admin) -> list[AdminProviderOut]:
    """The catalogue with addresses and the variables that hold the operator's keys; never a key."""
    policy = core.router.policy
    return [
        AdminProviderOut(
            **describe_provider(one, policy, policy.shared, core.config.custom_base_urls).model_dump(),
            base_url=one.base_url,
            environment=one.environment,
            local=one.local,
        )
        for one in core.catalog.values()
    ]


@router.get("/audit")
async def list_audit_of_all(
    core: CoreDep, admin: Admin, asked: Annotated[AdminPageFilter, Query()]
) -> list[AuditEntryOut]:
    """What was done by anybody, newest first."""
    entries = await core.audit.list_all(admin.user_id, user_id=asked.user_id, limit=asked.limit, before=asked.before)
    return [AuditEntryOut.model_validate(entry) for entry in entries]


@router.get("/encryption")
async def get_encryption(core: CoreDep, admin: Admin) -> EncryptionOut:
    """Which wrapping keys are in use, and by how many users."""
    return EncryptionOut.model_validate(await core.oversight.describe_encryption(admin.user_id))
