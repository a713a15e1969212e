"""Everything that the HTTP floor may call, built once by `app.py`."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ownkey.config import Config
from ownkey.domain.provider import Provider
from ownkey.services.administration import Administration
from ownkey.services.audit_trail import AuditTrail
from ownkey.services.budget_report import BudgetReport
from ownkey.services.completion import CompletionService
from ownkey.services.credential_health import CredentialHealth
from ownkey.services.credential_models import CredentialModels
from ownkey.services.credential_reveal import CredentialReveal
from ownkey.services.export import Export
from ownkey.services.gateway_tokens import GatewayTokenService
from ownkey.services.host_events import HostEvents
from ownkey.services.host_tokens import HostTokenService
from ownkey.services.key_rotation import KeyRotation
from ownkey.services.key_watch import KeyWatch
from ownkey.services.llm_config_manager import LLMConfigManager
from ownkey.services.metering import Metering
from ownkey.services.model_list import ModelList
from ownkey.services.oidc import OidcService
from ownkey.services.one_time_links import OneTimeLinks
from ownkey.services.oversight import Oversight
from ownkey.services.policies import PolicyService
from ownkey.services.provider_forms import ProviderForms
from ownkey.services.recovery import RecoveryProber
from ownkey.services.request_log import RequestLog
from ownkey.services.route_preview import RoutePreviews
from ownkey.services.router import Router
from ownkey.services.sessions import SessionService
from ownkey.services.sign_in import SignInService
from ownkey.services.snapshot_cache import SnapshotCache
from ownkey.services.token_count import TokenCounter
from ownkey.services.token_uses import TokenUses
from ownkey.services.traffic_report import TrafficReport
from ownkey.services.usage_report import UsageReport
from ownkey.services.user_llm_settings import UserLLMSettingsService
from ownkey.services.users import UserService
from ownkey.storage.database import Database


class Core(Struct, frozen=True, kw_only=True):
    """The services, and the few parts below them that a page of the API reports on."""

    config: Config
    database: Database
    catalog: Mapping[str, Provider]
    router: Router
    cache: SnapshotCache
    settings: UserLLMSettingsService
    previews: RoutePreviews
    manager: LLMConfigManager
    tokens: GatewayTokenService
    users: UserService
    administration: Administration
    sessions: SessionService
    sign_in: SignInService
    links: OneTimeLinks
    usage_report: UsageReport
    budgets: BudgetReport
    request_log: RequestLog
    export: Export
    audit: AuditTrail
    oversight: Oversight
    rotation: KeyRotation
    key_watch: KeyWatch
    policies: PolicyService
    traffic: TrafficReport
    provider_forms: ProviderForms
    completion: CompletionService
    counter: TokenCounter
    metering: Metering
    credential_health: CredentialHealth
    recovery: RecoveryProber
    events: HostEvents
    models: ModelList
    credential_models: CredentialModels
    credential_reveal: CredentialReveal
    token_uses: TokenUses
    host_tokens: HostTokenService | None = None
    oidc: OidcService | None = None
