"""The operator's words about host tokens: what fits together, and what is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from ownkey.config import Config
from ownkey.errors import ConfigError
from ownkey.services.host_token_rules import read_host_token_rules

SECRET = "0123456789abcdef0123456789abcdef"
KEYS = {"jwt_issuer": "https://id.example", "jwt_audience": "app", "jwt_jwks_url": "https://id.example/jwks"}


def test_nothing_is_trusted_unasked() -> None:
    assert read_host_token_rules(Config()) is None


def test_published_keys_and_a_secret_never_share_an_algorithm() -> None:
    published = read_host_token_rules(Config(**KEYS))
    assert published is not None
    assert published.algorithms == ("RS256", "ES256", "EdDSA")
    shared = read_host_token_rules(Config(jwt_issuer="me", jwt_audience="app", jwt_secret=SECRET))
    assert shared is not None
    assert shared.algorithms == ("HS256",)
    assert shared.secret_key is not None
    assert shared.secret_key.algorithms == {"HS256"}


def test_supabase_in_one_variable() -> None:
    rules = read_host_token_rules(Config(supabase_url="https://ref.supabase.co/"))
    assert rules is not None
    assert rules.jwks_url == "https://ref.supabase.co/auth/v1/.well-known/jwks.json"
    assert rules.claims.issuer == "https://ref.supabase.co/auth/v1"
    assert (rules.claims.audience, rules.claims.person_role) == ("authenticated", "authenticated")
    legacy = read_host_token_rules(Config(supabase_url="https://ref.supabase.co", jwt_secret=SECRET))
    assert legacy is not None
    assert (legacy.jwks_url, legacy.algorithms) == (None, ("HS256",))


@pytest.mark.parametrize(
    "changes",
    [
        {"jwt_issuer": None},
        {"jwt_audience": None},
        {"jwt_jwks_url": None},
        {"jwt_secret": SECRET},
        {"jwt_algorithms": ("HS256",)},
        {"jwt_algorithms": ("RS256", "none")},
        {"jwt_jwks_url": None, "jwt_secret": SECRET, "jwt_algorithms": ("HS256", "RS256")},
        {"jwt_jwks_url": None, "jwt_secret": SECRET[1:]},
        {"jwt_jwks_url": "http://id.example/jwks"},
        {"jwt_jwks_url": "https://name:word@id.example/jwks"},
        {"jwt_jwks_url": "file:///etc/passwd"},
        {"jwt_jwks_url": "http://[::1"},
        {"supabase_url": "http://ref.supabase.co"},
    ],
)
def test_what_is_unsafe_or_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        read_host_token_rules(Config(**{**KEYS, **changes}))
    assert SECRET not in refused.value.message
    assert SECRET[1:] not in refused.value.message
