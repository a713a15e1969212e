"""A user's credentials: added, tested, replaced, ordered and removed, each change with its audit row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from msgspec import UNSET, UnsetType, structs

from ownkey.domain.audit import AuditAction
from ownkey.domain.credential import (
    Credential,
    CredentialStatus,
    Secret,
    choose_label,
    clean_label,
    clean_secret,
    mask_secret,
)
from ownkey.domain.credential_advice import PROVIDER_GONE
from ownkey.domain.provider import Provider
from ownkey.domain.routing import check_provider
from ownkey.domain.usage import is_record_id, new_id
from ownkey.errors import Conflict, NotFound, RequestError
from ownkey.services.changes import Change, Changes
from ownkey.services.credential_status import StatusKeeper
from ownkey.services.destination import check_allowed_provider, choose_base_url
from ownkey.services.expiry import check_expiry
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.vault import Vault
from ownkey.storage import credentials as rows
from ownkey.storage import settings as choice_rows

CREDENTIALS_LIMIT: Final = 50
POSITION_LIMIT: Final = 10_000
_CHANGEABLE: Final = frozenset({"label", "enabled", "position", "expires_at", "base_url", "fields"})


class CredentialService:
    """The credentials half of `UserLLMSettingsService`."""

    def __init__(
        self,
        changes: Changes,
        vault: Vault,
        *,
        catalog: Mapping[str, Provider],
        policies: PolicyBoard,
        keeper: StatusKeeper,
        custom_base_urls: bool,
        private_base_urls: bool,
        forgive: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._changes, self._vault = changes, vault
        self._catalog, self._policies, self._keeper = catalog, policies, keeper
        self._custom_base_urls, self._private_base_urls = custom_base_urls, private_base_urls
        self._forgive, self._now = forgive, now

    async def list_credentials(self, user_id: str) -> list[Credential]:
        """The user's credentials by provider and position, without any secret."""
        async with self._changes.read(user_id) as tx:
            return self._as_of_now(await rows.list_credentials(tx))

    async def add_credential(
        self,
        user_id: str,
        provider: str,
        secret: str,
        *,
        label: str = "",
        base_url: str | None = None,
        fields: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
        position: int | None = None,
        actor: str | None = None,
    ) -> Credential:
        """Seal and store a secret; it goes behind the user's others at this provider unless a position is given.

        Without a label it gets one that tells it from those.
        Raises RequestError(unknown_provider, provider_not_allowed, invalid_secret, invalid_base_url,
        invalid_request, credential_limit) and Conflict(duplicate_secret).
        """
        row = check_allowed_provider(provider, self._catalog, self._policies.current)
        plain, named = read_secret(secret, row), clean_label(label) if label.strip() else None
        expires_at = check_expiry(expires_at, self._now())
        url = self._choose_url(row, base_url, fields)
        if position is not None:
            _check_position(position)
        async with self._changes.begin(user_id, actor) as change:
            held = await rows.list_credentials(change.tx)
            _check_room(held)
            credential_id = new_id()
            sealed, mark = await self._vault.seal(change.tx, user_id, row.id, credential_id, plain, 1)
            await _refuse_duplicate(change.tx, row.id, mark)
            there = [one for one in held if one.provider == row.id]
            if position is None:
                position = 1 + max((one.position for one in there), default=-1)
            label = named or choose_label({one.label for one in there})
            await rows.insert_credential(
                change.tx,
                id=credential_id,
                user_id=user_id,
                provider=row.id,
                label=label,
                hint=mask_secret(plain),
                base_url=url,
                position=position,
                expires_at=expires_at,
                sealed=sealed,
                generation=1,
                fingerprint=mark,
            )
            await change.record(
                AuditAction.CREDENTIAL_ADDED,
                credential_id,
                provider=row.id,
                label=label,
                base_url=url,
                expires_at=_iso(expires_at),
            )
            return await self._get(change.tx, credential_id)

    async def update_credential(
        self, user_id: str, credential_id: str, *, actor: str | None = None, **changes: Any
    ) -> Credential:
        """Change label, enabled, position, expires_at, or base_url (or `fields`); only what differs is written.

        A new base URL is another destination, for which the stored secret was not given: the secret is erased
        and the credential stays unusable until `replace_credential` brings it again.

        Raises NotFound, RequestError(invalid_request, invalid_base_url).
        """
        wanted = self._check_changes(changes)
        fields = wanted.pop("fields", None)
        if fields or "base_url" in wanted:
            provider = await self._provider_of(user_id, credential_id)
            wanted["base_url"] = self._choose_url(provider, wanted.get("base_url"), fields)
        async with self._changes.begin(user_id, actor) as change:
            before = await self._get(change.tx, credential_id)
            differing = {name: value for name, value in wanted.items() if getattr(before, name) != value}
            if not differing:
                return before
            if "base_url" in differing:
                async with self._announced(change, credential_id):
                    await rows.clear_secret(change.tx, credential_id, differing["base_url"])
            kept = {name: value for name, value in differing.items() if name != "base_url"}
            if kept:
                await rows.update_credential(change.tx, credential_id, kept)
            await change.record(
                AuditAction.CREDENTIAL_UPDATED,
                credential_id,
                provider=before.provider,
                **{name: _iso(value) for name, value in differing.items()},
            )
            return await self._get(change.tx, credential_id)

    async def replace_credential(
        self,
        user_id: str,
        credential_id: str,
        secret: str,
        *,
        base_url: str | UnsetType | None = UNSET,
        fields: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> Credential:
        """A new secret, and with it a new address if one is given; id, label, order and history stay.

        Raises NotFound, RequestError(invalid_secret, invalid_base_url), Conflict(duplicate_secret).
        """
        provider = await self._provider_of(user_id, credential_id)
        plain = read_secret(secret, provider)
        moved = base_url is not UNSET or fields
        url = self._choose_url(provider, None if base_url is UNSET else base_url, fields) if moved else None
        async with self._changes.begin(user_id, actor) as change:
            before = await self._get(change.tx, credential_id)
            generation = 1 + await rows.get_generation(change.tx, credential_id)
            sealed, mark = await self._vault.seal(change.tx, user_id, before.provider, credential_id, plain, generation)
            await _refuse_duplicate(change.tx, before.provider, mark)
            async with self._announced(change, credential_id):
                await rows.replace_secret(
                    change.tx,
                    credential_id,
                    sealed=sealed,
                    hint=mask_secret(plain),
                    generation=generation,
                    fingerprint=mark,
                    base_url=url if moved else before.base_url,
                )
            await change.record(
                AuditAction.CREDENTIAL_REPLACED,
                credential_id,
                provider=before.provider,
                **({"base_url": url} if moved else {}),
            )
            return await self._get(change.tx, credential_id)

    async def remove_credential(
        self, user_id: str, credential_id: str, *, force: bool = False, actor: str | None = None
    ) -> None:
        """Erase a credential and its secret.

        Raises NotFound, and Conflict(credential_in_use) with the tasks that pin it, unless `force`: then those
        tasks keep their provider and use whatever credential is left there.
        """
        async with self._changes.begin(user_id, actor) as change:
            before = await self._get(change.tx, credential_id)
            overrides = await choice_rows.list_task_overrides(change.tx)
            pinning = [override for override in overrides if override.credential_id == credential_id]
            if pinning and not force:
                names = ", ".join(override.task for override in pinning)
                raise Conflict(
                    f"This API key is chosen for: {names}. Change those tasks first, or remove it with force.",
                    code="credential_in_use",
                    extra={"tasks": [override.task for override in pinning]},
                )
            for override in pinning:
                await choice_rows.put_task_override(change.tx, structs.replace(override, credential_id=None))
                await change.record(AuditAction.TASK_UPDATED, override.task, credential_id=None)
            await rows.delete_credential(change.tx, credential_id)
            await change.record(
                AuditAction.CREDENTIAL_REMOVED, credential_id, provider=before.provider, label=before.label
            )

    async def reorder_credentials(
        self, user_id: str, provider: str, credential_ids: Sequence[str], *, actor: str | None = None
    ) -> list[Credential]:
        """Try this provider's credentials in this order. All of them must be named, each once.

        Raises RequestError(unknown_provider, invalid_request).
        """
        check_provider(provider, self._catalog)
        async with self._changes.begin(user_id, actor) as change:
            held = [one.id for one in await rows.list_credentials(change.tx) if one.provider == provider]
            if sorted(held) != sorted(credential_ids):
                raise RequestError("Name every API key of this provider exactly once.", param="credential_ids")
            if held != list(credential_ids):
                await rows.reorder(change.tx, provider, list(credential_ids))
                await change.record(AuditAction.CREDENTIAL_UPDATED, provider, order=list(credential_ids))
            ordered = self._as_of_now(await rows.list_credentials(change.tx))
        return [one for one in ordered if one.provider == provider]

    @asynccontextmanager
    async def _announced(self, change: Change, credential_id: str) -> AsyncIterator[None]:
        """Tell the host if what is done inside gives the credential another status."""
        before = await rows.find_standing(change.tx, credential_id)
        yield
        after = await rows.find_standing(change.tx, credential_id)
        if before is not None and after is not None:
            await self._keeper.announce(change.tx, change.user_id, credential_id, before, after.standing)

    async def _get(self, tx: Any, credential_id: str) -> Credential:
        """One credential of the transaction's user. Raises NotFound."""
        found = await rows.find_credential(tx, credential_id) if is_record_id(credential_id) else None
        if found is None:
            raise no_such_credential()
        return self._as_of_now([found])[0]

    def _as_of_now(self, stored: Sequence[Credential]) -> list[Credential]:
        """The same with what nobody writes down: a date that has passed, a provider that was removed."""
        now = self._now()
        return [self._judge(one, now) for one in stored]

    def _judge(self, one: Credential, now: datetime) -> Credential:
        if one.provider not in self._catalog:
            return structs.replace(
                one, status=CredentialStatus.INVALID, status_reason=PROVIDER_GONE, status_until=None, probe_at=None
            )
        if one.expires_at is not None and one.expires_at <= now:
            return structs.replace(
                one, status=CredentialStatus.EXPIRED, status_reason=None, status_until=None, probe_at=None
            )
        return one if one.enabled else structs.replace(one, probe_at=None)

    def _choose_url(self, provider: Provider, base_url: str | None, fields: Mapping[str, str] | None) -> str | None:
        return choose_base_url(
            provider,
            base_url=base_url,
            fields=fields,
            custom_allowed=self._custom_base_urls,
            allow_private=self._private_base_urls,
        )

    async def _provider_of(self, user_id: str, credential_id: str) -> Provider:
        """The provider of a stored credential. Raises NotFound, RequestError(provider_not_allowed)."""
        async with self._changes.read(user_id) as tx:
            stored = await self._get(tx, credential_id)
        return check_allowed_provider(stored.provider, self._catalog, self._policies.current)

    def _check_changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The changes that can be judged without the stored row. Raises RequestError."""
        wanted = dict(changes)
        for name in wanted:
            if name not in _CHANGEABLE:
                raise RequestError(f"There is no field named {name[:40]!r} to change.", param=name[:40])
        if "label" in wanted:
            wanted["label"] = clean_label(wanted["label"])
        if not isinstance(wanted.get("enabled", True), bool):
            raise RequestError("enabled is true or false.", param="enabled")
        if "position" in wanted:
            _check_position(wanted["position"])
        if wanted.get("expires_at") is not None:
            wanted["expires_at"] = check_expiry(wanted["expires_at"], self._now())
        return wanted


def read_secret(pasted: str, provider: Provider) -> Secret:
    """The secret to store. A provider without keys gets a filler, unlike every other, that is never sent."""
    if provider.auth == "none" and not pasted.strip():
        return Secret(f"no-key-needed-{new_id()}")
    return clean_secret(pasted)


def no_such_credential() -> NotFound:
    return NotFound("There is no such API key.")


async def _refuse_duplicate(tx: Any, provider: str, mark: bytes) -> None:
    twin = await rows.find_by_fingerprint(tx, provider, mark)
    if twin is not None:
        raise Conflict(
            "This API key is stored already.",
            code="duplicate_secret",
            param="secret",
            extra={"credential_id": twin},
        )


def _check_room(held: Sequence[Credential]) -> None:
    if len(held) >= CREDENTIALS_LIMIT:
        raise RequestError(
            f"At most {CREDENTIALS_LIMIT} API keys can be stored. Remove one first.", code="credential_limit"
        )


def _check_position(position: object) -> None:
    if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position <= POSITION_LIMIT:
        raise RequestError(f"A position is a whole number from 0 to {POSITION_LIMIT}.", param="position")


def _iso(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
