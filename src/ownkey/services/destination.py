"""Where a credential's secret may be sent: the catalogue's address, a filled-in template, or the user's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ownkey.domain.policy import Policy
from ownkey.domain.provider import Provider
from ownkey.domain.routing import check_provider
from ownkey.errors import RequestError
from ownkey.upstream.address_guard import check_base_url

BASE_URL_MAX_LENGTH: Final = 300


def check_allowed_provider(provider_id: str, catalog: Mapping[str, Provider], policy: Policy) -> Provider:
    """The provider, if the operator lets users use it. Raises RequestError(unknown_provider, provider_not_allowed)."""
    provider = check_provider(provider_id, catalog)
    if not policy.allows(provider.id):
        raise RequestError(
            f"{provider.label} is switched off in this deployment. Ask the administrator.",
            code="provider_not_allowed",
            http_status=403,
            param="provider",
        )
    return provider


def choose_base_url(
    provider: Provider,
    *,
    base_url: str | None,
    fields: Mapping[str, str] | None,
    custom_allowed: bool,
    allow_private: bool,
) -> str | None:
    """The address to store with a secret; None means the catalogue's own, which only the operator changes.

    `fields` fill the provider's template, whose host belongs to the provider. `base_url` is free and therefore
    needs the operator's leave and passes the address guard.

    Raises RequestError(invalid_base_url) and RequestError(invalid_request) for a field.
    """
    if base_url is not None and fields:
        raise RequestError("Give either a base URL or the provider's fields, not both.", param="base_url")
    if base_url is not None:
        return _check_custom(base_url, custom_allowed, allow_private)
    if provider.fields:
        return _fill_template(provider, fields or {})
    if fields:
        raise RequestError(f"{provider.label} has no fields to fill in.", param="fields")
    # An administrator can change the address of a row that is stored. The secret was given for this one.
    return provider.base_url if provider.stored else None


def _check_custom(base_url: str, custom_allowed: bool, allow_private: bool) -> str:
    if not custom_allowed:
        raise RequestError(
            "This deployment does not allow base URLs of one's own.", code="invalid_base_url", param="base_url"
        )
    if len(base_url) > BASE_URL_MAX_LENGTH:
        raise RequestError(
            f"The base URL is too long: at most {BASE_URL_MAX_LENGTH} characters.",
            code="invalid_base_url",
            param="base_url",
        )
    # The form only: the addresses behind the name are checked whenever a connection is made.
    check_base_url(base_url, allow_private=allow_private)
    return base_url.rstrip("/")


def _fill_template(provider: Provider, fields: Mapping[str, str]) -> str:
    known = {field.name for field in provider.fields}
    for name in fields:
        if name not in known:
            raise RequestError(f"{provider.label} has no field of that name.", param="fields")
    values: dict[str, str] = {}
    for field in provider.fields:
        value = fields.get(field.name, "").strip()
        if not re.fullmatch(field.pattern, value, re.ASCII):
            example = f" Example: {field.example}" if field.example else ""
            raise RequestError(
                f"{field.label} is missing or is not in the expected form.{example}", param=f"fields.{field.name}"
            )
        values[field.name] = value
    return provider.base_url.format_map(values)
