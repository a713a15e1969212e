"""Finds out by itself when credentials that were refused work again, so that nobody has to come and press a button.

Every process looks; which one tries a credential is decided by a claim in PostgreSQL, which ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

from msgspec import Struct

from ownkey.background import end_task
from ownkey.domain.clock import elapsed_seconds
from ownkey.domain.credential import CredentialStatus, SealedCredential, Secret
from ownkey.domain.provider import Provider
from ownkey.domain.recovery import Finding, Standing
from ownkey.errors import CredentialUnreadable, DataKeyClosed, OwnkeyError, StorageError
from ownkey.services.credential_status import StatusKeeper
from ownkey.services.credential_test import CredentialProber, ProbeOutcome, find_out
from ownkey.services.credit_probe import CreditProbe
from ownkey.services.expiry import utc_now
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.vault import Vault
from ownkey.storage import credentials as rows
from ownkey.storage import users
from ownkey.storage.credentials import ClaimedProbe
from ownkey.storage.database import Database

# With these a process makes at most a probe a second, however many credentials are due.
_BATCH: Final = 10
_PAUSE_SECONDS: Final = 10.0
_AT_ONCE: Final = 4
# Beyond what a probe and the request behind it take; a process that died holds nobody up for longer.
_LEASE_SECONDS: Final = 300.0
_PROBE_LIMIT_SECONDS: Final = 120.0

logger = logging.getLogger(__name__)


class _Tried(Struct, frozen=True):
    """A credential as it was when its secret was opened; `secret` None: it cannot be tried here."""

    sealed: SealedCredential
    standing: Standing
    provider: Provider | None
    secret: Secret | None


class RecoveryProber:
    """Looks for due credentials in the background, from some seconds after the start: short commands probe nothing.

    `credit` None leaves it to requests to find out that an account has credit again.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        prober: CredentialProber,
        keeper: StatusKeeper,
        *,
        catalog: Mapping[str, Provider],
        policies: PolicyBoard,
        credit: CreditProbe | None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database, self._vault, self._prober, self._keeper = database, vault, prober, keeper
        self._catalog, self._policies, self._credit, self._now = catalog, policies, credit, now
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin looking in the background."""
        self._task = asyncio.create_task(self._run(), name="ownkey-recovery")

    async def close(self) -> None:
        """Stop. What is under way is dropped: its claim ends, and somebody tries again."""
        if self._task is not None:
            await end_task(self._task)

    async def run_due(self) -> int:
        """Try what is due now, a batch at most; says how much that was. Raises StorageError."""
        begun = elapsed_seconds()
        claimed = await rows.claim_probes(self._database, limit=_BATCH, lease_seconds=_LEASE_SECONDS)
        tried = [(one, await self._open(one)) for one in claimed]
        # A provider meets one of these at a time.
        by_provider: defaultdict[str, list[tuple[ClaimedProbe, _Tried]]] = defaultdict(list)
        for one, opened in tried:
            if opened is not None:
                by_provider[opened.sealed.provider].append((one, opened))
        turns = asyncio.Semaphore(_AT_ONCE)

        async def take_turns(batch: list[tuple[ClaimedProbe, _Tried]]) -> None:
            async with turns:
                for one, opened in batch:
                    # What would outlast its claim is left to whoever takes it up next: two would try it at once.
                    if elapsed_seconds() - begun > _LEASE_SECONDS - _PROBE_LIMIT_SECONDS:
                        break
                    await self._try(one, opened)

        async with asyncio.TaskGroup() as group:
            for batch in by_provider.values():
                group.create_task(take_turns(batch))
        return len(claimed)

    async def _run(self) -> None:
        while True:
            # Processes that were started together do not all look at the same moment.
            await asyncio.sleep(_PAUSE_SECONDS * (1 + random.random()))  # noqa: S311  # no secret depends on it
            try:
                await self.run_due()
            except* StorageError as errors:
                logger.warning("credentials could not be tried again: %s", errors.exceptions[0])
            except* Exception:  # one odd credential must not end this for everybody
                logger.exception("trying credentials again failed")

    async def _open(self, claimed: ClaimedProbe) -> _Tried | None:
        """The credential and its secret; None where it is gone or another one by now."""
        async with self._database.transaction(claimed.user_id) as tx:
            await users.lock_user(tx, claimed.user_id)
            sealed = await rows.find_sealed(tx, claimed.credential_id)
            held = await rows.find_standing(tx, claimed.credential_id)
            if sealed is None or held is None or held.standing.probes != claimed.probes:
                return None
            if held.generation is None:
                await rows.plan_probe(tx, claimed.credential_id, None)
                return None
            provider = self._catalog.get(sealed.provider)
            secret = None
            if provider is not None and self._policies.current.allows(provider.id):
                with suppress(CredentialUnreadable, DataKeyClosed):
                    secret = await self._vault.open(tx, claimed.user_id, sealed)
        return _Tried(sealed, held.standing, provider, secret)

    async def _try(self, claimed: ClaimedProbe, tried: _Tried) -> None:
        finding = None
        if tried.provider is not None and tried.secret is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_LIMIT_SECONDS):
                    finding = await self._find_out(claimed, tried, tried.provider, tried.secret)
        async with self._database.transaction(claimed.user_id) as tx:
            await users.lock_user(tx, claimed.user_id)
            await self._keeper.conclude(tx, claimed, tried.standing, tried.sealed.generation, finding)

    async def _find_out(
        self, claimed: ClaimedProbe, tried: _Tried, provider: Provider, secret: Secret
    ) -> Finding | None:
        """What is true of the credential now; None where it cannot be known."""
        result = await self._prober.probe(provider, tried.sealed.base_url, secret)
        status = tried.standing.status
        if status is not CredentialStatus.OUT_OF_CREDIT or result.outcome is not ProbeOutcome.WORKS:
            return find_out(status, tried.standing.reason, result, self._now())
        # The key is good, as it was all the time. The account is another question.
        if self._credit is None:
            return None
        try:
            has_credit = await self._credit.ask(claimed.user_id, claimed.credential_id)
        except OwnkeyError:
            return None
        return Finding(status=CredentialStatus.OK) if has_credit else None
