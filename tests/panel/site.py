"""The server under test as a browser meets it: real, on loopback, with every answer on record."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct, field
from playwright.async_api import BrowserContext

from ownkey import Ownkey
from ownkey.domain.user import Role
from ownkey.http import session_cookie
from ownkey.services.sessions import Visitor
from ownkey.testing import SimulatedProviders
from tests.panel import cast
from tests.panel.cast import Member
from tests.panel.hosts import Host

SHARED: Final = {
    "OPENAI_API_KEY": "sk-operator-openai-000000000001",
    "GROQ_API_KEY": "gsk_operator_groq_00000000000001",
}
PASSWORD: Final = "correct horse battery staple"
_numbers = itertools.count(1)


class Reply(Struct, frozen=True):
    """One answer as it went over the wire."""

    request: str
    status: int
    head: str
    body: bytes


class Person(Struct, frozen=True):
    """A user of the server under test."""

    id: str
    # A gateway token that may also change settings.
    token: str


class Site(Struct):
    """The server, what stands around it, and what must never be seen in a browser."""

    ok: Ownkey
    url: str
    providers: SimulatedProviders
    replies: list[Reply]
    # Provider keys: in no answer, no address, no storage, nowhere on a page.
    secrets: list[str] = field(default_factory=lambda: [*SHARED.values()])
    # Gateway and panel tokens, passwords: nowhere on a page unless a test says that this is where they are shown.
    tokens: list[str] = field(default_factory=list)

    async def person(self, name: str = "user", /, **keys: str) -> Person:
        """A new user with these provider keys, in this order of preference."""
        user_id = f"{name}-{next(_numbers)}"
        await self.ok.manager.load_user_settings(user_id)
        for priority, (provider, secret) in enumerate(keys.items(), start=1):
            await self.add_key(user_id, provider, secret)
            await self.ok.settings.put_preference(user_id, provider, priority=priority)
        return await self._introduce(user_id)

    async def settle(self, member: Member) -> Person:
        """Somebody of the demo's company with all that they have."""
        await cast.settle(self.ok, self.providers, member)
        self.secrets.extend(cast.make_secret(member.id, key) for key in member.keys)
        return await self._introduce(member.id)

    async def admin(self, name: str = "admin") -> Person:
        """A new administrator."""
        user_id = f"{name}-{next(_numbers)}"
        await self.ok.users.create(user_id, role=Role.ADMIN)
        return await self._introduce(user_id, scopes=("gateway", "settings", "admin"))

    async def set_password(self, person: Person, password: str = PASSWORD) -> None:
        """From now on they can sign in, with their id as login."""
        link = await self.ok.core.links.invite(person.id)
        await self.ok.core.links.use(link.text, password, self.visitor())
        self.tokens.append(password)

    async def sign_in(self, context: BrowserContext, person: Person) -> None:
        """Give a browser profile a session cookie, as a sign-in would."""
        await self.set_cookie(context, await self.start_session(person))

    async def start_session(self, person: Person, user_agent: str = "Test") -> str:
        """A session of a user; gives what its cookie holds."""
        started = await self.ok.core.sessions.start(person.id, self.visitor(user_agent), method="password")
        self.tokens.append(started.token)
        return started.token

    async def set_cookie(self, context: BrowserContext, token: str) -> None:
        """Let a browser profile show a session."""
        cookie = {"name": session_cookie.NAME, "value": token, "httpOnly": True, "secure": True, "sameSite": "Lax"}
        # Told that it came over TLS, as `Secure` asks; Chromium sends such cookies to loopback all the same.
        await context.add_cookies([{**cookie, "url": self.url.replace("http:", "https:")}])  # type: ignore[typeddict-item]

    @staticmethod
    def visitor(user_agent: str = "Test") -> Visitor:
        """A browser that signs in."""
        return Visitor(user_agent=user_agent)

    async def panel_token(self, person: Person, host: Host, scopes: Sequence[str] = ("settings", "usage")) -> str:
        """A token with which a page of this host opens the panel of a user."""
        made = await self.ok.panel_token(person.id, scopes=scopes, origin=host.origin)
        self.tokens.append(made.text)
        return made.text

    async def sign_out_everywhere(self, person: Person) -> None:
        """Every session and panel token of a user ends now."""
        await self.ok.core.sessions.end_all(person.id)

    async def _introduce(self, user_id: str, scopes: Sequence[str] = ("gateway", "settings")) -> Person:
        token = (await self.ok.tokens.create(user_id, "test", scopes=scopes)).text
        self.tokens.append(token)
        return Person(user_id, token)

    async def add_key(self, user_id: str, provider: str, secret: str, label: str = "") -> str:
        """Store a key for a user; gives its id."""
        self.secrets.append(secret)
        return (await self.ok.settings.add_credential(user_id, provider, secret, label=label)).id


class Recorder:
    """An ASGI application in front of another: keeps every answer."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.replies: list[Reply] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One ASGI conversation."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        start: dict[str, Any] = {}
        body = bytearray()

        async def note(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
            await send(message)

        try:
            await self._application(scope, receive, note)
        finally:
            if start:
                head = b"\n".join(name + b": " + value for name, value in start["headers"]).decode("latin-1")
                request = f"{scope['method']} {scope['path']}"
                self.replies.append(Reply(request, start["status"], head, bytes(body)))
