"""`/api/admin/providers`: administrators add providers to the catalogue, change and remove them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from ownkey.domain.provider import Provider
from ownkey.http.access import Admin, CoreDep
from ownkey.http.api_inputs import NewProviderInput, ProviderInput
from ownkey.http.api_outputs import AdminProviderOut
from ownkey.http.credentials_api import describe_provider
from ownkey.services.core import Core

router = APIRouter(prefix="/api/admin", tags=["Administration"])


@router.get("/providers")
async def list_providers_for_admins(core: CoreDep, admin: Admin) -> list[AdminProviderOut]:
    """The catalogue with addresses and the variables that hold the operator's keys; never a key."""
    return [_describe(core, one) for one in core.catalog.values()]


@router.post("/providers", status_code=201)
async def add_provider(core: CoreDep, admin: Admin, new: NewProviderInput) -> AdminProviderOut:
    """Add a provider for everybody, in the form of a table of the catalogue's file. It is there in every process."""
    table = new.model_dump(exclude={"id"}, exclude_unset=True, exclude_none=True)
    return _describe(core, await core.provider_forms.add(admin.user_id, new.id, table, actor=admin.actor))


@router.put("/providers/{provider_id}")
async def change_provider(core: CoreDep, admin: Admin, provider_id: str, wanted: ProviderInput) -> AdminProviderOut:
    """Set the whole row of a provider that was added here. Stored keys go on to the address they were given for."""
    table = wanted.model_dump(exclude_unset=True, exclude_none=True)
    return _describe(core, await core.provider_forms.change(admin.user_id, provider_id, table, actor=admin.actor))


@router.delete("/providers/{provider_id}", status_code=204)
async def remove_provider(
    core: CoreDep,
    admin: Admin,
    provider_id: str,
    force: Annotated[bool, Query(description="Remove it even where users hold keys there; those stay.")] = False,
) -> Response:
    """Remove a provider that was added here. Without `force`, one with keys stays and the answer counts them."""
    await core.provider_forms.remove(admin.user_id, provider_id, force=force, actor=admin.actor)
    return Response(status_code=204)


def _describe(core: Core, one: Provider) -> AdminProviderOut:
    policy = core.router.policy
    return AdminProviderOut(
        **describe_provider(one, policy, policy.shared, core.config.custom_base_urls).model_dump(),
        base_url=one.base_url,
        environment=one.environment,
        local=one.local,
        stored=one.stored,
        also=list(one.also),
        counts_tokens=one.counts_tokens,
        auth=one.auth,
        probe=one.probe,
        # The operator's own file may put something private there.
        headers=one.headers if one.stored else {},
        serves=list(one.serves),
        quirks=sorted(one.quirks),
        prices=one.prices,
    )
