"""`LLMConfigManager`: what a host application calls at login, at logout and in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from ownkey.domain.audit import AuditAction
from ownkey.domain.provider import Provider
from ownkey.domain.settings import Payer, Preference, Snapshot
from ownkey.errors import NotFound, StorageError
from ownkey.services.answer import Answer
from ownkey.services.changes import Changes
from ownkey.services.client_request import Asked, read_request
from ownkey.services.completion import CompletionService
from ownkey.services.snapshot_cache import SnapshotCache
from ownkey.storage import users


class ConfiguredProvider(Struct, frozen=True, kw_only=True):
    """A provider as it stands for one user right now."""

    provider: str
    label: str
    credentials: int
    shared: bool
    enabled: bool
    default_model: str | None


class LoadedSettings(Struct, frozen=True, kw_only=True):
    """What a login found: which providers this user's requests can go to, best first."""

    user_id: str
    generation: int
    providers: tuple[ConfiguredProvider, ...]


class Reply(Struct, frozen=True, kw_only=True):
    """An answer in the OpenAI form, and how it came about. `warnings` speak of the user's own caps."""

    data: dict[str, Any]
    provider: str
    model: str
    credential: Payer
    attempts: int
    request_id: str
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The first choice's text; empty when the model called a tool instead."""
        choices = self.data.get("choices") or [{}]
        return choices[0].get("message", {}).get("content") or ""


class LLMConfigManager:
    """Loads users' settings at login, routes their requests, and clears them at logout."""

    def __init__(self, *, changes: Changes, cache: SnapshotCache, completion: CompletionService) -> None:
        self._changes, self._cache, self._completion = changes, cache, completion

    async def load_user_settings(self, user_id: str, *, actor: str | None = None) -> LoadedSettings:
        """To be called at login: read the user's settings and configure their providers.

        A user who is new to Ownkey is created. Raises StorageError when the database is away.
        """
        async with self._changes.begin(user_id, actor) as change:
            await change.record(AuditAction.USER_SIGNED_IN, user_id)
        snapshot = await self.get_snapshot(user_id)
        return LoadedSettings(
            user_id=user_id, generation=snapshot.generation, providers=tuple(self.providers_of(snapshot))
        )

    async def clear_user_settings(self, user_id: str, *, actor: str | None = None) -> None:
        """To be called at logout: the user's settings leave the memory of every process."""
        async with self._changes.begin(user_id, actor, create=False) as change:
            await change.record(AuditAction.USER_SIGNED_OUT, user_id)
            await users.bump_generation(change.tx, user_id)

    async def get_snapshot(self, user_id: str) -> Snapshot:
        """The user's settings, warm or by one query. Raises NotFound for a user that does not exist."""
        snapshot = await self._cache.load(user_id)
        if snapshot is None:
            raise NotFound(f"There is no user {user_id!r}. Call load_user_settings at login.", code="user_not_found")
        return snapshot

    def providers_of(self, snapshot: Snapshot) -> list[ConfiguredProvider]:
        """The providers that a user's requests can go to, configured with their keys."""
        router = self._completion.router
        held = [credential.provider for credential in snapshot.credentials]
        granted = router.policy.shared_for(snapshot.user_id)
        preferences = router.policy.preferences_for(snapshot.preferences)
        rank = {name: position for position, name in enumerate(router.catalog)}
        found = [
            self._configured(router.catalog[name], preferences.get(name), held.count(name), name in granted)
            for name in {*held, *granted}
            if name in router.catalog and router.policy.allows(name)
        ]

        def by_wish(one: ConfiguredProvider) -> tuple[bool, bool, int, int]:
            preference = preferences.get(one.provider)
            priority = preference.priority if preference else 100
            return one.credentials == 0, bool(preference and preference.backup_only), priority, rank[one.provider]

        return sorted(found, key=by_wish)

    def _configured(
        self, provider: Provider, preference: Preference | None, count: int, shared: bool
    ) -> ConfiguredProvider:
        return ConfiguredProvider(
            provider=provider.id,
            label=provider.label,
            credentials=count,
            shared=shared,
            enabled=preference.enabled if preference else True,
            default_model=(preference.default_model if preference else None) or provider.default_model(None),
        )

    async def chat(
        self,
        user_id: str,
        *,
        messages: Sequence[Mapping[str, Any]],
        task: str | None = None,
        model: str = "auto",
        **fields: Any,
    ) -> Reply:
        """One chat completion with the user's own keys. `fields` are further fields of the OpenAI request.

        Raises RouteExhausted when no provider answered.
        """
        answer = await self._open(user_id, messages, task, model, stream=False, fields=fields)
        return Reply(
            data=msgspec.json.decode(answer.body or b"{}"),
            provider=answer.attempt.provider.id,
            model=answer.attempt.model,
            credential=answer.attempt.payer,
            attempts=answer.attempts,
            request_id=answer.request_id,
            warnings=answer.hold.warnings if answer.hold is not None else (),
        )

    async def stream_chat(
        self,
        user_id: str,
        *,
        messages: Sequence[Mapping[str, Any]],
        task: str | None = None,
        model: str = "auto",
        **fields: Any,
    ) -> AsyncIterator[bytes]:
        """The same as server-sent events. Closing the iterator cancels the upstream call."""
        answer = await self._open(user_id, messages, task, model, stream=True, fields=fields)
        stream = answer.stream
        if stream is None:
            raise StorageError("The answer was not a stream.", code="internal_error")
        try:
            while (data := await stream.read()) is not None:
                yield data
        finally:
            await stream.close()

    async def _open(
        self,
        user_id: str,
        messages: Sequence[Mapping[str, Any]],
        task: str | None,
        model: str,
        *,
        stream: bool,
        fields: Mapping[str, Any],
    ) -> Answer:
        body = msgspec.json.encode({**fields, "model": model, "messages": list(messages), "stream": stream})
        snapshot = await self.get_snapshot(user_id)
        return await self._completion.open(snapshot, read_request(body, "chat", Asked(task=task)))
