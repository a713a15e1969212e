"""What a user chooses: general settings, a wish per provider, an override per task. Each change is audited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct, ValidationError, convert, structs

from ownkey.domain.audit import AuditAction
from ownkey.domain.budget import Caps
from ownkey.domain.policy import LOCK_PAYER, LOCK_PREFERENCES, LOCK_TASKS
from ownkey.domain.provider import Provider, Quirk
from ownkey.domain.routing import check_provider
from ownkey.domain.settings import (
    PayerRule,
    Preference,
    Settings,
    TaskOverride,
    check_model,
    check_task,
)
from ownkey.errors import NotFound, RequestError
from ownkey.services.amounts import check_microdollars
from ownkey.services.changes import Change, Changes
from ownkey.services.destination import check_allowed_provider
from ownkey.services.expiry import utc_now
from ownkey.services.policy_board import PolicyBoard
from ownkey.storage import credentials as credential_rows
from ownkey.storage import settings as rows

OVERRIDES_LIMIT: Final = 100
PRIORITY_LIMIT: Final = 10_000
_EMBEDDING: Final = "embedding"


class ChoiceService:
    """The settings half of `UserLLMSettingsService`."""

    def __init__(
        self,
        changes: Changes,
        *,
        catalog: Mapping[str, Provider],
        policies: PolicyBoard,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._changes, self._catalog, self._policies, self._now = changes, catalog, policies, now

    async def get_settings(self, user_id: str) -> Settings:
        """What the user chose in general; the defaults where they chose nothing. A payer of None follows the policy."""
        async with self._changes.read(user_id) as tx:
            return await rows.get_settings(tx)

    async def update_settings(self, user_id: str, *, actor: str | None = None, **changes: Any) -> Settings:
        """Change payer (None: as the policy says), allow_fallback, default_task, caps or shared_consent.

        `caps` is a `Caps`, or the same as a mapping. `shared_consent` true keeps the moment in `shared_consent_at`,
        false takes it back. Only what differs is written.

        Raises RequestError(invalid_request, locked_by_administrator).
        """
        wanted = _check_settings(changes)
        consent = wanted.pop("shared_consent", None)
        async with self._changes.begin(user_id, actor) as change:
            before = await rows.get_settings(change.tx)
            if consent is not None:
                wanted["shared_consent_at"] = (before.shared_consent_at or self._now()) if consent else None
            differing = _differing(before, wanted)
            policy = self._policies.current
            locked = LOCK_PAYER in policy.locks and "payer" in differing
            if locked and differing.pop("payer") not in (None, policy.payer):
                raise _locked(LOCK_PAYER, "payer")
            if not differing:
                return before
            await rows.update_settings(change.tx, differing)
            await change.record(AuditAction.SETTINGS_UPDATED, None, **differing)
            return await rows.get_settings(change.tx)

    async def list_preferences(self, user_id: str) -> list[Preference]:
        """What the user stated per provider; a provider without a row has the defaults."""
        async with self._changes.read(user_id) as tx:
            return await rows.list_preferences(tx)

    async def put_preference(
        self, user_id: str, provider: str, *, actor: str | None = None, **changes: Any
    ) -> Preference:
        """Change enabled, priority, default_model, may_fall_back or backup_only; what is left out stays.

        Raises RequestError(unknown_provider, invalid_request, locked_by_administrator).
        """
        _refuse_unknown(changes, Preference, identity="provider")
        async with self._changes.begin(user_id, actor) as change:
            stored = {one.provider: one for one in await rows.list_preferences(change.tx)}
            before = stored.get(provider)
            wanted = self._check_preference(structs.replace(before or Preference(provider=provider), **changes))
            await self._write_preference(change, before, wanted)
        return wanted

    async def put_preferences(
        self, user_id: str, preferences: Sequence[Preference], *, actor: str | None = None
    ) -> list[Preference]:
        """Set several whole wishes at once, all or none; providers that are not named keep theirs.

        Raises RequestError(unknown_provider, invalid_request, locked_by_administrator).
        """
        checked = [self._check_preference(preference) for preference in preferences]
        if len({preference.provider for preference in checked}) != len(checked):
            raise RequestError("A provider is named twice.", param="provider")
        async with self._changes.begin(user_id, actor) as change:
            stored = {one.provider: one for one in await rows.list_preferences(change.tx)}
            for preference in checked:
                await self._write_preference(change, stored.get(preference.provider), preference)
        return checked

    async def list_task_overrides(self, user_id: str) -> list[TaskOverride]:
        """The user's overrides by task."""
        async with self._changes.read(user_id) as tx:
            return await rows.list_task_overrides(tx)

    async def get_task_override(self, user_id: str, task: str) -> TaskOverride:
        """One override. Raises NotFound."""
        name = check_task(task)
        for override in await self.list_task_overrides(user_id):
            if override.task == name:
                return override
        raise NotFound("There is no override for this task.")

    async def put_task_override(
        self,
        user_id: str,
        task: str,
        provider: str,
        *,
        model: str | None = None,
        credential_id: str | None = None,
        payer: str | None = None,
        allow_fallback: bool | None = None,
        actor: str | None = None,
    ) -> TaskOverride:
        """Set the whole override of a task; None follows the general settings.

        Raises RequestError(unknown_provider, provider_not_allowed, invalid_request, task_limit,
        locked_by_administrator).
        """
        wanted = self._check_override(
            TaskOverride(
                task=task,
                provider=provider,
                model=model,
                credential_id=credential_id,
                payer=None if payer is None else _check_payer(payer),
                allow_fallback=allow_fallback,
            )
        )
        async with self._changes.begin(user_id, actor) as change:
            stored = {one.task: one for one in await rows.list_task_overrides(change.tx)}
            before = stored.get(wanted.task)
            if before == wanted:
                return wanted
            self._refuse_locked_task(wanted.task)
            policy = self._policies.current
            if wanted.payer not in (None, policy.payer) and LOCK_PAYER in policy.locks:
                raise _locked(LOCK_PAYER, "payer")
            if before is None and len(stored) >= OVERRIDES_LIMIT:
                raise RequestError(f"At most {OVERRIDES_LIMIT} tasks can have an override.", code="task_limit")
            await _check_pin(change, wanted)
            await rows.put_task_override(change.tx, wanted)
            await change.record(AuditAction.TASK_UPDATED, wanted.task, **_changed_fields(before, wanted))
        return wanted

    async def remove_task_override(self, user_id: str, task: str, *, actor: str | None = None) -> None:
        """Let the task follow the general preferences again. Raises NotFound, RequestError(locked_by_administrator)."""
        name = check_task(task)
        async with self._changes.begin(user_id, actor) as change:
            if name not in {one.task for one in await rows.list_task_overrides(change.tx)}:
                raise NotFound("There is no override for this task.")
            self._refuse_locked_task(name)
            await rows.delete_task_override(change.tx, name)
            await change.record(AuditAction.TASK_REMOVED, name)

    def _check_preference(self, preference: Preference) -> Preference:
        # A provider that the operator switched off may still be ranked: the wish waits for its return.
        check_provider(preference.provider, self._catalog)
        _check_flags(structs.asdict(preference), "enabled", "may_fall_back", "backup_only")
        if isinstance(preference.priority, bool) or not isinstance(preference.priority, int):
            raise RequestError("A priority is a whole number.", param="priority")
        if not 0 <= preference.priority <= PRIORITY_LIMIT:
            raise RequestError(f"A priority lies between 0 and {PRIORITY_LIMIT}.", param="priority")
        if preference.default_model is not None:
            check_model(preference.default_model)
        return preference

    def _check_override(self, override: TaskOverride) -> TaskOverride:
        task = check_task(override.task)
        provider = check_allowed_provider(override.provider, self._catalog, self._policies.current)
        if task == _EMBEDDING and Quirk.NO_EMBEDDINGS in provider.quirks:
            raise RequestError(f"{provider.label} has no embeddings.", param="provider")
        if override.model is not None:
            check_model(override.model)
        if override.credential_id is not None and override.payer is PayerRule.SHARED_ONLY:
            raise RequestError("A task that only the shared key pays for cannot name an API key.", param="payer")
        return structs.replace(override, task=task)

    async def _write_preference(self, change: Change, before: Preference | None, wanted: Preference) -> None:
        if before == wanted:
            return
        if LOCK_PREFERENCES in self._policies.current.locks:
            raise _locked(LOCK_PREFERENCES, None)
        await rows.put_preference(change.tx, wanted)
        await change.record(AuditAction.PREFERENCE_UPDATED, wanted.provider, **_changed_fields(before, wanted))

    def _refuse_locked_task(self, task: str) -> None:
        if self._policies.current.locks_task(task):
            raise _locked(f"{LOCK_TASKS}:{task}", "task")


