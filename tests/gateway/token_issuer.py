"""An issuer of host tokens: real keys, a real key set over HTTP, and a hand that can sign anything."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.gateway.conftest import serve

AUDIENCE = "ownkey-tests"


class TokenIssuer:
    """Publishes `keys` at `/jwks.json`; `held` keeps the answer back until it is set, `status` spoils it."""

    def __init__(self, url: str = "") -> None:
        self.url = url
        self.keys: dict[str, Key] = {
            "rsa": RSAKey.generate_key(2048),
            "ec": ECKey.generate_key("P-256"),
            "ed": OKPKey.generate_key("Ed25519"),
        }
        self.published: dict[str, dict[str, Any]] = {}
        self.publish(*self.keys)
        self.fetches = 0
        self.status = 200
        self.held = asyncio.Event()
        self.held.set()

    def publish(self, *kids: str) -> None:
        """From now on these keys are in the set, and no others."""
        self.published = {kid: {**self.keys[kid].as_dict(private=False), "kid": kid, "use": "sig"} for kid in kids}

    @property
    def issuer(self) -> str:
        """What stands in `iss`."""
        return f"{self.url}/auth"

    @property
    def jwks_url(self) -> str:
        """Where the keys are."""
        return f"{self.url}/jwks.json"

    def claims(self, subject: str, **changes: Any) -> dict[str, Any]:
        """Good claims, with changes; None leaves a claim out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, subject: str, *, kid: str = "ec", header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token that this issuer signs with one of its keys; None leaves a header or a claim out."""
        algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[self.keys[kid].key_type]
        fields = {"alg": algorithm, "kid": kid, **(header or {})}
        fields = {name: value for name, value in fields.items() if value is not None}
        return sign(fields, self.claims(subject, **changes), self.keys[kid])

    async def answer(self, _: Request) -> Response:
        """The key set."""
        self.fetches += 1
        await self.held.wait()
        return JSONResponse({"keys": list(self.published.values())}, self.status)


@asynccontextmanager
async def running_issuer() -> AsyncIterator[TokenIssuer]:
    """An issuer on a loopback port."""
    issuer = TokenIssuer()
    async with serve(Starlette(routes=[Route("/jwks.json", issuer.answer)])) as url:
        issuer.url = url
        yield issuer
        issuer.held.set()


def encode(data: bytes | str | dict[str, Any]) -> str:
    """One part of a token."""
    if isinstance(data, dict):
        data = json.dumps(data, separators=(",", ":"))
    return urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def decode(part: str) -> bytes:
    """The bytes of one part of a token."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def sign(header: dict[str, Any] | str, payload: dict[str, Any] | str, key: Key, algorithm: str | None = None) -> str:
    """Any header over any payload, signed; `algorithm` signs with another one than the header says."""
    if algorithm is None:
        assert isinstance(header, dict)
        algorithm = header["alg"]
    signed = f"{encode(header)}.{encode(payload)}"
    return f"{signed}.{encode(JWSRegistry.algorithms[algorithm].sign(signed.encode(), key))}"
