"""`/api/credentials` and `/api/providers`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from msgspec import structs

from ownkey.domain.credential import Credential
from ownkey.domain.credential_advice import advise
from ownkey.domain.policy import Policy
from ownkey.domain.provider import Provider, Quirk
from ownkey.domain.version import credential_version, credentials_version
from ownkey.http.access import Caller, CoreDep, Reader, SignedIn, require_fresh
from ownkey.http.api_inputs import (
    CredentialChange,
    CredentialOrder,
    NewCredential,
    ReplacedSecret,
    SecretAtProvider,
)
from ownkey.http.api_outputs import (
    CallableModelsOut,
    CredentialOut,
    FieldOut,
    ModelOut,
    OfferOut,
    ProviderOut,
    RevealedOut,
    TestOut,
)
from ownkey.http.if_match import (
    VERSIONED,
    VERSIONED_GONE,
    VERSIONED_NEW,
    SeenCredential,
    SeenCredentials,
    put_etag,
)
from ownkey.http.problems import problems_at
from ownkey.services.core import Core
from ownkey.services.expiry import utc_now

router = APIRouter(prefix="/api", tags=["API keys"])

NO_LIST: Final[dict[int | str, dict[str, Any]]] = problems_at(402, 502, 504)


@router.get("/providers", tags=["Providers"])
async def list_providers(core: CoreDep, caller: Reader) -> list[ProviderOut]:
    """All providers of this deployment, with what a form for a key needs."""
    policy = core.router.policy
    shared = policy.shared_for(caller.user_id)
    return [describe_provider(one, policy, shared, core.config.custom_base_urls) for one in core.catalog.values()]


@router.get("/credentials", responses=VERSIONED)
async def list_credentials(core: CoreDep, caller: Caller, response: Response) -> list[CredentialOut]:
    """Your API keys by provider and order, masked."""
    held = await core.settings.list_credentials(caller.user_id)
    put_etag(response, credentials_version(held))
    return [_describe(core, one) for one in held]


@router.post("/credentials", status_code=201, responses=VERSIONED_NEW)
async def add_credential(
    core: CoreDep, caller: Caller, new: NewCredential, seen: SeenCredentials, response: Response
) -> CredentialOut:
    """Store an API key. It is sealed before it reaches the database and never shown again."""
    stored = await core.settings.expecting(seen).add_credential(
        caller.user_id,
        new.provider,
        new.secret.get_secret_value(),
        label=new.label,
        base_url=new.base_url,
        fields=new.fields or None,
        expires_at=new.expires_at,
        position=new.position,
        actor=caller.actor,
    )
    put_etag(response, seen.version)
    return _describe(core, stored)


@router.post("/credentials/test")
async def test_secret(core: CoreDep, caller: Caller, tried: SecretAtProvider) -> TestOut:
    """Try an API key at its provider before saving it. Nothing is stored."""
    result = await core.settings.test_secret(
        caller.user_id,
        tried.provider,
        tried.secret.get_secret_value(),
        base_url=tried.base_url,
        fields=tried.fields or None,
    )
    return TestOut.model_validate(result)


@router.put("/credentials/order", responses=VERSIONED)
async def order_credentials(
    core: CoreDep, caller: Caller, order: CredentialOrder, seen: SeenCredentials, response: Response
) -> list[CredentialOut]:
    """In which order your keys at one provider are tried."""
    ordered = await core.settings.expecting(seen).reorder_credentials(
        caller.user_id, order.provider, order.credential_ids, actor=caller.actor
    )
    put_etag(response, seen.version)
    return [_describe(core, one) for one in ordered]


@router.patch("/credentials/{credential_id}", responses=VERSIONED)
async def update_credential(
    core: CoreDep,
    caller: Caller,
    credential_id: str,
    change: CredentialChange,
    seen: SeenCredential,
    response: Response,
) -> CredentialOut:
    """Change what is given. A new base URL erases the stored key: it was not given for that address."""
    changed = await core.settings.expecting(seen).update_credential(
        caller.user_id, credential_id, actor=caller.actor, **change.model_dump(exclude_unset=True)
    )
    put_etag(response, seen.version)
    return _describe(core, changed)


@router.delete("/credentials/{credential_id}", status_code=204, responses=VERSIONED_GONE)
async def remove_credential(
    core: CoreDep,
    caller: Caller,
    credential_id: str,
    seen: SeenCredential,
    force: Annotated[bool, Query(description="Remove it even from the tasks that are bound to it.")] = False,
) -> Response:
    """Erase an API key. Without `force`, one that a task is bound to stays and the answer names the tasks."""
    await core.settings.expecting(seen).remove_credential(
        caller.user_id, credential_id, force=force, actor=caller.actor
    )
    response = Response(status_code=204)
    put_etag(response, seen.version)
    return response


@router.post("/credentials/{credential_id}/test")
async def test_credential(core: CoreDep, caller: Caller, credential_id: str) -> TestOut:
    """Try a stored API key at its provider and keep the result as its status."""
    return TestOut.model_validate(
        await core.settings.test_credential(caller.user_id, credential_id, actor=caller.actor)
    )


@router.get("/credentials/{credential_id}/models", responses=NO_LIST)
async def list_credential_models(
    core: CoreDep,
    caller: Caller,
    credential_id: str,
    refresh: Annotated[bool, Query(description="Ask the provider again, at most every few seconds.")] = False,
) -> CallableModelsOut:
    """The models that this key can call, asked of the provider with the key and kept for some hours.

    When the provider refuses, the problem's `code` is that of a failed request: `credential_rejected`,
    `credential_limited`, `rate_limit_exceeded`, `provider_unreachable`…
    """
    found = await core.credential_models.list_models(caller.user_id, credential_id, refresh=refresh)
    return CallableModelsOut.model_validate(found)


@router.post("/credentials/{credential_id}/reveal")
async def reveal_credential(core: CoreDep, caller: SignedIn, credential_id: str) -> RevealedOut:
    """Show one of your own stored keys once more. Off unless the administrators' policy has `reveal_keys`.

    Only for a person who is signed in and has confirmed that within the last five minutes
    (`POST /api/session/confirm`); no token can. It is in the audit trail before the key leaves.
    """
    shown = await core.credential_reveal.reveal(require_fresh(caller).user_id, credential_id, actor=caller.actor)
    return RevealedOut(secret=shown.secret.reveal(), hides_at=shown.hides_at)


@router.post("/credentials/{credential_id}/replace", responses=VERSIONED)
async def replace_credential(
    core: CoreDep, caller: Caller, credential_id: str, new: ReplacedSecret, seen: SeenCredential, response: Response
) -> CredentialOut:
    """Put a new key in the place of the old one: id, label, order and history stay."""
    moved = {"base_url": new.base_url} if "base_url" in new.model_fields_set else {}
    replaced = await core.settings.expecting(seen).replace_credential(
        caller.user_id,
        credential_id,
        new.secret.get_secret_value(),
        fields=new.fields or None,
        actor=caller.actor,
        **moved,
    )
    put_etag(response, seen.version)
    return _describe(core, replaced)


def _describe(core: Core, credential: Credential) -> CredentialOut:
    advice = advise(credential, core.catalog.get(credential.provider), utc_now())
    return CredentialOut.model_validate(
        {
            **structs.asdict(credential),
            "version": credential_version(credential),
            "health": structs.asdict(advice),
            "next_probe_at": credential.probe_at,
        }
    )


def describe_provider(
    provider: Provider, policy: Policy, shared: Collection[str], custom_base_urls: bool
) -> ProviderOut:
    """A provider for a form, with the operator's key behind it where it is among `shared`.

    Its address stays out: a local one would show the operator's network.
    """
    return ProviderOut(
        id=provider.id,
        label=provider.label,
        dialect=provider.dialect,
        needs_key=provider.auth != "none",
        get_key_url=provider.get_key_url,
        docs_url=provider.docs_url,
        key_prefixes=list(provider.key_prefixes),
        fields=[FieldOut.model_validate(field) for field in provider.fields],
        default_models=provider.defaults,
        models=[ModelOut.model_validate(model) for model in provider.models.values()],
        embeddings=Quirk.NO_EMBEDDINGS not in provider.quirks,
        operations={name: OfferOut.model_validate(offer) for name, offer in provider.operations.items()},
        allowed=policy.allows(provider.id),
        shared_key=provider.id in shared,
        custom_base_url=custom_base_urls,
    )
