"""Which models one of a user's credentials can call: asked of the provider with that very key, and kept a while."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from ownkey.domain.credential import SealedCredential
from ownkey.domain.provider import Provider
from ownkey.errors import RequestError, UpstreamError
from ownkey.services.changes import Changes
from ownkey.services.destination import check_allowed_provider
from ownkey.services.expiry import utc_now
from ownkey.services.model_lists import CallableModels, ListKey, ModelLists
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.pricing import Pricing
from ownkey.services.stored_secret import find_stored, open_stored
from ownkey.services.vault import Vault
from ownkey.upstream.pool import UpstreamPool

_FETCHES_PER_USER: Final = 10
_REFRESH_SECONDS: Final = 3.0
_REFRESHED_SIZE: Final = 2_000


def own_list_key(user_id: str, sealed: SealedCredential, provider: Provider) -> ListKey:
    """Under which the list of a user's credential is kept."""
    return user_id, sealed.health_key, sealed.base_url or provider.base_url


class CredentialModels:
    """Lists of models by credential and secret, in this process."""

    def __init__(
        self,
        changes: Changes,
        vault: Vault,
        pool: UpstreamPool,
        *,
        catalog: Mapping[str, Provider],
        policies: PolicyBoard,
        pricing: Pricing,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.lists = ModelLists(pool, pricing, now=now)
        self._changes, self._vault = changes, vault
        self._catalog, self._policies = catalog, policies
        self._refreshed: OrderedDict[str, float] = OrderedDict()
        self._running: Counter[str] = Counter()

    async def list_models(self, user_id: str, credential_id: str, *, refresh: bool = False) -> CallableModels:
        """The models of one credential, from memory unless that is old or `refresh` asks again.

        Raises NotFound, RequestError(provider_not_allowed), Conflict(secret_missing), CredentialUnreadable,
        RequestError(too_many_refreshes), and UpstreamError with the reason when the provider gives no list.
        """
        async with self._changes.read(user_id) as tx:
            sealed = await find_stored(tx, credential_id)
            provider = check_allowed_provider(sealed.provider, self._catalog, self._policies.current)
            key = own_list_key(user_id, sealed, provider)
            kept = self.lists.find(key)
            if kept is not None and not refresh and self.lists.is_fresh(kept):
                return kept
            if refresh:
                self._limit_refreshes(user_id)
            secret = await open_stored(tx, self._vault, user_id, sealed)
        try:
            async with self._turn(user_id):
                return await self.lists.fetch(key, provider, sealed.base_url or provider.base_url, secret)
        except UpstreamError:
            # An old list is better than none for somebody who did not ask for a new one.
            if kept is not None and not refresh:
                return kept
            raise

    def _limit_refreshes(self, user_id: str) -> None:
        moment = time.monotonic()
        last = self._refreshed.get(user_id)
        if last is not None and moment - last < _REFRESH_SECONDS:
            wait = _REFRESH_SECONDS - (moment - last)
            raise _too_many("The list was asked for a moment ago. Wait a few seconds.", wait)
        self._refreshed[user_id] = moment
        self._refreshed.move_to_end(user_id)
        while len(self._refreshed) > _REFRESHED_SIZE:
            self._refreshed.popitem(last=False)

    @asynccontextmanager
    async def _turn(self, user_id: str) -> AsyncIterator[None]:
        """One of the user's turns. Raises RequestError(too_many_refreshes)."""
        if self._running[user_id] >= _FETCHES_PER_USER:
            raise _too_many("So many lists of yours are being asked for already. Wait for them.", 1.0)
        self._running[user_id] += 1
        try:
            yield
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]


def _too_many(message: str, retry_after_seconds: float) -> RequestError:
    return RequestError(message, code="too_many_refreshes", http_status=429, retry_after_seconds=retry_after_seconds)
