"""What `ownkey doctor` says about the way to the database: who reads along there reads hashes, usage and settings."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qs, urlsplit

from ownkey.cli.check import Check, ok, warn
from ownkey.config import Config

_NAME: Final = "way to the database"
# asyncpg's own default takes TLS where it is offered, from anybody.
_DEFAULT: Final = "prefer"


def check_transport(config: Config, environ: Mapping[str, str]) -> Check | None:
    """None where the database is on this machine."""
    urls = [url for url in (config.database_url, config.listen_database_url) if url is not None]
    modes = [mode for url in urls if (mode := _read_mode(url, environ)) is not None]
    if not modes:
        return None
    weak = next((mode for mode in modes if mode != "verify-full"), None)
    if weak is None:
        return ok(_NAME, "Encrypted, and the server has to prove who it is (sslmode=verify-full).")
    return warn(
        _NAME,
        f"With sslmode={weak} somebody between here and there can pass for the database.",
        "Add ?sslmode=verify-full&sslrootcert=FILE to OWNKEY_DATABASE_URL, where the network is not yours alone.",
    )


def _read_mode(url: str, environ: Mapping[str, str]) -> str | None:
    """How its driver will ask for TLS; None for a database that is reached without a network."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = query.get("host", [parts.hostname or environ.get("PGHOST", "")])[0]
    if not host or host.startswith("/") or _is_loopback(host):
        return None
    return query.get("sslmode", [environ.get("PGSSLMODE", _DEFAULT)])[0]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
