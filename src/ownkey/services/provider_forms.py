"""Providers that administrators add by a form: rows of the catalogue that are kept in the database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ownkey.domain.provider import Provider
from ownkey.errors import Conflict, NotFound, RequestError
from ownkey.providers.catalog import CatalogFault, is_provider_id, read_stored_provider
from ownkey.providers.live_catalog import LiveCatalog
from ownkey.services.changes import Changes
from ownkey.services.deployment import Deployment
from ownkey.storage import catalog as rows
from ownkey.upstream.address_guard import check_base_url

STORED_LIMIT: Final = 100
_PATH: Final = re.compile(r"[a-z_]+(?:\[\d+\](?:\.[a-z]+)?)?", re.ASCII)


class ProviderForms:
    """Every change and its audit row are one transaction, and in force everywhere. Who may is the caller's to check.

    `private_base_urls` lets providers be inside the operator's network; it must agree with the pool's address guard,
    through which all of them are reached.
    """

    def __init__(
        self, changes: Changes, deployment: Deployment, catalog: LiveCatalog, *, private_base_urls: bool
    ) -> None:
        self._changes, self._deployment, self._catalog = changes, deployment, catalog
        self._private_base_urls = private_base_urls

    @property
    def built_in(self) -> frozenset[str]:
        """The providers of the catalogue's files, which no form changes."""
        return frozenset(self._catalog.base)

    async def add(
        self, admin_id: str, provider_id: str, table: Mapping[str, Any], *, actor: str | None = None
    ) -> Provider:
        """A new provider, in the form of a table of `catalog.toml`.

        Raises RequestError(invalid_request, invalid_base_url, provider_limit), Conflict(provider_exists).
        """
        provider = self._check(provider_id, table)
        exists = Conflict("There is a provider of this name already.", code="provider_exists", param="id")
        if provider_id in self._catalog:
            raise exists
        if len(self._catalog) - len(self._catalog.base) >= STORED_LIMIT:
            raise RequestError(f"At most {STORED_LIMIT} providers can be added.", code="provider_limit")
        if not await self._put(admin_id, provider, table, new=True, actor=actor):
            raise exists
        return provider

    async def change(
        self, admin_id: str, provider_id: str, table: Mapping[str, Any], *, actor: str | None = None
    ) -> Provider:
        """The whole row anew. Credentials go on to the address that they were given for.

        Raises NotFound, Conflict(provider_built_in), RequestError(invalid_request, invalid_base_url).
        """
        self._refuse_built_in(provider_id)
        provider = self._check(provider_id, table)
        if not await self._put(admin_id, provider, table, new=False, actor=actor):
            raise _no_such_provider()
        return provider

    async def remove(self, admin_id: str, provider_id: str, *, force: bool = False, actor: str | None = None) -> None:
        """Take a provider out of the catalogue. Credentials of users stay, and are of no use until it is back.

        Raises NotFound, Conflict(provider_built_in), and Conflict(provider_in_use) unless `force`.
        """
        self._refuse_built_in(provider_id)
        if not is_provider_id(provider_id):
            raise _no_such_provider()
        async with self._changes.administer(admin_id) as tx:
            credentials, users = await rows.count_credentials(tx, provider_id)
            details = {"credentials": credentials, "users": users}
            if credentials and not force and provider_id in self._catalog:
                raise Conflict(
                    f"{users} users hold {credentials} API keys there. With force they stay, but serve nobody.",
                    code="provider_in_use",
                    extra=details,
                )
            if not await rows.delete_provider(tx, provider_id, actor=actor or admin_id, details=details):
                raise _no_such_provider()
        await self._deployment.refresh()

    async def _put(
        self, admin_id: str, provider: Provider, table: Mapping[str, Any], *, new: bool, actor: str | None
    ) -> bool:
        details = {"label": provider.label, "base_url": provider.base_url, "dialect": provider.dialect}
        async with self._changes.administer(admin_id) as tx:
            done = await rows.put_provider(tx, provider.id, table, new=new, actor=actor or admin_id, details=details)
        if done:
            await self._deployment.refresh()
        return done

    def _check(self, provider_id: str, table: Mapping[str, Any]) -> Provider:
        try:
            provider = read_stored_provider(provider_id, table)
        except CatalogFault as error:
            # Names that the sender made up are not repeated: what was pasted into the wrong place may be a key.
            field = error.field if _PATH.fullmatch(error.field) else error.field.partition(".")[0]
            raise RequestError(f"{field}: {error.problem}.", param=field) from None
        if provider.local and not self._private_base_urls:
            raise RequestError(
                "Providers inside the operator's network need OWNKEY_PRIVATE_BASE_URLS.",
                code="invalid_base_url",
                param="local",
            )
        # A field stands for a part of a host name, which "x" may be as well.
        address = provider.base_url.format_map({field.name: field.example or "x" for field in provider.fields})
        check_base_url(address, allow_private=self._private_base_urls)
        return provider

    def _refuse_built_in(self, provider_id: str) -> None:
        if provider_id in self._catalog.base:
            raise Conflict(
                "This provider comes with the catalogue: only the operator's file (OWNKEY_CATALOG) changes it.",
                code="provider_built_in",
            )


def _no_such_provider() -> NotFound:
    return NotFound("There is no such provider that an administrator added.")
