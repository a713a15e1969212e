"""`UserLLMSettingsService` on a real database and against simulated providers, and a look behind it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from ownkey.crypto.audit_seal import AuditKey
from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.domain.audit import AuditEntry
from ownkey.domain.policy import Policy
from ownkey.domain.provider import Provider
from ownkey.domain.routing import Attempt
from ownkey.services.audit_trail import AuditTrail
from ownkey.services.changes import Changes
from ownkey.services.credential_models import CredentialModels
from ownkey.services.credential_reveal import CredentialReveal
from ownkey.services.credential_test import CredentialProber
from ownkey.services.gateway_tokens import GatewayTokenService
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.pricing import Pricing
from ownkey.services.usage_report import UsageReport
from ownkey.services.user_llm_settings import UserLLMSettingsService
from ownkey.services.users import UserService
from ownkey.services.vault import Vault
from ownkey.storage import credentials, snapshots
from ownkey.storage.database import Database
from ownkey.upstream.health import HealthBoard
from ownkey.upstream.pool import UpstreamPool

DEPLOYMENT = "tests"


def unique(name: str) -> str:
    """A user id, or part of a secret, that no other test has."""
    return f"{name}-{uuid.uuid4().hex}"


class Stand:
    """The services, built as the application builds them."""

    def __init__(
        self,
        database: Database,
        pool: UpstreamPool,
        catalog: Mapping[str, Provider],
        wrapping: LocalWrappingKeys,
        *,
        policy: Policy | None = None,
        custom_base_urls: bool = False,
        private_base_urls: bool = False,
    ) -> None:
        self.database, self.pool, self.catalog = database, pool, catalog
        self._ahead = timedelta()
        self.changed: list[str] = []
        self.health = HealthBoard()
        self.policies = PolicyBoard(policy or Policy(shared=frozenset({"openai"})))
        data_keys = DataKeys(wrapping, DEPLOYMENT)
        self.vault = Vault(data_keys, DEPLOYMENT)
        self.settings = UserLLMSettingsService(
            database=database,
            data_keys=data_keys,
            catalog=catalog,
            policies=self.policies,
            health=self.health,
            prober=CredentialProber(pool),
            deployment_id=DEPLOYMENT,
            custom_base_urls=custom_base_urls,
            private_base_urls=private_base_urls,
            on_change=self.changed.append,
            now=self.now,
        )
        changes = Changes(database)
        self.tokens = GatewayTokenService(changes, now=self.now)
        self.users = UserService(changes)
        self.usage = UsageReport(changes)
        self.audit = AuditTrail(changes, AuditKey(bytes(32), DEPLOYMENT))
        self.models = CredentialModels(
            changes,
            self.vault,
            pool,
            catalog=catalog,
            policies=self.policies,
            pricing=Pricing(),
            now=self.now,
        )
        self.reveal = CredentialReveal(changes, self.vault, catalog=catalog, policies=self.policies, now=self.now)

    def now(self) -> datetime:
        """The time as the services see it."""
        return datetime.now(UTC) + self._ahead

    def travel(self, step: timedelta) -> None:
        """Let time pass for the services."""
        self._ahead += step

    async def audit_of(self, user_id: str) -> list[AuditEntry]:
        """The user's audit entries after their creation, oldest first."""
        entries = await self.audit.list_entries(user_id, limit=500)
        return [entry for entry in reversed(entries) if entry.action != "user.created"]

    async def generation_of(self, user_id: str) -> int:
        """The generation of the user's snapshot; 0 for a user who does not exist."""
        snapshot = await snapshots.load_snapshot(self.database, user_id)
        return 0 if snapshot is None else snapshot.generation

    async def sealed_of(self, user_id: str, credential_id: str) -> bytes:
        """What is stored of a secret."""
        async with self.database.transaction(user_id) as tx:
            found = await credentials.find_sealed(tx, credential_id)
        assert found is not None
        return found.sealed

    async def open_stored(self, user_id: str, credential_id: str) -> str:
        """A stored secret, opened as the gateway opens it: out of the snapshot."""
        snapshot = await snapshots.load_snapshot(self.database, user_id)
        assert snapshot is not None
        found = next(one for one in snapshot.credentials if one.id == credential_id)
        async with self.database.transaction(user_id) as tx:
            secret = await self.vault.open(tx, user_id, found)
        return secret.reveal()

    async def best(self, user_id: str, task: str | None = None) -> Attempt:
        """What a request would try first; there must be something."""
        found = await self.settings.select_best(user_id, task)
        assert found is not None
        return found


def point_at(catalog: Mapping[str, Provider], urls: Mapping[str, str]) -> dict[str, Provider]:
    """The catalogue with other addresses; providers whose address has fields keep theirs."""
    return {
        name: one if one.fields else msgspec.structs.replace(one, base_url=urls[name]) for name, one in catalog.items()
    }
