"""What has to be there before anything is built: the wrapping key, the database, the operator's provider keys."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from ownkey.config import Config
from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.key_calls import KeyCalls
from ownkey.crypto.key_file import read_key_file
from ownkey.crypto.key_ring import KeyRing
from ownkey.crypto.key_service import open_service
from ownkey.crypto.webhook_signature import parse_secrets
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.domain.credential import Secret, clean_secret
from ownkey.domain.provider import Provider
from ownkey.errors import ConfigError, RequestError, StorageError
from ownkey.http.origins import Origins
from ownkey.services.changes import Changes
from ownkey.services.expiry import utc_now
from ownkey.services.host_token_rules import read_host_token_rules
from ownkey.services.host_tokens import HostTokenService
from ownkey.services.key_watch import KeyWatch
from ownkey.services.metering import Metering
from ownkey.services.oidc import OidcService
from ownkey.services.oidc_rules import read_oidc_rules
from ownkey.services.price_book import PriceBook
from ownkey.services.pricing import Pricing
from ownkey.services.sessions import SessionService
from ownkey.services.snapshot_cache import SnapshotCache
from ownkey.services.webhook import Webhook, check_webhook_url
from ownkey.spool.spool import Spool, SpoolFull
from ownkey.storage import data_keys, usage
from ownkey.storage.database import Database
from ownkey.storage.embedded import EmbeddedPostgres, prepare_data_dir
from ownkey.storage.migrate import migrate
from ownkey.upstream.address_guard import AddressGuard
from ownkey.upstream.pool import UpstreamPool

KEY_FILE_NAME: Final = "wrapping.key"

logger = logging.getLogger(__name__)


class OpenDatabase(Struct, frozen=True):
    """The pool, and where to listen for changes."""

    pool: Database
    listen_dsn: str


def load_wrapping_keys(config: Config) -> KeyRing:
    """The wrapping keys of the configuration.

    With the embedded database a missing key is made, since both live and die in the same directory. With another
    one that would be a key whose loss nobody expects, so it is refused. Raises ConfigError.
    """
    if config.wrapping_keys and config.wrapping_key_file is not None:
        raise ConfigError("OWNKEY_WRAPPING_KEYS and OWNKEY_WRAPPING_KEY_FILE are both set. Keep one of them.")
    if config.wrapping_keys:
        return _parse_keys(config, config.wrapping_keys)
    path = find_key_file(config)
    if config.wrapping_key_file is not None:
        return _parse_keys(config, read_key_file(config.wrapping_key_file.expanduser()))
    if path is None:
        raise ConfigError(
            "No wrapping key is configured, so stored API keys could not be sealed. Make one with `ownkey keygen` and "
            "set OWNKEY_WRAPPING_KEYS, or write it to a file of mode 0600 and set OWNKEY_WRAPPING_KEY_FILE."
        )
    if not path.exists():
        _make_key_file(path)
    return _parse_keys(config, read_key_file(path))


def _parse_keys(config: Config, text: str) -> KeyRing:
    return KeyRing.parse(text, open_key=lambda url: open_service(url, config.key_service_token_file))


def find_key_file(config: Config) -> Path | None:
    """The file that the wrapping keys come from, which need not be there yet; None if they come from a variable."""
    if config.wrapping_keys:
        return None
    if config.wrapping_key_file is not None:
        return config.wrapping_key_file.expanduser()
    return wrapping_key_path(config) if config.embedded else None


async def open_metering(
    config: Config, database: Database, catalog: Mapping[str, Provider], pricing: Pricing
) -> Metering:
    """What records usage, and the spool in which it stands until then. Raises ConfigError."""

    def with_spool(spool: Spool | None) -> Metering:
        return Metering(
            usage.EventWriter(database),
            catalog,
            pricing,
            flush_seconds=config.usage_flush_seconds,
            queue_size=config.usage_queue_size,
            spool=spool,
            durability=config.usage_durability,
        )

    directory = find_spool_dir(config)
    if directory is None:
        return with_spool(None)
    try:
        return with_spool(Spool(directory, max_bytes=config.spool_max_bytes))
    except SpoolFull as error:
        logger.warning("%s What processes that are gone have left is recorded first.", error.message)
    # Else nobody ever could: whoever starts needs the room that they take.
    with suppress(StorageError, OSError):
        await with_spool(None).adopt(directory)
    return with_spool(Spool(directory, max_bytes=config.spool_max_bytes))


def find_spool_dir(config: Config) -> Path | None:
    """The directory of that, which need not be there yet."""
    if config.usage_durability == "database":
        return None
    if config.spool_dir is not None:
        return config.spool_dir.expanduser().absolute()
    return _find_place(config, "spool")


def find_anchor_file(config: Config) -> Path:
    """Where the ends of the audit chains are kept; it need not be there yet."""
    if config.audit_anchor_file is not None:
        return config.audit_anchor_file.expanduser().absolute()
    return _find_place(config, "audit-anchors")


def _find_place(config: Config, name: str) -> Path:
    """In the data directory, apart for each database: nothing may end up with another installation of this machine."""
    if config.database_url is not None:
        where = urlsplit(config.database_url)._replace(query="").geturl().rpartition("@")[2]
        name = f"{name}-{sha256(where.encode()).hexdigest()[:12]}"
    return (config.data_dir / name).expanduser().absolute()


def wrapping_key_path(config: Config) -> Path:
    """Where the wrapping key of the embedded database lies."""
    return config.data_dir.expanduser().resolve() / KEY_FILE_NAME


def _make_key_file(path: Path) -> None:
    data = path.parent / "postgres"
    if data.exists() and any(data.iterdir()) and not path.exists():
        raise ConfigError(
            f"The database in {data} exists, but its wrapping key {path} is gone. Restore it from a backup: without "
            "it the stored API keys stay shut. To start anew without them, remove the database."
        )
    prepare_data_dir(path.parent)
    try:
        LocalWrappingKeys.generate_file(path)
    except ConfigError:
        # Another process may have made it at the same moment.
        if not path.exists():
            raise


async def open_database(config: Config, stack: AsyncExitStack) -> OpenDatabase:
    """Start or reach PostgreSQL, migrate, and connect. Raises ConfigError and StorageError."""
    if config.database_url is None:
        postgres = await EmbeddedPostgres.start(config.data_dir)
        stack.push_async_callback(postgres.stop)
        runtime, migration, listen = postgres.runtime_dsn, postgres.migration_dsn, postgres.runtime_dsn
    else:
        runtime = config.database_url
        migration = config.migration_database_url or runtime
        listen = config.listen_database_url or migration
    await migrate(migration, lambda name: logger.info("applying migration %s", name))
    pool = await Database.open(runtime, pool_size=config.database_pool_size, pooler=config.database_pooler)
    stack.push_async_callback(pool.close)
    await _refuse_unsafe(pool)
    await usage.ensure_partitions(pool)
    return OpenDatabase(pool, listen)


async def check_wrapping_keys(pool: Database, wrapping: KeyRing) -> None:
    """Refuse to serve with wrapping keys that open nobody's secrets; warn of some that are missing.

    Raises ConfigError: with the wrong keys no user's stored key could be used.
    """
    async with pool.transaction(None, role="ownkey_rotator") as tx:
        in_use = await data_keys.count_by_wrapping_key(tx)
    missing = {name: users for name, users in in_use.items() if name not in wrapping.ids}
    if not missing:
        return
    names = ", ".join(f"{name} ({users} users)" for name, users in sorted(missing.items()))
    if len(missing) == len(in_use):
        raise ConfigError(f"None of the wrapping keys in use is configured: {names}. Restore it from its backup.")
    logger.error("Wrapping keys in use are not configured: %s. Those users hear 503 from here.", names)


async def open_data_keys(
    config: Config, pool: Database, wrapping: KeyRing, stack: AsyncExitStack
) -> tuple[DataKeys, KeyWatch]:
    """What opens data keys, and what reports which wrapping keys this process holds and keeps up with their file.

    Raises ConfigError when the key that wraps new data keys is not held or its service cannot be used.
    """
    calls = KeyCalls()
    stack.callback(calls.close)
    path = find_key_file(config)
    load = None if path is None else partial(load_wrapping_keys, config)
    watch = KeyWatch(pool, wrapping, calls, load=load, path=path)
    await watch.start()
    stack.push_async_callback(watch.close)
    reread = partial(data_keys.read_data_key, pool)
    return DataKeys(wrapping, config.deployment_id, calls=calls, reread=reread), watch


def check_origins(config: Config) -> None:
    """Raises ConfigError for an origin, URL or network that is none: now, and not when a server is asked for."""
    Origins(config)


def check_provider_names(config: Config, catalog: Mapping[str, Provider]) -> None:
    """A provider that is misspelt in the configuration would silently allow or share nothing. Raises ConfigError."""
    unknown = sorted({*config.allowed_providers, config.ultimate_provider} - set(catalog))
    if unknown:
        raise ConfigError(f"The catalogue has no provider named {', '.join(unknown)}. It has: {', '.join(catalog)}.")


def read_prices(config: Config, catalog: Mapping[str, Provider]) -> PriceBook:
    """The operator's own prices. Raises ConfigError.

    The price table is loaded only if an entry leaves a side to it, which takes half a second.
    """
    book, pricing, now = PriceBook.load(config.prices), Pricing(), utc_now()

    def has_other_price(provider_id: str, model: str | None) -> bool:
        provider = catalog.get(provider_id)
        if provider is None or provider.prices is None:
            return False
        return model is None or pricing.list_price(provider.prices, model, now) is not None

    book.require_whole(has_other_price)
    return book


def warn_of_unknown_prices(book: PriceBook, catalog: Mapping[str, Provider]) -> None:
    """A provider's row may come later, so that this is no error."""
    unknown = sorted(book.providers - set(catalog))
    if unknown:
        logger.warning("OWNKEY_PRICES has prices of %s, which the catalogue does not know (yet)", ", ".join(unknown))


