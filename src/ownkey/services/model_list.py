"""`GET /v1/models`: what one user's keys, and the operator's behind them, can call."""

from __future__ import annotations

from typing import Any

from ownkey.domain.routing import AUTO, TASK_PREFIX
from ownkey.domain.settings import BUILT_IN_TASKS, Payer, Snapshot
from ownkey.errors import NotFound
from ownkey.services.router import Router


class ModelList:
    """The models of the catalogue and of the user's preferences, as `provider/model`, with `auto` and `task:*`."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def list_models(self, snapshot: Snapshot) -> dict[str, Any]:
        """The list in OpenAI's form. `owned_by` is the provider, `ownkey.credential` who would pay."""
        entries = [_entry(AUTO, "ownkey", None)]
        policy = self._router.policy
        granted, preferences = policy.shared_for(snapshot.user_id), policy.preferences_for(snapshot.preferences)
        tasks = dict.fromkeys((*BUILT_IN_TASKS, *policy.task_defaults, *snapshot.overrides))
        entries += [_entry(TASK_PREFIX + task, "ownkey", None) for task in tasks]
        held = {credential.provider for credential in snapshot.credentials if credential.enabled}
        for provider in self._router.catalog.values():
            shared = provider.id in granted
            if provider.id not in held and not shared:
                continue
            if not policy.allows(provider.id):
                continue
            preference = preferences.get(provider.id)
            if preference is not None and not preference.enabled:
                continue
            names = dict.fromkeys(provider.models)
            names.update(dict.fromkeys(provider.defaults.values()))
            if preference is not None and preference.default_model:
                names[preference.default_model] = None
            names.update(
                (override.model, None)
                for override in snapshot.overrides.values()
                if override.provider == provider.id and override.model
            )
            payer = Payer.OWN if provider.id in held else Payer.SHARED
            entries += [_entry(f"{provider.id}/{name}", provider.id, payer) for name in names]
        return {"object": "list", "data": entries}

    async def get_model(self, snapshot: Snapshot, name: str) -> dict[str, Any]:
        """One entry of the list. Raises NotFound(model_not_found)."""
        for entry in (await self.list_models(snapshot))["data"]:
            if entry["id"] == name:
                return entry  # type: ignore[no-any-return]
        raise NotFound(f"None of your providers lists a model {name[:100]!r}.", code="model_not_found", param="model")


def _entry(name: str, owner: str, payer: Payer | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": name, "object": "model", "created": 0, "owned_by": owner}
    if payer is not None:
        entry["ownkey"] = {"credential": payer.value}
    return entry
