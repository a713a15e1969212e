"""An OpenID Connect provider: where it sends people, and what it says of them when they come back.

The protocol is Authlib's (the authorization code flow with PKCE, the exchange of the code, the claims of the ID
token). Signatures are verified with the strict reader and the bounded key cache that host tokens use.

Needs the extra `ownkey[oidc]`.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from time import monotonic, time
from typing import Any, Final

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError
from msgspec import Struct

from ownkey.crypto.jwt import JwtRefused, read_header, verify
from ownkey.domain.jwt_claims import LEEWAY_SECONDS, check_audience, check_issuer, check_times
from ownkey.errors import AuthError, ConfigError, IdentityProviderAway
from ownkey.services.host_token_rules import check_identity_url
from ownkey.services.oidc_rules import OidcRules
from ownkey.services.sign_in_attempt import ProofRefused, SignInAttempt
from ownkey.services.signing_keys import SigningKeys

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_DISCOVERY_SECONDS: Final = 3600.0
_TIMEOUT_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 5.0
_ID_TOKEN_SECONDS: Final = 86_400.0
# What people are asked to show once more, and what the provider then must tell: when they did.
_FRESH: Final = {"prompt": "login", "max_age": 0}

logger = logging.getLogger(__name__)


class Endpoints(Struct, frozen=True, kw_only=True):
    """What the provider publishes about itself, as far as it is used here."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    token_endpoint_auth_method: str
    names_itself: bool


