"""`UserLLMSettingsService`: everything that a user's settings page reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from datetime import datetime
from typing import Self

from ownkey.crypto.data_keys import DataKeys
from ownkey.domain.provider import Provider
from ownkey.domain.routing import Attempt, Route, RouteRequest, attempts, select_best
from ownkey.domain.settings import Settings, Snapshot
from ownkey.domain.user import check_user_id
from ownkey.services.audit_seals import AuditSeals
from ownkey.services.changes import Changes
from ownkey.services.choices import ChoiceService
from ownkey.services.credential_status import StatusKeeper
from ownkey.services.credential_test import CredentialProber, CredentialTestService
from ownkey.services.expectation import Expectation
from ownkey.services.expiry import utc_now
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.spending import SpendingService
from ownkey.services.vault import Vault
from ownkey.storage import snapshots
from ownkey.storage.database import Database
from ownkey.upstream.health import HealthBoard, HealthView


class UserLLMSettingsService(CredentialTestService, ChoiceService):
    """Create, read, update and delete a user's credentials, settings, preferences and task overrides.

    Every change and its audit row are one transaction. Only what differs is written; what changes nothing
    writes nothing. A user exists from their first change on. `actor` is who the audit names, by default the
    user. All methods raise StorageError(database_unavailable) when PostgreSQL is away.

    `custom_base_urls` lets users set addresses of their own; `private_base_urls` lets those be http and inside
    the operator's network, and must agree with the address guard of the pool.

    `on_change` is called with the user's id after every committed change: see `Changes`. `spending` lets previews show
    what budgets and caps would refuse. `seals`: see `Changes`.
    """

    def __init__(
        self,
        *,
        database: Database,
        data_keys: DataKeys,
        catalog: Mapping[str, Provider],
        policies: PolicyBoard,
        health: HealthBoard,
        prober: CredentialProber,
        deployment_id: str,
        custom_base_urls: bool = False,
        private_base_urls: bool = False,
        on_change: Callable[[str], None] | None = None,
        now: Callable[[], datetime] = utc_now,
        spending: SpendingService | None = None,
        seals: AuditSeals | None = None,
    ) -> None:
        changes = Changes(database, on_change, seals=seals)
        CredentialTestService.__init__(
            self,
            changes,
            Vault(data_keys, deployment_id),
            catalog=catalog,
            policies=policies,
            keeper=StatusKeeper(now=now),
            prober=prober,
            custom_base_urls=custom_base_urls,
            private_base_urls=private_base_urls,
            forgive=health.forgive,
            now=now,
        )
        ChoiceService.__init__(self, changes, catalog=catalog, policies=policies, now=now)
        self._database, self._health, self._spending = database, health, spending

    def expecting(self, expectation: Expectation) -> Self:
        """The same service for one change, which is made only if what its author saw is still so.

        The change raises ChangedElsewhere otherwise; afterwards the expectation holds the new version.
        """
        conditional = copy(self)
        conditional._changes = self._changes.expecting(expectation)
        return conditional

    async def select_best(self, user_id: str, task: str | None = None, model: str = "auto") -> Attempt | None:
        """The provider, model and credential that a request would try first now; None when there is none.

        Raises RequestError(unknown_provider).
        """
        return select_best(await self.preview_route(user_id, RouteRequest(model=model, task=task)))

    async def preview_route(self, user_id: str, request: RouteRequest) -> Route:
        """The chain of a request, from what is stored this moment, by the function that the gateway uses.

        Raises RequestError(unknown_provider).
        """
        check_user_id(user_id)
        snapshot = await snapshots.load_snapshot(self._database, user_id) or _empty_snapshot(user_id)
        return attempts(
            snapshot,
            request,
            catalog=self._catalog,
            policy=self._policies.current,
            health=HealthView(self._health),
            now=self._now(),
            spending=None if self._spending is None else await self._spending.look(snapshot, request),
        )


def _empty_snapshot(user_id: str) -> Snapshot:
    """Somebody who has changed nothing yet: the operator's keys may still serve them."""
    return Snapshot(
        user_id=user_id,
        generation=0,
        settings=Settings(),
        preferences={},
        overrides={},
        credentials=(),
        wrapped_data_key=None,
        wrapping_key_id=None,
    )
