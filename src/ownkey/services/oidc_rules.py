"""What the operator said about the identity provider of the sign-in page, checked before the server starts."""

from __future__ import annotations

from msgspec import Struct

from ownkey.config import Config
from ownkey.errors import ConfigError
from ownkey.services.host_token_rules import check_identity_url


class OidcRules(Struct, frozen=True, kw_only=True):
    """Whom this server trusts to say who people are, and who of them may come in.

    `email_domains` empty: everybody whom the provider lets in. `client_secret` None: a public client.
    """

    issuer: str
    client_id: str
    client_secret: str | None
    label: str
    user_claim: str
    scopes: tuple[str, ...]
    email_domains: frozenset[str]

    def __repr__(self) -> str:
        return f"OidcRules(issuer={self.issuer!r}, client_id={self.client_id!r})"


def read_oidc_rules(config: Config) -> OidcRules | None:
    """The rules, or None where people sign in without an identity provider. Raises ConfigError."""
    if config.oidc_issuer is None or config.oidc_client_id is None:
        if config.oidc_issuer or config.oidc_client_id or config.oidc_client_secret:
            raise ConfigError("OpenID Connect needs both OWNKEY_OIDC_ISSUER and OWNKEY_OIDC_CLIENT_ID.")
        return None
    check_identity_url("OWNKEY_OIDC_ISSUER", config.oidc_issuer)
    if "openid" not in config.oidc_scopes:
        raise ConfigError("OWNKEY_OIDC_SCOPES must hold openid: without it the provider does not say who somebody is.")
    return OidcRules(
        issuer=config.oidc_issuer,
        client_id=config.oidc_client_id,
        client_secret=config.oidc_client_secret,
        label=config.oidc_label,
        user_claim=config.oidc_user_claim,
        scopes=config.oidc_scopes,
        email_domains=frozenset(domain.lower().removeprefix("@") for domain in config.oidc_email_domains),
    )
