"""`Ownkey`: builds every object once, in order, and takes them down in reverse."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from ownkey import startup
from ownkey.config import Config
from ownkey.crypto.envelope import SecretOpener
from ownkey.domain.policy import Policy
from ownkey.errors import ConfigError
from ownkey.providers.catalog import load_catalog
from ownkey.providers.live_catalog import LiveCatalog
from ownkey.services.address_limit import AddressLimit
from ownkey.services.administration import Administration
from ownkey.services.audit_anchors import AnchorFile, AnchorKeeper
from ownkey.services.audit_seals import AuditSeals, open_audit_key
from ownkey.services.audit_trail import AuditTrail
from ownkey.services.budget_report import BudgetReport
from ownkey.services.changes import Changes
from ownkey.services.completion import CompletionService
from ownkey.services.core import Core
from ownkey.services.credential_health import CredentialHealth
from ownkey.services.credential_models import CredentialModels
from ownkey.services.credential_reveal import CredentialReveal
from ownkey.services.credential_status import StatusKeeper
from ownkey.services.credential_test import CredentialProber
from ownkey.services.credit_probe import CreditProbe
from ownkey.services.deployment import Deployment
from ownkey.services.drains import Drains
from ownkey.services.export import Export
from ownkey.services.gateway_tokens import GatewayTokenService
from ownkey.services.host_events import Callback, HostEvents
from ownkey.services.key_rotation import KeyRotation
from ownkey.services.llm_config_manager import LLMConfigManager
from ownkey.services.model_list import ModelList
from ownkey.services.one_time_links import OneTimeLinks
from ownkey.services.oversight import Oversight
from ownkey.services.password_work import PasswordWork
from ownkey.services.policies import PolicyService
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.pricing import Pricing
from ownkey.services.provider_forms import ProviderForms
from ownkey.services.rate_keeper import RateKeeper
from ownkey.services.recovery import RecoveryProber
from ownkey.services.request_log import RequestLog
from ownkey.services.route_preview import RoutePreviews
from ownkey.services.router import Router
from ownkey.services.running_calls import RunningCalls
from ownkey.services.sessions import PANEL_TTL_SECONDS, PanelToken, SessionService
from ownkey.services.sign_in import SignInService
from ownkey.services.snapshot_cache import SnapshotCache
from ownkey.services.spending import SpendingService
from ownkey.services.token_count import TokenCounter
from ownkey.services.token_uses import TokenUses
from ownkey.services.traffic_report import TrafficReport
from ownkey.services.usage_report import UsageReport
from ownkey.services.usage_upkeep import UsageUpkeep
from ownkey.services.user_llm_settings import UserLLMSettingsService
from ownkey.services.users import UserService
from ownkey.services.vault import Vault
from ownkey.storage import snapshots
from ownkey.storage.database import Database
from ownkey.upstream.health import HealthBoard

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ownkey.http.server import Server


class Ownkey:
    """The product in one object. Open it with `async with Ownkey.open() as ok:`."""

    def __init__(self, core: Core) -> None:
        self.core = core

    @classmethod
    @asynccontextmanager
    async def open(
        cls, config: Config | None = None, *, environ: Mapping[str, str] | None = None
    ) -> AsyncIterator[Ownkey]:
        """Start everything; configuration from `OWNKEY_*` variables unless given.

        The operator's provider keys come from `environ`, by default the process's own.

        Raises ConfigError for what is unsafe or missing, StorageError when the database is not there.
        """
        config = config or Config.from_env()
        async with AsyncExitStack() as stack:
            yield await _build(config, os.environ if environ is None else environ, stack)

    @property
    def config(self) -> Config:
        """The configuration that is in force."""
        return self.core.config

    @property
    def settings(self) -> UserLLMSettingsService:
        """Credentials, preferences and task overrides of users."""
        return self.core.settings

    @property
    def manager(self) -> LLMConfigManager:
        """Login, logout and chat in process."""
        return self.core.manager

    @property
    def tokens(self) -> GatewayTokenService:
        """Gateway tokens."""
        return self.core.tokens

    @property
    def users(self) -> UserService:
        """The users themselves."""
        return self.core.users

    @property
    def policies(self) -> PolicyService:
        """What administrators decide for everybody."""
        return self.core.policies

    @property
    def usage(self) -> UsageReport:
        """What was used, by whom and for how much."""
        return self.core.usage_report

    @property
    def audit(self) -> AuditTrail:
        """Who changed what."""
        return self.core.audit

    @property
    def database(self) -> Database:
        """The connections to PostgreSQL, for checks."""
        return self.core.database

    def asgi(self) -> Server:
        """The whole server, to be mounted in a host application: `app.mount("/llm", ok.asgi())`."""
        return self._server

    @cached_property
    def _server(self) -> Server:
        # Not above: what it needs takes half of the time in which everything is loaded, and commands do without it.
        from ownkey.http.server import Server

        return Server(self.core)

    async def panel_token(
        self,
        user_id: str,
        *,
        scopes: Sequence[str] = ("settings",),
        ttl_seconds: int = PANEL_TTL_SECONDS,
        origin: str | None = None,
    ) -> PanelToken:
        """A token with which a page of `origin` opens the settings panel of a user whom the host has signed in.

        `origin` None: a page of this server's own origin, as when it is mounted in the host. `ttl_seconds` is 60 to
        3600. `scopes` are of settings, usage (only to look) and, for an administrator, admin. A user who is new is
        created. Raises RequestError, PermissionDenied and StorageError.
        """
        return await self.core.sessions.open_panel(user_id, scopes=scopes, ttl_seconds=ttl_seconds, origin=origin)

    def on_event(self, callback: Callback) -> Callable[[], None]:
        """Call `callback(event)`, a function or a coroutine function, for every event; what is returned ends that.

        Of several processes that have callbacks one gets each event, whichever process it happened in. It is handed
        over again, under the same `event.id`, if a callback raises, takes more than 15 seconds, or the process dies
        meanwhile. Events are kept from a moment after the first callback on, and for a week while no process has one.
        """
        return self.core.events.add_callback(callback)

    def openai_client(self, user_id: str) -> AsyncOpenAI:
        """A real `openai.AsyncOpenAI` whose requests are served in this process with the user's keys.

        Needs the extra `ownkey[openai]`.
        """
        try:
            openai, httpx2 = import_module("openai"), import_module("httpx2")
        except ModuleNotFoundError:
            raise ConfigError("The OpenAI client is not installed: pip install 'ownkey[openai]'.") from None
        transport = import_module("ownkey.http.in_process").InProcessTransport(self._server.gateway, user_id=user_id)
        client: AsyncOpenAI = openai.AsyncOpenAI(
            api_key="in-process",
            base_url="http://in-process/v1",
            http_client=httpx2.AsyncClient(transport=transport, timeout=None),
            # The gateway retries where that can help; a second layer would only multiply.
            max_retries=0,
        )
        return client


async def _build(config: Config, environ: Mapping[str, str], stack: AsyncExitStack) -> Ownkey:
    catalog = LiveCatalog(load_catalog(config.catalog))
    webhook = startup.open_webhook(config)
    wrapping = startup.load_wrapping_keys(config)
    startup.check_provider_names(config, catalog)
    startup.check_origins(config)
    shared_secrets = startup.read_shared_secrets(config, catalog, environ)
    prices = startup.read_prices(config, catalog)
    database = await startup.open_database(config, stack)
    await startup.check_wrapping_keys(database.pool, wrapping)
    policies = PolicyBoard(
        Policy(
            shared=frozenset(shared_secrets),
            allowed=frozenset(config.allowed_providers) if config.allowed_providers else None,
            ultimate=config.ultimate_provider,
        )
    )
    deployment = Deployment(database.pool, policies, catalog)
    pool = startup.open_pool(config, catalog)
    stack.push_async_callback(pool.close)
    data_keys, key_watch = await startup.open_data_keys(config, database.pool, wrapping, stack)
    opener = SecretOpener()
    router = Router(catalog=catalog, policies=policies, health=HealthBoard())
    catalog.follow(router.forget_all)

    def let_rest(user_id: str) -> None:
        data_keys.let_rest(user_id)
        opener.forget(user_id)
        router.forget(user_id)

    def forget(user_id: str) -> None:
        data_keys.forget(user_id)
        opener.forget(user_id)
        router.forget(user_id)

    running = RunningCalls(policies)
    cache = SnapshotCache(
        database.pool,
        size=config.snapshot_cache_size,
        stale_seconds=max(config.stale_seconds, 4 * config.snapshot_max_age_seconds),
        on_drop=forget,
        on_rest=let_rest,
        on_change=running.note_change,
        others=lambda: running.users,
    )
    running.watch(cache)
    stack.callback(cache.close)
    stack.push_async_callback(running.close)
    events = HostEvents(database.pool, catalog, webhook)

    keeper = StatusKeeper()
    credential_health = CredentialHealth(database.pool, keeper)

    def note_recovery(health_key: str) -> None:
        router.health.forgive(health_key)
        credential_health.forget(health_key)

    def note_gap() -> None:
        # Among what was not heard may be that credentials work again.
        router.health.forgive_all()
        credential_health.forget_all()

    def note_sync(moment: float) -> None:
        cache.note_sync(moment)
        running.note_sync()

    listener = await snapshots.listen(
        database.listen_dsn,
        snapshots.Hearer(
            on_change=cache.drop,
            on_gap=note_gap,
            on_deployment=deployment.wake,
            on_recovery=note_recovery,
            on_event=events.wake,
            check_all=cache.check_generations,
            on_sync=note_sync,
        ),
        database=database.pool,
        poll_seconds=config.snapshot_max_age_seconds,
    )
    stack.push_async_callback(listener.close)
    events.start()
    stack.push_async_callback(events.close)
    await deployment.start()
    stack.push_async_callback(deployment.close)
    startup.warn_of_unknown_prices(prices, catalog)
    pricing = Pricing(prices)
    metering = await startup.open_metering(config, database.pool, catalog, pricing)
    await metering.start()
    stack.push_async_callback(metering.close)
    upkeep = UsageUpkeep(database.pool, retention_months=config.usage_retention_months)
    upkeep.start()
    stack.push_async_callback(upkeep.close)
    credential_health.start()
    stack.push_async_callback(credential_health.close)
    token_uses = TokenUses(database.pool)
    token_uses.start()
    stack.push_async_callback(token_uses.close)
    rates = RateKeeper.open(config.limits_url, config.deployment_id) if config.limits_url else None
    spending = SpendingService(
        database.pool,
        policies,
        pricing,
        metering,
        lifetime_seconds=(
            config.connect_timeout_seconds + config.first_byte_timeout_seconds + config.total_timeout_seconds
        ),
        rates=rates,
    )
    spending.start()
    stack.push_async_callback(spending.close)
    drains = Drains(limit=config.drain_limit, seconds=config.drain_seconds, max_bytes=config.drain_bytes)
    stack.push_async_callback(drains.close)
    completion = CompletionService(
        router=router,
        pool=pool,
        data_keys=data_keys,
        metering=metering,
        spending=spending,
        credential_health=credential_health,
        opener=opener,
        drains=drains,
        running=running,
        shared_secrets=shared_secrets,
        deployment_id=config.deployment_id,
        retry_wait_seconds=config.retry_wait_seconds,
    )
    audit_key = await open_audit_key(database.pool, data_keys, config.deployment_id)
    seals, anchor_file = AuditSeals(audit_key), AnchorFile(startup.find_anchor_file(config), audit_key)
    anchors = AnchorKeeper(database.pool, anchor_file)
    await anchors.start()
    stack.push_async_callback(anchors.close)
    changes = Changes(database.pool, cache.drop, seals=seals)
    vault = Vault(data_keys, config.deployment_id)
    prober = CredentialProber(pool)
    recovery = RecoveryProber(
        database.pool,
        vault,
        prober,
        keeper,
        catalog=catalog,
        policies=policies,
        credit=CreditProbe(database.pool, completion) if config.credit_probes else None,
    )
    recovery.start()
    stack.push_async_callback(recovery.close)
    host_tokens = startup.open_host_tokens(config, cache, changes)
    if host_tokens is not None:
        stack.push_async_callback(host_tokens.close)
    manager = LLMConfigManager(changes=changes, cache=cache, completion=completion)
    passwords = PasswordWork()
    stack.callback(passwords.close)
    sessions = SessionService(
        changes,
        database.pool,
        manager,
        idle_seconds=config.session_idle_seconds,
        lifetime_seconds=config.session_lifetime_seconds,
    )
    credential_models = CredentialModels(changes, vault, pool, catalog=catalog, policies=policies, pricing=pricing)
    models = ModelList(router, credential_models.lists, completion.fetch_secret)
    stack.push_async_callback(models.close)
    oidc = startup.open_oidc(config, sessions, changes)
    if oidc is not None:
        stack.push_async_callback(oidc.close)
    settings = UserLLMSettingsService(
        database=database.pool,
        data_keys=data_keys,
        catalog=catalog,
        policies=policies,
        health=router.health,
        prober=prober,
        deployment_id=config.deployment_id,
        custom_base_urls=config.custom_base_urls,
        private_base_urls=config.private_base_urls,
        on_change=cache.drop,
        spending=spending,
        seals=seals,
    )
    rotation = KeyRotation(changes, data_keys, wrapping, key_watch)
    stack.push_async_callback(rotation.close)
    core = Core(
        config=config,
        database=database.pool,
        catalog=catalog,
        router=router,
        cache=cache,
        settings=settings,
        previews=RoutePreviews(settings, policies, pricing),
        manager=manager,
        tokens=GatewayTokenService(changes),
        users=UserService(changes),
        administration=Administration(changes),
        sessions=sessions,
        sign_in=SignInService(changes, database.pool, sessions, passwords, AddressLimit()),
        links=OneTimeLinks(changes, database.pool, sessions, passwords),
        usage_report=UsageReport(changes),
        budgets=BudgetReport(changes, policies, spending),
        request_log=RequestLog(changes),
        export=Export(changes, session_idle_seconds=config.session_idle_seconds),
        audit=AuditTrail(changes, audit_key, anchor_file),
        oversight=Oversight(changes, catalog=catalog, policies=policies, health=router.health),
        rotation=rotation,
        key_watch=key_watch,
        traffic=TrafficReport(changes),
        provider_forms=ProviderForms(changes, deployment, catalog, private_base_urls=config.private_base_urls),
        policies=PolicyService(changes, policies, deployment, catalog),
        completion=completion,
        counter=TokenCounter(router, pool, completion.fetch_secret),
        metering=metering,
        credential_health=credential_health,
        recovery=recovery,
        events=events,
        models=models,
        credential_models=credential_models,
        credential_reveal=CredentialReveal(changes, vault, catalog=catalog, policies=policies),
        token_uses=token_uses,
        host_tokens=host_tokens,
        oidc=oidc,
    )
    return Ownkey(core)
