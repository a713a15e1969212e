"""`ownkey serve`: the gateway and the management API in one process."""

from __future__ import annotations

import logging
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

import ownkey
from ownkey.cli.commands import examples
from ownkey.cli.database_text import describe_database
from ownkey.cli.installation import find_new_place, tell_new_place
from ownkey.cli.listener import bind_listener, is_loopback, url_of
from ownkey.cli.session import current_actor, read_config, run_to_end
from ownkey.config import PREFIX, Config
from ownkey.domain.account import LinkPurpose
from ownkey.domain.user import Role

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.services.one_time_links import NewLink

FIRST_ADMIN = "admin"
EPILOG = (
    examples(
        "ownkey serve",
        "ownkey serve --host 0.0.0.0 --port 80",
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
        public_url=public_url or config.public_url,
    )
    logging.basicConfig(level=config.log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    forbid_core_dumps()
    with bind_listener(config.host, config.port) as listener:
        new_place = find_new_place(config)
        from ownkey.app import Ownkey

        async def announce(ok: Ownkey) -> None:
            if new_place is not None:
                tell_new_place(new_place)
            await _announce(ok, listener)

        run_to_end(
            serve_until_signal(Ownkey.open(config), listener, log_level=config.log_level, on_ready=announce),
            config,
            loop_factory=uvloop.new_event_loop,
        )


async def _announce(ok: Ownkey, listener: socket.socket) -> None:
    url = url_of(listener)
    print(f"Ownkey {ownkey.__version__}")
    print(f"  OpenAI API {url}/v1   (the base URL for any OpenAI client; without /v1 for Anthropic's and Google's)")
    print(f"  panel      {ok.config.public_url or url}")
    print(f"  management {url}/api  (described at {url}/openapi.json)")
    print(f"  database   {describe_database(ok.config)}")
    print(f"  data       {ok.config.data_dir}")
    if not is_loopback(listener):
        print("  Other machines can connect, and this is plain HTTP: put a proxy with TLS in front.")
        if not ok.config.public_url:
            print("  Browsers there cannot sign in without TLS. Set OWNKEY_PUBLIC_URL to the proxy's address.")
    token = await _mint_first_token(ok)
    link = await _mint_first_link(ok, is_first_start=token is not None)
    if token is not None:
        print(f"First start. This is the gateway token of the administrator {FIRST_ADMIN!r}; it is not shown again:")
        print(f"  {token}")
        print(f"Next: ownkey credential add groq --user {FIRST_ADMIN}   (it asks for the key of a provider)")
    if link is not None:
        print(f"Open this once, within a day, to choose the password of {FIRST_ADMIN!r} and sign in to the panel:")
        print(f"  {link.url(ok.config.public_url or url)}")
    print("Ready. Ctrl-C ends it, after the requests that are running.", flush=True)


async def _mint_first_token(ok: Ownkey) -> str | None:
    """A token for the first administrator, if nobody has ever been made. Two servers that start at once may each
    print one: both work, and both are in `ownkey token list`."""
    actor = current_actor()
    if await ok.users.list_users(actor, limit=1):
        return None
    await ok.users.create(FIRST_ADMIN, role=Role.ADMIN, actor=actor)
    made = await ok.tokens.create(FIRST_ADMIN, "first start", scopes=("gateway", "settings", "admin"), actor=actor)
    return made.text


async def _mint_first_link(ok: Ownkey, *, is_first_start: bool) -> NewLink | None:
    """A link for the first administrator: at the first start, and again as long as nobody has used one."""
    links, actor = ok.core.links, current_actor()
    if is_first_start:
        return await links.invite(FIRST_ADMIN, purpose=LinkPurpose.FIRST_ADMIN, actor=actor)
    return await links.renew_first(FIRST_ADMIN, actor=actor)
