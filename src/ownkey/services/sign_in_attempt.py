"""What passes between the sign-in through an identity provider and the library that speaks with the provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct


class ProofRefused(Exception):
    """What came back proves nothing. The reason is for a log: it holds no token and no code."""


class SignInAttempt(Struct, frozen=True, kw_only=True):
    """What this server must remember while somebody is at the provider. `fresh`: to prove again who they are.

    `began_at` is seconds since 1970.
    """

    state: str
    nonce: str
    verifier: str
    began_at: int
    fresh: bool = False

    def __repr__(self) -> str:
        return f"SignInAttempt(began_at={self.began_at!r}, fresh={self.fresh!r})"


class Prover(Protocol):
    """Says who somebody is."""

    async def make_url(self, attempt: SignInAttempt, redirect_uri: str) -> str:
        """Where to send somebody. Raises IdentityProviderAway."""
        ...

    async def prove(
        self, attempt: SignInAttempt, redirect_uri: str, *, code: str, issuer: str | None
    ) -> Mapping[str, Any]:
        """What is said of whoever came back. `issuer` is the answer's own `iss` (RFC 9207).

        Raises ProofRefused and IdentityProviderAway.
        """
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...
