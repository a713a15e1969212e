"""`ownkey serve`: the gateway and the management API, in one process or in several."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ownkey.cli.announcement import announce
from ownkey.cli.commands import examples
from ownkey.cli.installation import find_new_place, tell_new_place
from ownkey.cli.listener import bind_listener
from ownkey.cli.logs import follow, open_log
from ownkey.cli.session import read_config, run_to_end
from ownkey.config import PREFIX, Config
from ownkey.errors import ConfigError

if TYPE_CHECKING:
    from ownkey.app import Ownkey

EPILOG = (
    examples(
        "ownkey serve",
        "ownkey serve --host 0.0.0.0 --port 80",
        "ownkey serve --workers 4   # processes on one port: one per core",
        "OWNKEY_DATABASE_URL=postgresql://… ownkey serve   # a PostgreSQL of your own, Supabase included",
    )
    + "\n\n[bold]Settings[/bold] (environment; docs/reference/configuration.md explains each)\n\n"
    + ", ".join(PREFIX + field.upper() for field in Config.__struct_fields__)
)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on instead of OWNKEY_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port instead of OWNKEY_PORT; 0 picks a free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes on the one port, instead of OWNKEY_WORKERS.")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where people open it, instead of OWNKEY_PUBLIC_URL.")
    ] = None,
) -> None:
    """Start Ownkey: the OpenAI-compatible gateway, the settings panel and the management API.

    Without OWNKEY_DATABASE_URL it starts its own PostgreSQL in the data directory. The first start makes an
    administrator and prints how to sign in, once. Ctrl-C or SIGTERM lets running requests finish.
    """
    import uvloop

    from ownkey.cli.gateway_server import forbid_core_dumps, serve_until_signal

    config = read_config()
    config = msgspec.structs.replace(
        config,
        host=config.host if host is None else host,
        port=config.port if port is None else port,
        workers=workers or config.workers,
        public_url=public_url or config.public_url,
    )
    log = open_log(config.log_level)
    forbid_core_dumps()
    if config.workers > 1:
        _serve_with_workers(config)
        return
    with bind_listener(config.host, config.port) as listener:
        new_place = find_new_place(config)
        from ownkey.app import Ownkey

        async def begin(ok: Ownkey) -> None:
            follow(log, ok)
            if new_place is not None:
                tell_new_place(new_place)
            await announce(ok, listener)
            print("Ready. Ctrl-C ends it, after the requests that are running.", flush=True)

        run_to_end(
            serve_until_signal(Ownkey.open(config), listener, log_level=config.log_level, on_ready=begin),
            config,
            loop_factory=uvloop.new_event_loop,
        )


def _serve_with_workers(config: Config) -> None:
    from ownkey.cli.workers import serve_with_workers

    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigError("This system cannot share a port between processes. Leave out --workers and OWNKEY_WORKERS.")
    status = run_to_end(serve_with_workers(config), config)
    if status:
        raise typer.Exit(status)
