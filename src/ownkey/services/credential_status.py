"""The one way for a credential's status to change: with its next try, the host's event, the word to all processes."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from msgspec import structs

from ownkey.domain.credential import CredentialStatus
from ownkey.domain.event import EventType
from ownkey.domain.recovery import Finding, Standing, conclude, is_told, learn
from ownkey.services.expiry import utc_now
from ownkey.storage import credentials as rows
from ownkey.storage import events
from ownkey.storage.credentials import ClaimedProbe, HeldStanding

_WORKS: Final = (CredentialStatus.OK, CredentialStatus.UNVERIFIED)


class StatusKeeper:
    """Every method works inside a transaction of the credential's owner, who is locked."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = utc_now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._now, self._jitter = now, jitter

    async def keep(
        self,
        tx: Any,
        user_id: str,
        credential_id: str,
        finding: Finding,
        *,
        generation: int | None = None,
        found_at: datetime | None = None,
    ) -> bool | None:
        """Store a finding; says whether the status is another one now, None where it was passed over.

        With `generation`, nothing is kept if the secret was replaced since: what is said of the old one is not true of
        the new. With `found_at`, nothing is kept if the credential was tested since: that test knows better than what
        waited to be written. A credential that is gone is passed over.
        """
        held = await rows.find_standing(tx, credential_id)
        if held is None or (generation is not None and held.generation != generation):
            return None
        if found_at is not None and held.tested_at is not None and found_at < held.tested_at:
            return None
        after = learn(held.standing, self._by_its_clock(finding, held.now), held.now, self._jitter())
        return await self._store(tx, user_id, credential_id, held, after)

    async def conclude(
        self, tx: Any, claimed: ClaimedProbe, tried: Standing, generation: int, finding: Finding | None
    ) -> bool:
        """Store what a try has found, None for nothing, and plan the next one; says whether the status is another one.

        Passed over unless the credential is as it was when it was `tried`: somebody knows better meanwhile.
        """
        held = await rows.find_standing(tx, claimed.credential_id)
        if held is None or held.generation != generation:
            return False
        now = held.standing
        if now.probes != claimed.probes or (now.status, now.since) != (tried.status, tried.since):
            return False
        by_its_clock = None if finding is None else self._by_its_clock(finding, held.now)
        after = conclude(now, by_its_clock, held.now, self._jitter())
        return await self._store(tx, claimed.user_id, claimed.credential_id, held, after)

    def _by_its_clock(self, finding: Finding, now: datetime) -> Finding:
        """Until when, as the database counts: all processes wait for that, and the clock of one may be wrong."""
        if finding.until is None:
            return finding
        return structs.replace(finding, until=now + (finding.until - self._now()))

    async def announce(self, tx: Any, user_id: str, credential_id: str, before: HeldStanding, after: Standing) -> None:
        """Tell the host of a change that is stored, and every process of a recovery."""
        if before.generation is not None and after.status in _WORKS and before.standing.status is not after.status:
            await rows.tell_recovery(tx, f"{credential_id}/{before.generation}")
        if not is_told(before.standing, after):
            return
        await events.emit(
            tx,
            EventType.CREDENTIAL_STATUS_CHANGED,
            user_id,
            {
                "credential_id": credential_id,
                "provider": before.provider,
                "label": before.label,
                "status": after.status.value,
                "previous_status": before.standing.status.value,
                "reason": after.reason,
                "until": after.until,
                "next_probe_at": after.probe_at,
            },
        )

    async def _store(self, tx: Any, user_id: str, credential_id: str, before: HeldStanding, after: Standing) -> bool:
        if after == before.standing:
            return False
        await rows.update_standing(tx, credential_id, after)
        await self.announce(tx, user_id, credential_id, before, after)
        return after.status is not before.standing.status