class IdentityProvider:
    """One provider. Nothing is fetched before the first person comes."""

    def __init__(self, rules: OidcRules) -> None:
        self._rules = rules
        self._tls = ssl.create_default_context()
        self._endpoints: Endpoints | None = None
        self._read_at = 0.0
        self._keys: SigningKeys | None = None

    async def close(self) -> None:
        """Close the connection to the provider's keys."""
        if self._keys is not None:
            await self._keys.close()

    async def make_url(self, attempt: SignInAttempt, redirect_uri: str) -> str:
        """Where to send somebody. Raises IdentityProviderAway."""
        endpoints = await self._discover()
        async with self._client(redirect_uri) as client:
            url: str
            url, _ = client.create_authorization_url(
                endpoints.authorization_endpoint,
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
                **(_FRESH if attempt.fresh else {}),
            )
        return url

    async def prove(
        self, attempt: SignInAttempt, redirect_uri: str, *, code: str, issuer: str | None
    ) -> Mapping[str, Any]:
        """What the provider says of whoever came back with a code. `issuer` is the answer's own `iss` (RFC 9207).

        Raises ProofRefused and IdentityProviderAway.
        """
        endpoints = await self._discover()
        if issuer != self._rules.issuer and (issuer is not None or endpoints.names_itself):
            raise ProofRefused("another issuer answered")
        async with self._client(redirect_uri, endpoints.token_endpoint_auth_method) as client:
            try:
                token = await client.fetch_token(
                    endpoints.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=attempt.verifier,
                )
                claims = await self._read_id_token(token, attempt)
                if endpoints.userinfo_endpoint and self._lacks(claims):
                    claims = {**await self._ask_userinfo(client, endpoints.userinfo_endpoint, claims), **claims}
            except OAuthError as error:
                raise ProofRefused(f"the code was not taken: {error.error}") from None
            except httpx2.HTTPError as error:
                logger.warning("the identity provider does not answer: %s", type(error).__name__)
                raise IdentityProviderAway(retry_after_seconds=_RETRY_SECONDS) from None
            except (ValueError, TypeError):
                raise ProofRefused("the answer cannot be read") from None
        return claims

    def _client(self, redirect_uri: str, auth_method: str | None = None) -> Any:
        # One for each use: it keeps the token that it fetched.
        return AsyncOAuth2Client(
            client_id=self._rules.client_id,
            client_secret=self._rules.client_secret,
            token_endpoint_auth_method=auth_method,
            scope=" ".join(self._rules.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            # The access token is used at once, however short it lives.
            leeway=0,
            verify=self._tls,
            timeout=_TIMEOUT_SECONDS,
        )

    def _lacks(self, claims: Mapping[str, Any]) -> bool:
        """Whether the ID token leaves out what the operator's rules need."""
        return self._rules.user_claim not in claims or (bool(self._rules.email_domains) and "email" not in claims)

    async def _read_id_token(self, token: Mapping[str, Any], attempt: SignInAttempt) -> dict[str, Any]:
        text, access_token = token.get("id_token"), token.get("access_token")
        if not isinstance(text, str) or self._keys is None:
            raise ProofRefused("there is no ID token")
        try:
            raw = text.encode("ascii")
            header = read_header(raw, ALGORITHMS)
            claims, _ = verify(raw, header, await self._keys.find(header.algorithm, header.kid))
            params = {"nonce": attempt.nonce, "client_id": self._rules.client_id, "access_token": access_token}
            CodeIDToken(claims, {"alg": header.algorithm}, params=params).validate(leeway=int(LEEWAY_SECONDS))
            check_issuer(claims, self._rules.issuer)
            check_audience(claims, self._rules.client_id)
            check_times(claims, time(), _ID_TOKEN_SECONDS)
        except JwtRefused as refused:
            raise ProofRefused(f"the ID token was refused: {refused}") from None
        except JoseError as error:
            raise ProofRefused(f"the ID token was refused: {error.error}") from None
        except AuthError as error:
            raise ProofRefused(f"the ID token was refused: {error.code}") from None
        return claims

    async def _ask_userinfo(self, client: Any, url: str, claims: Mapping[str, Any]) -> dict[str, Any]:
        """More about the same person. Raises ProofRefused when it is about another one."""
        answer = await client.get(url)
        answer.raise_for_status()
        said = answer.json()
        if not isinstance(said, dict) or said.get("sub") != claims.get("sub"):
            raise ProofRefused("the user info is about somebody else")
        return said

    async def _discover(self) -> Endpoints:
        """The provider's own description, read once an hour. Raises IdentityProviderAway."""
        if self._endpoints is not None and monotonic() - self._read_at < _DISCOVERY_SECONDS:
            return self._endpoints
        url = self._rules.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            async with httpx2.AsyncClient(verify=self._tls, timeout=_TIMEOUT_SECONDS) as client:
                answer = await client.get(url)
            answer.raise_for_status()
            found = _read_description(answer.json(), self._rules)
        except (httpx2.HTTPError, ValueError, TypeError, KeyError, ConfigError) as error:
            logger.warning("the identity provider's description at %s cannot be used: %s", url, error)
            if self._endpoints is not None:
                return self._endpoints
            raise IdentityProviderAway(retry_after_seconds=_RETRY_SECONDS) from None
        before, self._endpoints, self._read_at = self._endpoints, found, monotonic()
        if before is None or before.jwks_uri != found.jwks_uri:
            if self._keys is not None:
                await self._keys.close()
            self._keys = SigningKeys(found.jwks_uri, ALGORITHMS)
        return found


def _read_description(said: Mapping[str, Any], rules: OidcRules) -> Endpoints:
    """Raises KeyError, TypeError, ValueError or ConfigError for what is incomplete, unsafe or somebody else's."""
    if said["issuer"] != rules.issuer:
        raise ValueError("it is the description of another issuer")
    methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    wanted = ("client_secret_basic", "client_secret_post") if rules.client_secret else ("none",)
    method = next((one for one in wanted if one in methods), None)
    if method is None:
        raise ValueError(f"it takes none of {', '.join(wanted)} at its token endpoint")
    urls = {name: said[name] for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    userinfo = said.get("userinfo_endpoint")
    for name, url in {**urls, **({"userinfo_endpoint": userinfo} if userinfo is not None else {})}.items():
        check_identity_url(name, url)
    return Endpoints(
        **urls,
        userinfo_endpoint=userinfo,
        token_endpoint_auth_method=method,
        names_itself=said.get("authorization_response_iss_parameter_supported") is True,
    )
