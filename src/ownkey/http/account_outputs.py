"""What the management API answers about signing in, sessions and users."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from ownkey.http.api_outputs import Output


class OidcProviderOut(Output):
    """An identity provider to sign in with: open `/api/sign-in/oidc/{id}`."""

    id: str
    label: str


class SignInWaysOut(Output):
    """How people sign in here."""

    local: bool = Field(description="With a login and a password.")
    oidc: list[OidcProviderOut]
    secure: bool = Field(
        description="false: this page came over plain HTTP from another machine, where no browser keeps the cookie."
    )
    signed_in: bool = Field(description="Whether the cookie that came along is that of a session: `GET /api/session`.")


class LinkPurposeOut(Output):
    """What a one-time link is for."""

    purpose: str = Field(description="first_admin, invite or reset.")
    login: str = Field(description="With what its user will sign in.")


class OpenSessionOut(Output):
    """One place where you are signed in."""

    id: str
    created_at: datetime
    last_seen_at: datetime = Field(description="To the minute.")
    expires_at: datetime
    method: str = Field(description="password, link or oidc.")
    user_agent: str | None
    current: bool = Field(description="Whether it is the one that asks.")


class PanelTokenOut(Output):
    """The only answer that ever holds the token's text."""

    token: str = Field(examples=["okp-…"])
    expires_at: datetime


class NewLinkOut(Output):
    """The only answer that ever holds the link. Who has it can set the user's password, once."""

    user_id: str
    login: str
    purpose: str
    link: str = Field(examples=["https://llm.example.com/#link=okl-…"])
    expires_at: datetime


class ChangedUserOut(Output):
    """A user after a change."""

    id: str
    role: str
    status: str
    group: str | None
    created_at: datetime
    updated_at: datetime


class ErasureReceiptOut(Output):
    """What was erased, and the entry of the audit trail that says so."""

    user_id: str
    erased_at: datetime
    erased_by: str
    credentials: int
    gateway_tokens: int
    sessions: int
    calls: int = Field(description="Calls whose usage was on the books.")
    data_key: bool = Field(description="There was one. Without it no copy of an API key opens, from no backup.")
    audit_id: int
    audit_chain: int
    audit_position: int
    audit_hash: str = Field(description="SHA-256 of that entry, in hexadecimal.")
