"""Accounts of people who sign in here: the login, the rules for a password, and what a session is."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct

from ownkey.domain.user import holds_control_characters
from ownkey.errors import RequestError

LOGIN_MAX_LENGTH: Final = 255
PASSWORD_MIN_LENGTH: Final = 10
PASSWORD_MAX_LENGTH: Final = 256

SignInMethod = Literal["password", "link", "oidc", "host"]
SessionKind = Literal["session", "panel"]


class LinkPurpose(StrEnum):
    """What a one-time link is for."""

    FIRST_ADMIN = "first_admin"
    INVITE = "invite"
    RESET = "reset"


class Account(Struct, frozen=True, kw_only=True):
    """With what a user signs in. `password_hash` is None until they have set a password."""

    user_id: str
    login: str
    display_name: str | None
    password_hash: str | None
    password_changed_at: datetime | None
    must_change: bool

    def __repr__(self) -> str:
        return f"Account(user_id={self.user_id!r}, login={self.login!r})"


def clean_login(login: str) -> str:
    """The login as it is stored and compared: NFKC, lower case, no blanks around it. Raises RequestError."""
    cleaned = unicodedata.normalize("NFKC", login).strip().lower()
    if not 1 <= len(cleaned) <= LOGIN_MAX_LENGTH:
        raise RequestError(f"A login holds 1 to {LOGIN_MAX_LENGTH} characters.", param="login")
    if holds_control_characters(cleaned):
        raise RequestError("The login holds a control character.", param="login")
    # With one that nobody sees, it would look like somebody else's.
    if any(unicodedata.category(character) == "Cf" for character in cleaned):
        raise RequestError("The login holds an invisible character.", param="login")
    return cleaned


def clean_password(password: str) -> str:
    """The password as it is hashed: NFKC, so that two keyboards that spell it differently agree."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, *, login: str) -> str:
    """A new password, cleaned. Length is what counts (NIST SP 800-63B): no rule asks for classes of characters.

    How easily it is guessed is looked at where there is time for it. Raises RequestError(password_refused).
    """
    cleaned = clean_password(password)
    if not PASSWORD_MIN_LENGTH <= len(cleaned) <= PASSWORD_MAX_LENGTH:
        raise _refused(f"A password holds {PASSWORD_MIN_LENGTH} to {PASSWORD_MAX_LENGTH} characters.")
    if holds_control_characters(cleaned):
        raise _refused("The password holds a control character.")
    if cleaned.casefold() == login.casefold():
        raise _refused("The password must not be the login.")
    return cleaned


def _refused(message: str) -> RequestError:
    return RequestError(message, code="password_refused", param="password")
