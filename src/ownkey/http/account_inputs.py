"""What callers may send about signing in, sessions and users."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from ownkey.domain.user import holds_control_characters
from ownkey.http.api_inputs import Input
from ownkey.services.sessions import PANEL_TTL_RANGE, PANEL_TTL_SECONDS

_WRITTEN_AROUND: Final = re.compile(r'[<>"(),;]')


def _plain(text: str) -> str:
    if holds_control_characters(text):
        raise ValueError("The text holds a control character or half of a character.")
    return text


def _is_text(secret: SecretStr) -> SecretStr:
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("The text holds half of a character.") from None
    return secret


def _bare(login: str) -> str:
    # "Ann <ann@example.com>" is how a mail program writes it, and nobody would sign in with that.
    if _WRITTEN_AROUND.search(login):
        raise ValueError("A login holds no commas, semicolons, quotation marks or brackets.")
    return login


UserId = Annotated[str, Field(min_length=1, max_length=255, examples=["alice"]), AfterValidator(_plain)]
Login = Annotated[str, Field(min_length=1, max_length=255, examples=["alice@example.com"]), AfterValidator(_plain)]
# Longer than any password that is accepted, short enough to be hashed without harm.
Password = Annotated[SecretStr, Field(min_length=1, max_length=1024), AfterValidator(_is_text)]
NewPassword = Annotated[
    SecretStr,
    Field(min_length=1, max_length=1024, description="10 to 256 characters; not the login, not a common password."),
    AfterValidator(_is_text),
]
LinkToken = Annotated[SecretStr, Field(max_length=200, description="What follows `#link=`."), AfterValidator(_is_text)]


class SignInInput(Input):
    """A login and its password."""

    login: Login
    password: Password


class LinkInput(Input):
    """A one-time link."""

    token: LinkToken


class UseLinkInput(LinkInput):
    """A one-time link and the password to set."""

    login: Login | None = Field(None, description="Another login than the one that was proposed.")
    password: NewPassword


class ConfirmInput(Input):
    """Your password, once more."""

    password: Password


class PasswordChange(Input):
    """The password that you have, and the one that you want."""

    current: Password
    new: NewPassword


class PanelTokenInput(Input):
    """For whose panel, on which page."""

    user_id: UserId
    scopes: list[Literal["settings", "usage", "admin"]] = Field(
        ["settings"], min_length=1, max_length=3, description="usage: only to look. admin: only for an administrator."
    )
    ttl_seconds: int = Field(PANEL_TTL_SECONDS, ge=PANEL_TTL_RANGE[0], le=PANEL_TTL_RANGE[1])
    origin: Annotated[str, Field(max_length=300), AfterValidator(_plain)] | None = Field(
        None,
        description="The origin of the page; it must be among OWNKEY_PANEL_ORIGINS. null: this server's own.",
        examples=["https://app.example.com"],
    )


class NewUserInput(Input):
    """A user to make. One of `id` and `login` may be left out: the other one serves as both."""

    id: UserId | None = None
    login: Annotated[Login, AfterValidator(_bare)] | None = Field(
        None, description="A name or an address, without commas, semicolons, quotation marks and brackets."
    )
    role: Literal["user", "admin"] = "user"

    @model_validator(mode="after")
    def _names_somebody(self) -> NewUserInput:
        if self.id is None and self.login is None:
            raise ValueError("Give an id or a login.")
        return self


class UserChange(Input):
    """What is left out stays as it is."""

    role: Literal["user", "admin"] | None = None
    status: Literal["active", "suspended"] | None = None
    group: Annotated[str, Field(max_length=40, examples=["research"]), AfterValidator(_plain)] | None = Field(
        None, description="Whose budget the user shares; null, where given: none."
    )


class ErasureInput(Input):
    """The proof that it is meant."""

    confirm: UserId = Field(description="Your own user id, exactly as `GET /api/session` says it.")
