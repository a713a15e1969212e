"""Signing in through an identity provider (OpenID Connect), and proving there again who one is."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from time import time
from typing import Any, Final

from msgspec import Struct

from ownkey.domain.jwt_claims import LEEWAY_SECONDS, read_time, read_user
from ownkey.errors import AuthError, PermissionDenied
from ownkey.services.changes import Changes
from ownkey.services.oidc_rules import OidcRules
from ownkey.services.sessions import SessionService, StartedSession, Visitor
from ownkey.services.sign_in_attempt import ProofRefused, Prover, SignInAttempt
from ownkey.storage.sessions import SessionOwner

# How long somebody may be at the provider.
ATTEMPT_SECONDS: Final = 600

logger = logging.getLogger(__name__)


class ProviderAnswer(Struct, frozen=True, kw_only=True):
    """With what the provider sent somebody back."""

    state: str | None = None
    code: str | None = None
    error: str | None = None
    issuer: str | None = None

    def __repr__(self) -> str:
        return f"ProviderAnswer(error={self.error!r}, issuer={self.issuer!r})"


class OidcService:
    """One provider, whose people are users here under the claim that the operator named. No claim gives a role."""

    id: Final = "sso"

    def __init__(self, rules: OidcRules, provider: Prover, sessions: SessionService, changes: Changes) -> None:
        self._rules, self._provider, self._sessions, self._changes = rules, provider, sessions, changes

    @property
    def label(self) -> str:
        """The provider's name for people."""
        return self._rules.label

    async def close(self) -> None:
        """Close the connection to the provider."""
        await self._provider.close()

    async def begin(self, redirect_uri: str, *, fresh: bool) -> tuple[str, SignInAttempt]:
        """Where to send somebody, and what must be remembered until they come back. Raises IdentityProviderAway."""
        attempt = SignInAttempt(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            began_at=int(time()),
            fresh=fresh,
        )
        return await self._provider.make_url(attempt, redirect_uri), attempt

    async def finish(
        self,
        attempt: SignInAttempt | None,
        answer: ProviderAnswer,
        redirect_uri: str,
        visitor: Visitor,
        owner: SessionOwner | None,
    ) -> StartedSession:
        """Sign in whoever came back, or make the session of `owner` fresh where that was what they left for.

        A user who is new is created. Raises AuthError (sign_in_expired, sign_in_failed, sign_in_not_fresh,
        sign_in_other_user), PermissionDenied (sign_in_denied, user_suspended) and IdentityProviderAway.
        """
        attempt = _check_attempt(attempt, answer)
        if answer.error is not None or answer.code is None:
            raise _refusal(answer.error)
        try:
            claims = await self._provider.prove(attempt, redirect_uri, code=answer.code, issuer=answer.issuer)
        except ProofRefused as refused:
            logger.warning("a sign-in through the identity provider was refused: %s", refused)
            raise AuthError("The identity provider's answer cannot be used.", code="sign_in_failed") from None
        self._check_domain(claims)
        try:
            user_id = read_user(claims, self._rules.user_claim)
        except AuthError:
            logger.warning("the identity provider gives no usable claim %r", self._rules.user_claim)
            raise AuthError("The identity provider does not say who you are.", code="sign_in_failed") from None
        if attempt.fresh:
            return await self._confirm(attempt, claims, user_id, owner)
        return await self._sessions.start(user_id, visitor, method="oidc", proved_at=_proved_at(claims))

    async def _confirm(
        self, attempt: SignInAttempt, claims: Mapping[str, Any], user_id: str, owner: SessionOwner | None
    ) -> StartedSession:
        if owner is None:
            raise AuthError("The session ended meanwhile.", code="sign_in_expired")
        if owner.user_id != user_id:
            raise AuthError("Another person proved who they are.", code="sign_in_other_user")
        shown_at = read_time(claims, "auth_time")
        if shown_at is None or shown_at < attempt.began_at - LEEWAY_SECONDS:
            raise AuthError("The identity provider did not ask again.", code="sign_in_not_fresh")
        async with self._changes.begin(user_id, create=False) as change:
            return await self._sessions.renew(change, owner.session_id)

    def _check_domain(self, claims: Mapping[str, Any]) -> None:
        """Raises PermissionDenied for an address that is not verified or of none of the operator's domains."""
        if not self._rules.email_domains:
            return
        email = claims.get("email")
        verified = isinstance(email, str) and claims.get("email_verified") is True
        if not verified or str(email).lower().rpartition("@")[2] not in self._rules.email_domains:
            raise PermissionDenied("You may not use this server.", code="sign_in_denied")


def _proved_at(claims: Mapping[str, Any]) -> datetime:
    """When somebody last proved to the provider who they are; long ago where it does not say.

    A provider that lets people through without a question says only who used the browser last.
    """
    told = read_time(claims, "auth_time")
    return datetime.fromtimestamp(min(told or 0.0, time()), UTC)


def _check_attempt(attempt: SignInAttempt | None, answer: ProviderAnswer) -> SignInAttempt:
    """The attempt that this browser began and that is answered here. Raises AuthError(sign_in_expired)."""
    known = attempt is not None and answer.state is not None and answer.state.isascii()
    if attempt is None or not known or not compare_digest(attempt.state, answer.state or ""):
        raise AuthError("This sign-in was not begun here, or was answered already.", code="sign_in_expired")
    if not 0 <= time() - attempt.began_at <= ATTEMPT_SECONDS:
        raise AuthError("The sign-in took too long.", code="sign_in_expired")
    return attempt


def _refusal(error: str | None) -> AuthError:
    if error == "access_denied":
        return PermissionDenied("The sign-in was given up or refused.", code="sign_in_denied")
    if error in ("login_required", "interaction_required"):
        return AuthError("The identity provider did not ask again.", code="sign_in_not_fresh")
    return AuthError("The identity provider gave no answer that can be used.", code="sign_in_failed")
