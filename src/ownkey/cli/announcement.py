"""What a server says when it starts, and the first administrator whom it makes at the very first start."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import ownkey
from ownkey.cli.database_text import describe_database
from ownkey.cli.listener import is_loopback, url_of
from ownkey.cli.session import current_actor
from ownkey.domain.account import LinkPurpose
from ownkey.domain.user import Role

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.services.one_time_links import NewLink

FIRST_ADMIN = "admin"


async def announce(ok: Ownkey, listener: socket.socket) -> None:
    """All but that it is ready."""
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
    sys.stdout.flush()


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
