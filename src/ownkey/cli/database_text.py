"""Which database a configuration means, in words that hold no password."""

from __future__ import annotations

from urllib.parse import urlsplit

from ownkey.config import Config


def describe_database(config: Config) -> str:
    """`embedded PostgreSQL`, or user, host and name of another one."""
    if config.database_url is None:
        return "embedded PostgreSQL"
    try:
        parts = urlsplit(config.database_url)
        host, port = parts.hostname or "local socket", parts.port or 5432
    except ValueError:
        return "PostgreSQL at an address that does not parse"
    user = f"{parts.username}@" if parts.username else ""
    return f"PostgreSQL {user}{host}:{port}{parts.path}"
