"""`ownkey migrate`: brings the database to this version's schema, or hands the files to another tool."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import typer

from ownkey.cli.commands import examples
from ownkey.cli.database_text import describe_database
from ownkey.cli.session import read_config, run_to_end
from ownkey.config import Config
from ownkey.errors import ConfigError

EPILOG = examples(
    "ownkey migrate --dry-run",
    "ownkey migrate",
    "ownkey migrate --export supabase/migrations   # for `supabase db push`",
    "ownkey migrate --create-login ownkey_server   # a login without rights of its own, for OWNKEY_DATABASE_URL",
)


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what has not been applied.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="DIR", help="Write the files to a directory; touch no database.")
    ] = None,
    login: Annotated[
        str | None,
        typer.Option(
            "--create-login", metavar="NAME", help="Afterwards make the login that serves, and print its URL."
        ),
    ] = None,
) -> None:
    """Apply what the schema lacks. `ownkey serve` does the same at its start.

    Migrations only go forward, each in one transaction; several processes may run this at once. The login is that
    of OWNKEY_MIGRATION_DATABASE_URL, or else of OWNKEY_DATABASE_URL.
    """
    if export is not None:
        _export(export)
        return
    config = read_config()
    run_to_end(_migrate(config, dry_run=dry_run, login=login), config)


async def _migrate(config: Config, *, dry_run: bool, login: str | None) -> None:
    from ownkey.storage import migrate as migrations

    async with database_urls(config) as (dsn, _):
        if dry_run:
            names = await migrations.pending(dsn)
            print("\n".join(names) if names else f"Nothing is pending in {describe_database(config)}.")
            return
        applied = await migrations.migrate(dsn, lambda name: print(f"applying {name}", flush=True))
        print(f"{len(applied)} applied. The schema of {describe_database(config)} is that of this version.")
        if login is not None:
            if config.embedded:
                raise ConfigError("The embedded PostgreSQL has its login already; --create-login is for another one.")
            password = secrets.token_urlsafe(24)
            await migrations.create_login(dsn, login, password)
            print("Serve with this login; its password is not shown again:")
            print(f"OWNKEY_DATABASE_URL={_url_for(dsn, login, password)}")


@asynccontextmanager
async def database_urls(config: Config) -> AsyncIterator[tuple[str, str]]:
    """The URL with which to migrate and the one with which to serve. The embedded PostgreSQL runs meanwhile."""
    if config.database_url is not None:
        yield config.migration_database_url or config.database_url, config.database_url
        return
    from ownkey.storage.embedded import EmbeddedPostgres

    postgres = await EmbeddedPostgres.start(config.data_dir)
    try:
        yield postgres.migration_dsn, postgres.runtime_dsn
    finally:
        await postgres.stop()


def _export(directory: Path) -> None:
    from ownkey.storage import migrate as migrations

    try:
        written = migrations.export(directory)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error.strerror}.") from None
    for path in written:
        print(path)
    if not written:
        print(f"{directory} holds all migrations of this version already.")


def _url_for(dsn: str, login: str, password: str) -> str:
    """The same server and database under another name. The parts need no quoting: both are plain."""
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{login}:{password}@{host}"))
