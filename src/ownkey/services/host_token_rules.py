"""What the operator said about the host application's tokens, checked as a whole before the server starts."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from ownkey.config import Config
from ownkey.crypto.key_set import PUBLIC_KEY_ALGORITHMS, SECRET_ALGORITHMS, VerificationKey, read_secret
from ownkey.domain.jwt_claims import ClaimRules
from ownkey.errors import ConfigError

_DEFAULT_PUBLIC: Final = ("RS256", "ES256", "EdDSA")
_DEFAULT_SECRET: Final = ("HS256",)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class HostTokenRules(Struct, frozen=True, kw_only=True):
    """Either `jwks_url` or `secret_key` is set."""

    claims: ClaimRules
    algorithms: tuple[str, ...]
    jwks_url: str | None
    secret_key: VerificationKey | None
    admins: bool


def read_host_token_rules(config: Config) -> HostTokenRules | None:
    """The rules, or None where no host signs tokens. Raises ConfigError."""
    issuer, audience, jwks_url = config.jwt_issuer, config.jwt_audience, config.jwt_jwks_url
    person_role = None
    if config.supabase_url is not None:
        check_identity_url("OWNKEY_SUPABASE_URL", config.supabase_url)
        issuer = issuer or f"{config.supabase_url.rstrip('/')}/auth/v1"
        audience, person_role = audience or "authenticated", "authenticated"
        if config.jwt_secret is None:
            jwks_url = jwks_url or f"{issuer}/.well-known/jwks.json"
    if jwks_url is None and config.jwt_secret is None:
        if issuer or audience or config.jwt_algorithms:
            raise ConfigError("Host tokens need keys: set OWNKEY_JWT_JWKS_URL or OWNKEY_JWT_SECRET.")
        return None
    if jwks_url is not None and config.jwt_secret is not None:
        raise ConfigError("OWNKEY_JWT_JWKS_URL and OWNKEY_JWT_SECRET are both set. Keep one of them.")
    if not issuer or not audience:
        raise ConfigError(
            "Set OWNKEY_JWT_ISSUER and OWNKEY_JWT_AUDIENCE: without them a token that the same issuer signed for "
            "another application would be let in."
        )
    algorithms = _algorithms(config)
    secret_key = None
    if jwks_url is not None:
        check_identity_url("OWNKEY_JWT_JWKS_URL", jwks_url)
    elif config.jwt_secret is not None:
        try:
            secret_key = read_secret(config.jwt_secret.encode(), algorithms)
        except ValueError as error:
            raise ConfigError(f"OWNKEY_JWT_SECRET cannot be used: {error}.") from None
    claims = ClaimRules(
        issuer=issuer,
        audience=audience,
        user_claim=config.jwt_user_claim,
        max_lifetime_seconds=config.jwt_max_lifetime_seconds,
        person_role=person_role,
        anonymous=config.jwt_anonymous,
    )
    return HostTokenRules(
        claims=claims, algorithms=algorithms, jwks_url=jwks_url, secret_key=secret_key, admins=config.jwt_admins
    )


def check_identity_url(variable: str, url: str) -> str:
    """The URL unchanged: what comes from there says who people are. Raises ConfigError unless nobody can alter it."""
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    except ValueError:
        safe, parts = False, urlsplit("")
    if not safe or not parts.hostname or "@" in parts.netloc or not url.isascii() or not url.isprintable():
        raise ConfigError(f"{variable} must be an https URL (http only on this machine) without a user name.")
    return url


def _algorithms(config: Config) -> tuple[str, ...]:
    kind, fitting, default = (
        ("a shared secret", SECRET_ALGORITHMS, _DEFAULT_SECRET)
        if config.jwt_secret is not None
        else ("published keys", PUBLIC_KEY_ALGORITHMS, _DEFAULT_PUBLIC)
    )
    if not set(config.jwt_algorithms) <= set(fitting):
        raise ConfigError(f"With {kind}, OWNKEY_JWT_ALGORITHMS may name: {', '.join(fitting)}.")
    return config.jwt_algorithms or default
