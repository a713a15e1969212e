"""Whether an account has credit again: the smallest request there is, because nothing cheaper shows it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import structs

from ownkey.domain.credential import SealedCredential
from ownkey.domain.settings import Payer, PayerRule, Settings, Snapshot
from ownkey.domain.usage import Outcome
from ownkey.errors import OwnkeyError, RouteExhausted
from ownkey.services.attempt_report import code_of
from ownkey.services.client_request import Asked, ClientRequest, read_request
from ownkey.services.completion import CompletionService
from ownkey.storage import snapshots
from ownkey.storage.database import Database

# Under this name the owner finds these calls among their own, with what they cost.
TASK: Final = "credit-probe"
# Some models think before they speak, and refuse a request that leaves them no room.
_TOKENS: Final = 16


class CreditProbe:
    """Sends a request of its owner's, by the way that all requests take: metered, limited and learnt from."""

    def __init__(self, database: Database, completion: CompletionService) -> None:
        self._database, self._completion = database, completion

    async def ask(self, user_id: str, credential_id: str) -> bool | None:
        """Whether the account behind a credential has credit; None when that cannot be found out.

        Somebody who caps their own spending has said how much may be spent: of that, nothing is spent on a question.
        """
        snapshot = await snapshots.load_snapshot(self._database, user_id)
        if snapshot is None or snapshot.settings.caps != Settings().caps:
            return None
        found = next((one for one in snapshot.credentials if one.id == credential_id), None)
        request = None if found is None else self._build_request(snapshot, found)
        if found is None or request is None:
            return None
        alone = structs.replace(
            snapshot,
            settings=Settings(payer=PayerRule.OWN_ONLY, allow_fallback=False),
            overrides={},
            credentials=(structs.replace(found, status_until=None),),
        )
        # What this process had learnt of it is what is being asked anew.
        self._completion.router.health.forgive(found.health_key)
        attempts = self._completion.router.route(alone, request.route).attempts
        if len(attempts) != 1 or attempts[0].payer is not Payer.OWN:
            return None
        try:
            await self._completion.open(alone, request)
        except RouteExhausted as error:
            return False if error.code == code_of(Outcome.CREDIT_EXHAUSTED) else None
        except OwnkeyError:
            return None
        return True

    def _build_request(self, snapshot: Snapshot, credential: SealedCredential) -> ClientRequest | None:
        """The request, or None where no model is known to ask."""
        provider = self._completion.router.catalog.get(credential.provider)
        preference = snapshot.preferences.get(credential.provider)
        chosen = preference.default_model if preference else None
        model = (provider.default_model("chat") if provider else None) or chosen
        if model is None:
            return None
        body = msgspec.json.encode(
            {
                "model": f"{credential.provider}/{model}",
                "messages": [{"role": "user", "content": "Say ok."}],
                "max_completion_tokens": _TOKENS,
            }
        )
        return read_request(body, "chat", Asked(task=TASK))
