"""The hot path: requests go to providers with the right key, and every call is accounted for."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Final

from ownkey.crypto.data_keys import DataKeyCold, DataKeys
from ownkey.crypto.envelope import Binding, SecretOpener
from ownkey.domain.credential import CredentialStatus, SealedCredential, Secret
from ownkey.domain.exchange import CONSEQUENCES, Failure
from ownkey.domain.routing import (
    Attempt,
    find_health_key,
)
from ownkey.domain.settings import Snapshot
from ownkey.domain.usage import Outcome, new_id
from ownkey.errors import CredentialUnreadable
from ownkey.services.answer import Answer
from ownkey.services.client_request import ClientRequest
from ownkey.services.credential_health import CredentialHealth
from ownkey.services.drains import Drains
from ownkey.services.metering import Metering
from ownkey.services.presence import Presence
from ownkey.services.router import Router
from ownkey.services.running_calls import (
    HOST,
    Access,
    RunningCalls,
)
from ownkey.services.spending import SpendingService
from ownkey.services.walk import Walk
from ownkey.upstream.pool import UpstreamPool

# Second tries may add a tenth to the load of a provider in trouble, with a small reserve for quiet hours.
_RETRY_SHARE: Final = 0.1
_RETRY_RESERVE: Final = 10.0
_JITTER_SECONDS: Final = (0.05, 0.2)

_CURED_BY_SUCCESS: Final = (CredentialStatus.UNVERIFIED, CredentialStatus.RATE_LIMITED, CredentialStatus.OUT_OF_CREDIT)

logger = logging.getLogger(__name__)


class CompletionService:
    """Sends requests to providers with the right key, and accounts for every call."""

    def __init__(
        self,
        *,
        router: Router,
        pool: UpstreamPool,
        data_keys: DataKeys,
        opener: SecretOpener,
        metering: Metering,
        spending: SpendingService,
        credential_health: CredentialHealth,
        drains: Drains,
        running: RunningCalls,
        shared_secrets: Mapping[str, Secret],
        deployment_id: str,
        retry_wait_seconds: float,
    ) -> None:
        self.drains, self.running = drains, running
        self.router, self.pool, self.metering, self.spending = router, pool, metering, spending
        self._data_keys, self._deployment_id, self._opener = data_keys, deployment_id, opener
        self._credential_health, self._shared_secrets = credential_health, shared_secrets
        self._retry_wait_seconds = retry_wait_seconds
        self._retry_tokens = _RETRY_RESERVE

    async def open(
        self,
        snapshot: Snapshot,
        request: ClientRequest,
        *,
        request_id: str | None = None,
        access: Access = HOST,
        presence: Presence | None = None,
    ) -> Answer:
        """Answer a request with the first attempt of its chain that works. `access` is what let it in.

        `presence` tells of the client's leaving; without it the caller's being cancelled does, which costs more.

        Raises RouteExhausted when none does, NoProvider when there is none, StorageError(usage_queue_full)
        when the call could not be recorded, AuthError(access_withdrawn).
        """
        self.metering.check_room()
        self._retry_tokens = min(self._retry_tokens + _RETRY_SHARE, _RETRY_RESERVE)
        route = self.router.route(snapshot, request.route)
        return await Walk(self, snapshot, request, route, request_id or new_id(), access, presence).see_through()

    def open_secret(self, snapshot: Snapshot, attempt: Attempt) -> Secret | None:
        """The secret for an attempt; None for a provider without one.

        Raises CredentialUnreadable, and DataKeyCold where that takes waiting: `fetch_secret` waits.
        """
        credential = attempt.credential
        if credential is None:
            return self._shared_secrets.get(attempt.provider.id)
        if snapshot.wrapped_data_key is None or snapshot.wrapping_key_id is None:
            raise CredentialUnreadable("This user's data key is gone, so the stored key cannot be read.")
        data_key = self._data_keys.open(
            snapshot.user_id, snapshot.wrapped_data_key, snapshot.wrapping_key_id, snapshot.data_key_version
        )
        return self._open_with(data_key, snapshot.user_id, credential)

    def _open_with(self, data_key: bytes, user_id: str, credential: SealedCredential) -> Secret:
        binding = Binding(
            deployment_id=self._deployment_id,
            user_id=user_id,
            provider=credential.provider,
            record_id=credential.id,
            generation=credential.generation,
        )
        return self._opener.open(data_key, credential.sealed, binding)

    async def fetch_secret(self, snapshot: Snapshot, attempt: Attempt) -> Secret | None:
        """The same, whatever it takes. Raises CredentialUnreadable, DataKeyClosed, KeyServiceAway and StorageError."""
        try:
            return self.open_secret(snapshot, attempt)
        except DataKeyCold:
            pass
        wrapped, key_id, credential = snapshot.wrapped_data_key, snapshot.wrapping_key_id, attempt.credential
        assert wrapped is not None and key_id is not None and credential is not None  # noqa: S101  # else nothing is cold
        # Used as it comes: by the time it could be looked up again, a change or another form of it may have put it out.
        data_key = await self._data_keys.load(snapshot.user_id, wrapped, key_id, snapshot.data_key_version)
        return self._open_with(data_key, snapshot.user_id, credential)

    async def wait_before_retry(self, failure: Failure) -> bool:
        """Whether a second try with the same credential is worth it; waits as long as that takes."""
        if not CONSEQUENCES[failure.outcome].retry_same:
            return False
        if failure.outcome is Outcome.RATE_LIMITED:
            wait = failure.retry_after_seconds
            if wait is None or wait > self._retry_wait_seconds:
                return False
        elif failure.retry_after_seconds and failure.retry_after_seconds > self._retry_wait_seconds:
            return False
        else:
            wait = failure.retry_after_seconds or random.uniform(*_JITTER_SECONDS)  # noqa: S311  # jitter, no secret
        if self._retry_tokens < 1:
            return False
        self._retry_tokens -= 1
        await asyncio.sleep(wait)
        return True

    def learn(self, snapshot: Snapshot, attempt: Attempt, failure: Failure | None) -> None:
        """Remember what an attempt says about its provider's host and its credential."""
        credential, health = attempt.credential, self.router.health
        if failure is None:
            if not health.calm:  # else there is nothing to forget
                health.note_success(attempt.base_url, find_health_key(credential, attempt.provider.id))
            if credential is not None and credential.status in _CURED_BY_SUCCESS:
                self._credential_health.note(snapshot.user_id, credential, CredentialStatus.OK)
            return
        consequence = CONSEQUENCES[failure.outcome]
        until = health.note_failure(attempt.base_url, find_health_key(credential, attempt.provider.id), failure)
        if credential is not None and consequence.status is not None:
            # The outcome's code, not the provider's words: those are long, in one language, and anybody's.
            reason = failure.outcome.value
            self._credential_health.note(snapshot.user_id, credential, consequence.status, reason, until)
