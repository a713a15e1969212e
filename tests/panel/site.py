"""The server under test as a browser meets it: real, on loopback, with every answer on record."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct, field

from ownkey import Ownkey
from ownkey.testing import SimulatedProviders
from tests.panel import cast
from tests.panel.cast import Member
from tests.panel.hosts import Host

SHARED: Final = {
    "OPENAI_API_KEY": "sk-operator-openai-000000000001",
    "GROQ_API_KEY": "gsk_operator_groq_00000000000001",
}
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
        token = (await self.ok.tokens.create(user_id, "test")).text
        self.tokens.append(token)
        return Person(user_id, token)

    async def settle(self, member: Member) -> Person:
        """Somebody of the demo's company with all that they have."""
        await cast.settle(self.ok, self.providers, member)
        self.secrets.extend(cast.make_secret(member.id, key) for key in member.keys)
        return Person(member.id, (await self.ok.tokens.create(member.id, "test")).text)

    async def panel_token(self, person: Person, host: Host, scopes: Sequence[str] = ("settings", "usage")) -> str:
        """A token with which a page of this host opens the panel of a user."""
        made = (await self.ok.tokens.create(person.id, "panel")).text
        self.tokens.append(made)
        return made

    async def end_tokens(self, person: Person) -> None:
        """Every token of a user ends now."""
        for token in await self.ok.tokens.list_tokens(person.id):
            if token.revoked_at is None:
                await self.ok.tokens.revoke(person.id, token.id)

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