def _locked(name: str, param: str | None) -> RequestError:
    return RequestError(
        f"The administrator decides this for everybody: {name}.",
        code="locked_by_administrator",
        http_status=403,
        param=param,
        extra={"locked": [name]},
    )


async def _check_pin(change: Change, override: TaskOverride) -> None:
    """A pinned credential must be the user's own and of the override's provider."""
    if override.credential_id is None:
        return
    credential = await credential_rows.find_credential(change.tx, override.credential_id)
    if credential is None or credential.provider != override.provider:
        raise RequestError("There is no such API key at this provider.", param="credential_id")


def _check_settings(changes: dict[str, Any]) -> dict[str, Any]:
    # When somebody agreed is not theirs to say.
    chosen = {name: value for name, value in changes.items() if name != "shared_consent"}
    _refuse_unknown(chosen, Settings, identity="shared_consent_at")
    wanted = dict(changes)
    if "caps" in wanted:
        wanted["caps"] = _check_caps(wanted["caps"])
    if wanted.get("default_task") is not None:
        wanted["default_task"] = _check_default_task(wanted["default_task"])
    if wanted.get("payer") is not None:
        wanted["payer"] = _check_payer(wanted["payer"])
    _check_flags(wanted, "allow_fallback", "shared_consent")
    return wanted


