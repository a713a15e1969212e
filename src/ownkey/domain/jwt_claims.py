"""What the claims of a verified token must say before they count: who signed it, for whom, when, about whom.

The refusals do not tell which claim was wrong: whoever made the token knows, and nobody else needs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from msgspec import Struct

from ownkey.domain.user import check_user_id
from ownkey.errors import AuthError, RequestError

# The clocks of two machines that are kept in time differ by less.
LEEWAY_SECONDS: Final = 30.0
_LATEST: Final = 2**40
# Supabase signs these two for programs, not for people.
_SUPABASE_KEYS: Final = frozenset({"anon", "service_role"})


class ClaimRules(Struct, frozen=True, kw_only=True):
    """What this server demands of a host's tokens.

    `person_role` is what the claim `role` must be, where the issuer uses it as Supabase does. `anonymous` lets
    people in who have not signed up.
    """

    issuer: str
    audience: str
    user_claim: str = "sub"
    max_lifetime_seconds: float = 86_400.0
    person_role: str | None = None
    anonymous: bool = False


class HostClaims(Struct, frozen=True):
    """What a host's token says. `issued_at` and `expires_at` are seconds since 1970."""

    user_id: str
    issued_at: float
    expires_at: float


def invalid_token() -> AuthError:
    """The one refusal for everything that is not right about a token."""
    return AuthError("This token is not valid here.", code="token_invalid")


def expired_token() -> AuthError:
    """The refusal for a token that was right once."""
    return AuthError("This token has expired. Sign in to your application again.", code="token_expired")


def check_host_claims(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> HostClaims:
    """The user and the times of a token. Raises AuthError (token_invalid, token_expired)."""
    check_issuer(claims, rules.issuer)
    check_audience(claims, rules.audience)
    role = claims.get("role")
    # Other issuers put what they like there: a list of roles is as good a claim as a word.
    for_programs = isinstance(role, str) and role in _SUPABASE_KEYS
    if for_programs or (rules.person_role is not None and role != rules.person_role):
        raise invalid_token()
    if claims.get("is_anonymous", False) is not False and not rules.anonymous:
        raise invalid_token()
    read_user(claims, "sub")
    user_id = read_user(claims, rules.user_claim)
    issued_at, expires_at = check_times(claims, now, rules.max_lifetime_seconds)
    return HostClaims(user_id, issued_at, expires_at)


def check_issuer(claims: Mapping[str, Any], issuer: str) -> None:
    """The issuer is compared byte by byte. Raises AuthError(token_invalid)."""
    if claims.get("iss") != issuer:
        raise invalid_token()


def check_audience(claims: Mapping[str, Any], audience: str) -> None:
    """The audience is one text or a list of texts, and ours is among them. Raises AuthError(token_invalid)."""
    named = claims.get("aud")
    names = named if isinstance(named, list) else [named]
    if audience not in names or not all(isinstance(name, str) for name in names):
        raise invalid_token()


def read_user(claims: Mapping[str, Any], claim: str) -> str:
    """The claim as a user id. An e-mail address counts when the issuer has verified it. Raises AuthError."""
    name = claims.get(claim)
    if not isinstance(name, str) or (claim == "email" and claims.get("email_verified") is not True):
        raise invalid_token()
    try:
        return check_user_id(name)
    except RequestError:
        raise invalid_token() from None


def check_times(claims: Mapping[str, Any], now: float, max_lifetime_seconds: float) -> tuple[float, float]:
    """When the token was issued and when it ends. Raises AuthError (token_invalid, token_expired).

    The end is exact; only its beginning has leeway. A token that does not say when it was issued counts as issued as
    early as it could have been, so that "sign out everywhere" ends it too.
    """
    expires_at = read_time(claims, "exp")
    not_before, issued_at = read_time(claims, "nbf"), read_time(claims, "iat")
    if expires_at is None or max(not_before or 0, issued_at or 0) > now + LEEWAY_SECONDS:
        raise invalid_token()
    began_at = issued_at if issued_at is not None else not_before
    if began_at is None:
        began_at = expires_at - max_lifetime_seconds
    if expires_at - began_at > max_lifetime_seconds or expires_at - now > max_lifetime_seconds + LEEWAY_SECONDS:
        raise invalid_token()
    if expires_at <= now:
        raise expired_token()
    return began_at, expires_at


def read_time(claims: Mapping[str, Any], claim: str) -> float | None:
    """A NumericDate, or None where there is none. Raises AuthError(token_invalid) for anything else."""
    if claim not in claims:
        return None
    value = claims[claim]
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 <= value < _LATEST
        or not isfinite(value)
    ):
        raise invalid_token()
    return float(value)
