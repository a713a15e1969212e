"""Which database a configuration means and why it is not there, in words that hold no password."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import parse_qs, urlsplit

from ownkey.config import Config
from ownkey.errors import ConfigError, StorageError

_URL_FIELDS: Final = ("database_url", "migration_database_url", "listen_database_url")


def check_database_urls(config: Config) -> None:
    """Raises ConfigError for a URL that no driver could read; the message does not repeat it."""
    for field in _URL_FIELDS:
        url = getattr(config, field)
        if url is not None and not _is_postgres_url(url):
            raise ConfigError(
                f"OWNKEY_{field.upper()} is not of the form postgresql://user:password@host:5432/database."
            )


def describe_database(config: Config) -> str:
    """`embedded PostgreSQL`, or user, host and name of another one."""
    if config.database_url is None:
        return "embedded PostgreSQL"
    parts = urlsplit(config.database_url)
    socket_dir = parse_qs(parts.query).get("host", [""])[0]
    host = f"{parts.hostname}:{parts.port or 5432}" if parts.hostname else socket_dir or "local socket"
    user = f"{parts.username}@" if parts.username else ""
    return f"PostgreSQL {user}{host}{parts.path}"


def explain(config: Config, error: StorageError) -> str:
    """What happened, for the person who runs the database: with its name and what it or the network said."""
    if error.code != "database_unavailable":
        return error.message
    return f"{describe_database(config)} cannot be reached{_say_cause(error.__cause__)}"


def _say_cause(cause: BaseException | None) -> str:
    if cause is None:
        return "."
    if isinstance(cause, TimeoutError) and not cause.strerror:
        return ": it did not answer in time."
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        text = os.strerror(cause.errno)
    else:
        text = getattr(cause, "strerror", None) or str(cause)
    return f": {text.splitlines()[0].rstrip('.')}." if text else "."


def _is_postgres_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("postgresql", "postgres") and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