def _check_caps(caps: Caps | Mapping[str, Any]) -> Caps:
    try:
        # As a mapping, so that what a Caps was made of is looked at as well.
        checked = convert(structs.asdict(caps) if isinstance(caps, Caps) else caps, Caps)
    except ValidationError:
        raise RequestError("caps holds day_microdollars, month_microdollars and action.", param="caps") from None
    for amount in (checked.day_microdollars, checked.month_microdollars):
        check_microdollars(amount, "caps")
    return checked


def _refuse_unknown(changes: Mapping[str, Any], kind: type[Struct], *, identity: str = "") -> None:
    for name in changes:
        if name == identity or name not in kind.__struct_fields__:
            raise RequestError(f"There is no field named {name[:40]!r} to change.", param=name[:40])


def _check_flags(values: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if name in values and not isinstance(values[name], bool):
            raise RequestError(f"{name} is true or false.", param=name)


def _check_default_task(task: str) -> str:
    try:
        return check_task(task)
    except RequestError as error:
        raise RequestError(error.message, param="default_task") from None


def _check_payer(payer: str) -> PayerRule:
    try:
        return PayerRule(payer)
    except ValueError:
        raise RequestError(f"payer is one of: {', '.join(PayerRule)}.", param="payer") from None


def _differing(before: object, wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if getattr(before, name) != value}


def _changed_fields(before: Preference | TaskOverride | None, wanted: Preference | TaskOverride) -> dict[str, Any]:
    """What the audit row says: the fields that differ from what was stored, or from the defaults."""
    identity = {"task"} if isinstance(wanted, TaskOverride) else {"provider"}
    fields = structs.asdict(wanted)
    if before is None:
        defaults = {field.name: field.default for field in structs.fields(wanted)}
        return {name: value for name, value in fields.items() if name not in identity and value != defaults[name]}
    return {name: value for name, value in fields.items() if name not in identity and getattr(before, name) != value}
