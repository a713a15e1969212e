"""How a person looks at the demo's panels: a password for each user, and an administrator."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ownkey.domain.user import Role
from ownkey.services.sessions import Visitor

if TYPE_CHECKING:
    from ownkey.app import Ownkey

ADMINISTRATOR: Final = "admin"
# Somebody types it, so it is short; it opens simulated keys on loopback, for as long as the demo runs.
_PASSWORD_BYTES: Final = 6


class Doors(Struct, frozen=True):
    """With these logins and this password people sign in."""

    logins: tuple[str, ...]
    password: str


async def open_doors(ok: Ownkey, users: Iterable[str]) -> Doors:
    """Let the users, and an administrator, sign in on the server's page."""
    password = "demo-" + secrets.token_hex(_PASSWORD_BYTES)
    visitor = Visitor(user_agent="ownkey demo")
    logins = (*users, ADMINISTRATOR)
    for login in logins:
        link = await ok.core.links.invite(login, role=Role.ADMIN if login == ADMINISTRATOR else Role.USER)
        await ok.core.links.use(link.text, password, visitor)
    return Doors(logins, password)
