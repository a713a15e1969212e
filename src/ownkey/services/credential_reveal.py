"""Showing a stored secret to its owner once more, where the administrators allow that at all.

Every time is in the audit trail before the secret leaves, and the trail is what limits how often: it holds in all
processes and nobody can clear it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from ownkey.domain.audit import AuditAction
from ownkey.domain.credential import Secret
from ownkey.domain.provider import Provider
from ownkey.errors import Conflict, PermissionDenied, RequestError
from ownkey.services.changes import Changes
from ownkey.services.expiry import utc_now
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.stored_secret import find_stored, open_stored
from ownkey.services.vault import Vault
from ownkey.storage import audit

# Long enough to copy it, short enough for a screen that somebody walks past.
SHOWN: Final = timedelta(seconds=30)
REVEALS_LIMIT: Final = 10
REVEALS_WINDOW: Final = timedelta(minutes=10)


class Revealed(Struct, frozen=True, kw_only=True):
    """A secret, and when it is to leave the screen."""

    secret: Secret
    hides_at: datetime


class CredentialReveal:
    """Opens secrets for their owners. That the person has just proved who they are is the caller's to check."""

    def __init__(
        self,
        changes: Changes,
        vault: Vault,
        *,
        catalog: Mapping[str, Provider],
        policies: PolicyBoard,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._changes, self._vault, self._catalog, self._policies, self._now = changes, vault, catalog, policies, now

    async def reveal(self, user_id: str, credential_id: str, *, actor: str | None = None) -> Revealed:
        """The secret of one of the user's own credentials. The operator's keys are no user's.

        Raises PermissionDenied(reveal_switched_off), RequestError(too_many_reveals), NotFound,
        Conflict(secret_missing) and CredentialUnreadable.
        """
        if not self._policies.current.reveal_keys:
            raise PermissionDenied("Stored API keys are not shown in this deployment.", code="reveal_switched_off")
        async with self._changes.begin(user_id, actor) as change:
            sealed = await find_stored(change.tx, credential_id)
            # The user is locked: ten at once are counted one after the other.
            if await audit.count_recent(change.tx, AuditAction.CREDENTIAL_REVEALED, REVEALS_WINDOW) >= REVEALS_LIMIT:
                raise RequestError(
                    "So many API keys were shown a moment ago. Wait some minutes.",
                    code="too_many_reveals",
                    http_status=429,
                    retry_after_seconds=REVEALS_WINDOW.total_seconds(),
                )
            provider = self._catalog.get(sealed.provider)
            if provider is not None and provider.auth == "none":
                raise Conflict("This provider needs no API key, so there is none to show.", code="secret_missing")
            secret = await open_stored(change.tx, self._vault, user_id, sealed)
            await change.record(
                AuditAction.CREDENTIAL_REVEALED, credential_id, provider=sealed.provider, label=sealed.label
            )
        return Revealed(secret=secret, hides_at=self._now() + SHOWN)
