"""`GET /v1/models`: what one user's keys, and the operator's behind them, can call.

Each provider is asked with the very key that would pay. The answer never waits long: what is not known in time comes
from the catalogue, and the provider's list is there for the next time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from ownkey.domain.credential import CredentialStatus, SealedCredential, Secret
from ownkey.domain.provider import Provider
from ownkey.domain.routing import AUTO, TASK_PREFIX, Attempt, shared_credential_id
from ownkey.domain.settings import BUILT_IN_TASKS, Payer, Snapshot
from ownkey.errors import CredentialUnreadable, DataKeyClosed, NotFound, StorageError, UpstreamError
from ownkey.services.credential_models import own_list_key
from ownkey.services.model_lists import CallableModel, CallableModels, ListKey, ModelLists, describe_known
from ownkey.services.router import Router

_PATIENCE_SECONDS: Final = 3.0
# A provider that gave no list is left alone for a while; one that is down would be asked by every request.
_FAILED_SECONDS: Final = 60.0
_FAILED_SIZE: Final = 1_000
_FETCHES_LIMIT: Final = 50

Source = Literal["provider", "catalog", "ownkey"]

logger = logging.getLogger(__name__)


class ModelEntry(Struct, frozen=True, kw_only=True):
    """One model as a request may name it. `owner` is the provider, or "ownkey" for `auto` and `task:*`.

    `age_seconds` is how long ago the provider named it; 0 for what nobody was asked.
    """

    id: str
    owner: str
    source: Source = "ownkey"
    payer: Payer | None = None
    age_seconds: int = 0
    model: CallableModel | None = None


class ModelEntries(Struct, frozen=True, kw_only=True):
    """A list, and the age of the oldest part of it."""

    entries: tuple[ModelEntry, ...]
    age_seconds: int


class _Holding(Struct, frozen=True):
    """A key whose models belong into the list."""

    provider: Provider
    credential: SealedCredential | None
    payer: Payer

    @property
    def attempt(self) -> Attempt:
        return Attempt(self.provider, "", self.credential, self.payer)


class ModelList:
    """The union of what a user's keys can call, as `provider/model`, with `auto` and `task:*`."""

    def __init__(
        self, router: Router, lists: ModelLists, fetch_secret: Callable[[Snapshot, Attempt], Awaitable[Secret | None]]
    ) -> None:
        self._router, self._lists, self._fetch_secret = router, lists, fetch_secret
        self._fetches: dict[ListKey, asyncio.Task[None]] = {}
        self._failed: dict[ListKey, float] = {}

    async def list_models(self, snapshot: Snapshot) -> ModelEntries:
        """Everything that this user may name."""
        policy = self._router.policy
        tasks = dict.fromkeys((*BUILT_IN_TASKS, *policy.task_defaults, *snapshot.overrides))
        entries = {
            name: ModelEntry(id=name, owner="ownkey") for name in (AUTO, *(TASK_PREFIX + task for task in tasks))
        }
        holdings = list(self._holdings(snapshot))
        await self._bring_up_to_date(snapshot, holdings)
        now, oldest = self._lists.now(), 0
        for holding in holdings:
            listed = self._lists.find(self._key(snapshot, holding))
            for entry in self._describe(snapshot, holding, listed, now):
                # A user's first key for a provider is the one that a request tries first.
                entries.setdefault(entry.id, entry)
                oldest = max(oldest, entry.age_seconds)
        return ModelEntries(entries=tuple(entries.values()), age_seconds=oldest)

    async def get_model(self, snapshot: Snapshot, name: str) -> ModelEntry:
        """One entry, by its name or the model's own. Raises NotFound(model_not_found)."""
        entries = (await self.list_models(snapshot)).entries
        found = next((entry for entry in entries if entry.id == name), None) or next(
            (entry for entry in entries if entry.model is not None and entry.model.id == name), None
        )
        if found is None:
            message = f"None of your providers lists a model {name[:100]!r}."
            raise NotFound(message, code="model_not_found", param="model")
        return found

    async def close(self) -> None:
        """Let go of what is being asked."""
        for task in list(self._fetches.values()):
            task.cancel()
        await asyncio.gather(*self._fetches.values(), return_exceptions=True)

    def _holdings(self, snapshot: Snapshot) -> Iterator[_Holding]:
        policy = self._router.policy
        granted, preferences = policy.shared_for(snapshot.user_id), policy.preferences_for(snapshot.preferences)
        now = self._lists.now()
        for provider in self._router.catalog.values():
            preference = preferences.get(provider.id)
            if not policy.allows(provider.id) or (preference is not None and not preference.enabled):
                continue
            for credential in snapshot.credentials:
                refused = credential.status in (CredentialStatus.INVALID, CredentialStatus.UNREADABLE)
                if credential.provider != provider.id or not credential.enabled or refused:
                    continue
                if not credential.is_expired(now):
                    yield _Holding(provider, credential, Payer.OWN)
            if provider.id in granted:
                yield _Holding(provider, None, Payer.SHARED)

    def _key(self, snapshot: Snapshot, holding: _Holding) -> ListKey:
        provider, credential = holding.provider, holding.credential
        if credential is None:
            return "", shared_credential_id(provider.id), provider.base_url
        return own_list_key(snapshot.user_id, credential, provider)

    async def _bring_up_to_date(self, snapshot: Snapshot, holdings: list[_Holding]) -> None:
        """Ask for what is missing or old, and wait a little for what is missing."""
        missing = []
        for holding in holdings:
            key = self._key(snapshot, holding)
            listed = self._lists.find(key)
            if listed is not None and self._lists.is_fresh(listed):
                continue
            task = self._ask(snapshot, holding, key)
            if task is not None and listed is None:
                missing.append(task)
        if missing:
            await asyncio.wait(missing, timeout=_PATIENCE_SECONDS)

    def _ask(self, snapshot: Snapshot, holding: _Holding, key: ListKey) -> asyncio.Task[None] | None:
        """The task that asks a provider, one for each list; None where it is not to be asked now."""
        running = self._fetches.get(key)
        if running is not None:
            return running
        if time.monotonic() - self._failed.get(key, -_FAILED_SECONDS) < _FAILED_SECONDS:
            return None
        if len(self._fetches) >= _FETCHES_LIMIT:
            return None
        task = asyncio.create_task(self._fetch(snapshot, holding, key), name="ownkey-model-list")
        self._fetches[key] = task
        return task

    async def _fetch(self, snapshot: Snapshot, holding: _Holding, key: ListKey) -> None:
        try:
            secret = await self._fetch_secret(snapshot, holding.attempt)
            await self._lists.fetch(key, holding.provider, holding.attempt.base_url, secret)
            self._failed.pop(key, None)
        except (CredentialUnreadable, DataKeyClosed, UpstreamError, StorageError):
            self._note_failure(key)
        except Exception:
            self._note_failure(key)
            logger.exception("the list of models of %s could not be read", holding.provider.id)
        finally:
            del self._fetches[key]

    def _note_failure(self, key: ListKey) -> None:
        if len(self._failed) >= _FAILED_SIZE:
            self._failed.clear()
        self._failed[key] = time.monotonic()

    def _describe(
        self, snapshot: Snapshot, holding: _Holding, listed: CallableModels | None, now: datetime
    ) -> Iterator[ModelEntry]:
        provider = holding.provider
        source: Source = "catalog" if listed is None else listed.source
        age = 0 if listed is None else max(0, round((now - listed.fetched_at).total_seconds()))
        known = describe_known(provider, provider.models) if listed is None else listed.models
        models: dict[str, tuple[CallableModel, Source, int]] = {model.id: (model, source, age) for model in known}
        for model in describe_known(provider, _chosen(snapshot, provider)):
            models.setdefault(model.id, (model, "catalog", 0))
        for model, said_by, said_ago in models.values():
            yield ModelEntry(
                id=f"{provider.id}/{model.id}",
                owner=provider.id,
                source=said_by,
                payer=holding.payer,
                age_seconds=said_ago,
                model=model,
            )


def _chosen(snapshot: Snapshot, provider: Provider) -> list[str]:
    """What requests without a model's name would use here: it can be named, whatever a list leaves out."""
    names = list(provider.defaults.values())
    preference = snapshot.preferences.get(provider.id)
    if preference is not None and preference.default_model:
        names.append(preference.default_model)
    names += [one.model for one in snapshot.overrides.values() if one.provider == provider.id and one.model]
    return list(dict.fromkeys(names))