async def _refuse_unsafe(pool: Database) -> None:
    """Row-level security is the wall between users: without it nothing is served. Raises ConfigError."""
    findings = await pool.check()
    errors = [finding.message for finding in findings if finding.level == "error"]
    if errors:
        raise ConfigError(" ".join(errors) + " `ownkey doctor` shows each with its cure.")
    for finding in findings:
        logger.warning("%s", finding.message)


def read_shared_secrets(
    config: Config, catalog: Mapping[str, Provider], environ: Mapping[str, str]
) -> dict[str, Secret]:
    """The operator's provider keys from the environment, by provider. Raises ConfigError for a malformed one."""
    if not config.shared_keys:
        return {}
    found: dict[str, Secret] = {}
    for provider in catalog.values():
        value = environ.get(provider.environment, "") if provider.environment else ""
        if not value.strip():
            continue
        if "{" in provider.base_url:
            logger.warning(
                "%s is set, but the address of %s is the operator's to name: give its base_url (and fields = []) in "
                "the file of OWNKEY_CATALOG. Until then this key is not shared.",
                provider.environment,
                provider.label,
            )
            continue
        try:
            found[provider.id] = clean_secret(value)
        except RequestError as error:
            raise ConfigError(f"{provider.environment} does not hold an API key: {error.message}") from None
    return found


