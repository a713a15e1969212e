"""A caller of the management API, straight into the ASGI application."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from ownkey import Ownkey
from ownkey.domain.user import Role


class ApiClient:
    """Sends requests as the owner of one token. Answers are checked for what must be true of all of them."""

    def __init__(
        self, application: Any, token: str | None, *, user_id: str = "", secrets: tuple[str, ...] = ()
    ) -> None:
        self.user_id, self.token = user_id, token
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=application, raise_app_exceptions=False),
            base_url="http://ownkey.test",
            headers=headers,
        )
        self._secrets = list(secrets)

    def keep_secret(self, *secrets: str) -> None:
        """These must be in no answer from now on."""
        self._secrets.extend(secrets)

    async def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request."""
        answer = await self._client.request(method, path, **options)
        assert answer.status_code < 500, f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.headers["cache-control"] == "no-store"
        assert "authorization" in answer.headers["vary"].lower()
        assert answer.headers["x-ownkey-request-id"]
        for secret in self._secrets:
            assert secret not in answer.text
            assert secret not in str(answer.headers)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert problem["status"] == answer.status_code
            assert problem["type"] == f"urn:ownkey:problem:{problem['code']}"
            assert problem["request_id"] == answer.headers["x-ownkey-request-id"]
        return answer

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        """GET."""
        return await self.send("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        """POST of JSON."""
        return await self.send("POST", path, json=json, **options)

    async def put(self, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        """PUT of JSON."""
        return await self.send("PUT", path, json=json, **options)

    async def patch(self, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        """PATCH of JSON."""
        return await self.send("PATCH", path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> httpx2.Response:
        """DELETE."""
        return await self.send("DELETE", path, **options)

    async def audit(self) -> list[dict[str, Any]]:
        """The caller's audit entries, oldest first."""
        return list(reversed((await self.get("/api/audit", params={"limit": 500})).json()))

    async def __aenter__(self) -> ApiClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


def unique(name: str) -> str:
    """A user id, or part of a secret, that no other test has."""
    return f"{name}-{uuid.uuid4().hex}"


@asynccontextmanager
async def caller(
    ok: Ownkey, name: str = "ann", *, role: Role = Role.USER, scopes: Sequence[str] = ("gateway", "settings")
) -> AsyncIterator[ApiClient]:
    """A new user with a token, calling the application that would be served."""
    user_id = unique(name)
    await ok.users.create(user_id, role=role)
    token = (await ok.tokens.create(user_id, "test", scopes=scopes)).text
    async with ApiClient(ok.asgi(), token, user_id=user_id) as client:
        yield client


@asynccontextmanager
async def administrator(ok: Ownkey) -> AsyncIterator[ApiClient]:
    """A new administrator."""
    async with caller(ok, "root", role=Role.ADMIN, scopes=("gateway", "settings", "admin")) as client:
        yield client
