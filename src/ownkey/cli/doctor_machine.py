"""What `ownkey doctor` looks at on this machine, before any database is asked."""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from ownkey.cli.check import Check, fail, ok, warn
from ownkey.cli.listener import bind_listener
from ownkey.config import Config
from ownkey.crypto.key_ring import KeyRing
from ownkey.domain.provider import Provider
from ownkey.errors import ConfigError
from ownkey.providers.catalog import load_catalog
from ownkey.startup import load_wrapping_keys, read_prices, read_shared_secrets, wrapping_key_path

_PROBE_TIMEOUT_SECONDS: Final = 2.0


def check_catalog(config: Config) -> tuple[Check, Mapping[str, Provider]]:
    """The providers, built-in and of the operator's own file."""
    try:
        catalog = load_catalog(config.catalog)
    except ConfigError as error:
        return fail("providers", error.message, "Correct the file that OWNKEY_CATALOG names."), {}
    unknown = sorted({*config.allowed_providers} - catalog.keys())
    if unknown:
        return (
            warn(
                "providers",
                f"OWNKEY_ALLOWED_PROVIDERS names providers that the catalogue lacks: {', '.join(unknown)}.",
                f"Choose from: {', '.join(catalog)}.",
            ),
            catalog,
        )
    return ok("providers", f"{len(catalog)} in the catalogue."), catalog


def check_prices(config: Config, catalog: Mapping[str, Provider]) -> Check:
    """The operator's own prices: whether a server would start with them, and what holds today."""
    try:
        book = read_prices(config, catalog)
    except ConfigError as error:
        return fail("prices", error.message, "Correct the file that OWNKEY_PRICES names: docs/reference/usage.md.")
    today = sum(price.holds_on(datetime.now(UTC).date()) for price in book)
    unknown = sorted(book.providers - catalog.keys())
    count = f"{len(book)} {'price' if len(book) == 1 else 'prices'} of your own, {today} of them for today"
    if unknown:
        return warn(
            "prices",
            f"{count}. The catalogue has no provider {', '.join(unknown)}.",
            f"Correct the name, unless you add it in the panel: {', '.join(sorted(catalog))}.",
        )
    return ok("prices", f"{count}; every other model has the table's price.")


def check_provider_keys(config: Config, catalog: Mapping[str, Provider], environ: Mapping[str, str]) -> Check:
    """The operator's own keys, which stand behind the users'."""
    name = "provider keys"
    if not config.shared_keys:
        return ok(name, "The operator's keys are switched off (OWNKEY_SHARED_KEYS).")
    try:
        found = read_shared_secrets(config, catalog, environ)
    except ConfigError as error:
        return fail(name, error.message, "Set the variable to the key alone, or unset it.")
    if not found:
        return ok(name, "The environment holds none: every user brings their own.")
    if config.ultimate_provider not in found:
        variable = getattr(catalog.get(config.ultimate_provider), "environment", None)
        return warn(
            name,
            f"Found: {', '.join(found)}. There is none for {config.ultimate_provider}, the provider of last resort.",
            f"Set {variable}, or OWNKEY_ULTIMATE_PROVIDER={next(iter(found))}."
            if variable
            else f"Set OWNKEY_ULTIMATE_PROVIDER={next(iter(found))}.",
        )
    return ok(name, f"Found: {', '.join(found)}.")


def check_data_dir(config: Config) -> Check:
    """The directory of the embedded database and of the wrapping key."""
    name, path = "data directory", config.data_dir.expanduser().resolve()
    if not path.exists():
        above = next(parent for parent in path.parents if parent.exists())
        if os.access(above, os.W_OK | os.X_OK):
            return ok(name, f"{path} will be made at the first start.")
        return fail(name, f"{path} cannot be made: {above} is not writable.", "Set OWNKEY_DATA_DIR to a place that is.")
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return fail(
            name, f"{path} is not a directory that this user may write to.", f"Run: chown {os.geteuid()} {path}"
        )
    if path.stat().st_uid != os.geteuid():
        return fail(name, f"{path} belongs to another user.", f"Run: chown {os.geteuid()} {path}")
    if path.stat().st_mode & 0o022:
        return fail(name, f"Other users may write to {path}.", f"Run: chmod go-w {path}")
    closed = _first_closed_parent(path)
    if closed is not None:
        return fail(
            name,
            f"PostgreSQL does not run as root, and other users may not enter {closed}.",
            "Set OWNKEY_DATA_DIR to a directory outside it, such as /var/lib/ownkey.",
        )
    return ok(name, f"{path}")


def check_wrapping_key(config: Config) -> tuple[Check, KeyRing | None]:
    """The key that locks all others: there, closed to others, random. Never makes one."""
    name = "wrapping key"
    configured = config.wrapping_keys or config.wrapping_key_file
    path = wrapping_key_path(config)
    if not configured and config.embedded and not path.exists() and not has_embedded_data(config):
        return ok(name, f"{path} will be made at the first start."), None
    try:
        keys = load_wrapping_keys(config)
    except ConfigError as error:
        fix = "Restore the key from its backup. Only where nothing is stored yet: make one with `ownkey keygen`."
        return fail(name, error.message, fix), None
    source = "OWNKEY_WRAPPING_KEYS" if config.wrapping_keys else str(config.wrapping_key_file or path)
    return ok(name, f"{', '.join(keys.ids)} from {source}."), keys


def check_port(config: Config) -> Check:
    """Whether the server could listen, or does."""
    name = "port"
    if config.port == 0:
        return ok(name, "The server will pick a free one.")
    try:
        bind_listener(config.host, config.port).close()
    except ConfigError as error:
        if _answers_as_ownkey(config):
            return ok(name, f"Ownkey is serving on {config.host}:{config.port}.")
        return fail(name, error.message, "Choose another address: OWNKEY_HOST, OWNKEY_PORT.")
    return ok(name, f"{config.host}:{config.port} is free.")


def has_embedded_data(config: Config) -> bool:
    """Whether an embedded database was ever made in the data directory."""
    return (config.data_dir.expanduser().resolve() / "postgres" / "data").exists()


def _first_closed_parent(path: Path) -> Path | None:
    if os.geteuid() != 0:
        return None
    return next((one for one in (path, *path.parents) if not one.stat().st_mode & 0o001), None)


def _answers_as_ownkey(config: Config) -> bool:
    connection = http.client.HTTPConnection(config.host, config.port, timeout=_PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status == 200 and msgspec.json.decode(answer.read(1024)) == {"status": "ok"}
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return False
    finally:
        connection.close()