def open_host_tokens(config: Config, cache: SnapshotCache, changes: Changes) -> HostTokenService | None:
    """What recognises the host application's tokens, where it signs any. Raises ConfigError."""
    rules = read_host_token_rules(config)
    return None if rules is None else HostTokenService.open(rules, cache=cache, changes=changes)


def open_oidc(config: Config, sessions: SessionService, changes: Changes) -> OidcService | None:
    """Signing in through an identity provider, where the operator has named one. Raises ConfigError."""
    rules = read_oidc_rules(config)
    if rules is None:
        return None
    try:
        library = import_module("ownkey.services.identity_provider")
    except ModuleNotFoundError:
        raise ConfigError("OpenID Connect is not installed: pip install 'ownkey[oidc]'.") from None
    return OidcService(rules, library.IdentityProvider(rules), sessions, changes)


def check_webhook(config: Config) -> tuple[str, tuple[bytes, ...]] | None:
    """Where the host hears of events and what signs them, if there is such a place. Raises ConfigError."""
    if config.webhook_url is None:
        if config.webhook_secret is not None:
            raise ConfigError("OWNKEY_WEBHOOK_SECRET is set without OWNKEY_WEBHOOK_URL.")
        return None
    return check_webhook_url(config.webhook_url), parse_secrets(config.webhook_secret or "")


def open_webhook(config: Config) -> Webhook | None:
    """The host's receiver of events, where there is one. Raises ConfigError."""
    found = check_webhook(config)
    return None if found is None else Webhook(*found)


def open_pool(config: Config, catalog: Mapping[str, Provider]) -> UpstreamPool:
    """The connections to providers. The catalogue's addresses are trusted, users' own pass the guard."""
    return UpstreamPool(
        connect_timeout_seconds=config.connect_timeout_seconds,
        first_byte_timeout_seconds=config.first_byte_timeout_seconds,
        idle_timeout_seconds=config.idle_timeout_seconds,
        total_timeout_seconds=config.total_timeout_seconds,
        max_answer_bytes=config.max_answer_bytes,
        guard=AddressGuard(allow_private=config.private_base_urls),
        trusted_base_urls=[provider.base_url for provider in catalog.values()],
    )
