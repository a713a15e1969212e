"""The cookie of a session. `__Host-`: only over TLS (or on this machine), only for this host, set by nobody else."""

from __future__ import annotations

from typing import Final

from ownkey.errors import AuthError
from ownkey.http.identity import Headers

NAME: Final = "__Host-ownkey_session"
# Lax, because a person who comes back from an identity provider comes from another site; what that lets through is
# guarded by origin and header. No Max-Age: it goes with the browser, and the server ends it in any case.
_ATTRIBUTES: Final = "Path=/; Secure; HttpOnly; SameSite=Lax"


def find_session_token(headers: Headers) -> str | None:
    """What the browser shows, if anything. Raises AuthError(ambiguous_credentials) for two that differ."""
    found: str | None = None
    for name, value in headers:
        if name != b"cookie":
            continue
        for part in value.decode("latin-1").split(";"):
            key, _, token = part.strip().partition("=")
            if key != NAME or not token:
                continue
            if found is not None and token != found:
                raise AuthError(
                    "The request shows two different sessions.", code="ambiguous_credentials", http_status=400
                )
            found = token
    return found


def cookie_header(token: str) -> str:
    """The value of `Set-Cookie` for a new session."""
    return f"{NAME}={token}; {_ATTRIBUTES}"


def expired_cookie_header() -> str:
    """The value of `Set-Cookie` that makes the browser forget it."""
    return f"{NAME}=; Max-Age=0; {_ATTRIBUTES}"
