"""A person's browser before a real server: it keeps the session cookie and says where its page comes from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from ownkey import Ownkey
from ownkey.crypto.tokens import SESSION_PREFIX, hash_token
from ownkey.domain.user import Role
from ownkey.services.one_time_links import NewLink
from ownkey.storage.sessions import rotate_session
from tests.gateway.api_client import unique
from tests.gateway.conftest import Platform

COOKIE = "__Host-ownkey_session"
PASSWORD = "a walk in the evening"


class Browser:
    """Sends what a page of the server's own origin sends. Its cookie jar is one string: what it holds is seen."""

    def __init__(self, url: str, *, origin: str | None = None) -> None:
        self.url, self.origin = url, origin or url
        self.session: str | None = None
        self._client = httpx2.AsyncClient(base_url=url, timeout=60)
        self.user_id = ""

    async def send(
        self, method: str, path: str, json: Any = None, *, headers: dict[str, str | None] | None = None
    ) -> httpx2.Response:
        """One request. `headers` replace the usual ones; None leaves one out."""
        usual: dict[str, str | None] = {"x-ownkey-panel": "1", "user-agent": "Browser/1.0"}
        if method not in ("GET", "HEAD"):
            usual["origin"] = self.origin
        if self.session is not None:
            usual["cookie"] = f"theme=dark; {COOKIE}={self.session}"
        merged = {name: value for name, value in (usual | (headers or {})).items() if value is not None}
        answer = await self._client.request(method, path, json=json, headers=merged)
        assert answer.status_code < 500, answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert {"authorization", "cookie", "origin"} <= {
            part.strip().lower() for part in answer.headers["vary"].split(",")
        }
        assert "access-control-allow-credentials" not in answer.headers
        for line in answer.headers.get_list("set-cookie"):
            self._store(line)
        if self.session is not None:
            assert self.session not in answer.text
        return answer

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.send("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        return await self.send("POST", path, json, **options)

    async def patch(self, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        return await self.send("PATCH", path, json, **options)

    async def delete(self, path: str, **options: Any) -> httpx2.Response:
        return await self.send("DELETE", path, **options)

    async def sign_in(self, login: str, password: str = PASSWORD) -> httpx2.Response:
        return await self.post("/api/sign-in", {"login": login, "password": password})

    async def use_link(self, link: NewLink, password: str = PASSWORD, **fields: str) -> httpx2.Response:
        return await self.post("/api/sign-in/link", {"token": link.text, "password": password, **fields})

    async def is_signed_in(self) -> bool:
        answer = await self.get("/api/session")
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200

    def copy(self) -> Browser:
        """Another browser with the same cookie: a thief's, or a second process's."""
        other = Browser(self.url, origin=self.origin)
        other.session, other.user_id = self.session, self.user_id
        return other

    def _store(self, line: str) -> None:
        name, _, rest = line.partition("=")
        token, _, attributes = rest.partition("; ")
        assert name == COOKIE
        found = set(attributes.split("; "))
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= found
        assert not [one for one in found if one.startswith("Domain")]
        self.session = None if "Max-Age=0" in found else token

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


@asynccontextmanager
async def person(
    ok: Ownkey, url: str, name: str = "ann", *, role: Role = Role.USER, password: str = PASSWORD
) -> AsyncIterator[Browser]:
    """Somebody new who has set their password by a link and is signed in."""
    user_id = unique(name)
    link = await ok.core.links.invite(user_id, role=role)
    async with Browser(url) as browser:
        answer = await browser.use_link(link, password)
        assert answer.status_code == 200, answer.text
        browser.user_id = user_id
        yield browser


async def grow_stale(platform: Platform, browser: Browser, minutes: int = 6) -> None:
    """Let the proof of who this is be some minutes old."""
    assert browser.session is not None
    digest = hash_token(browser.session, SESSION_PREFIX)
    assert digest is not None
    current = next(one["id"] for one in (await browser.get("/api/sessions")).json() if one["current"])
    async with platform.ok.database.transaction(browser.user_id) as tx:
        assert await rotate_session(tx, current, digest, datetime.now(UTC) - timedelta(minutes=minutes))
