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

    Raises RequestError(password_refused).
    """
    cleaned = clean_password(password)
    if not PASSWORD_MIN_LENGTH <= len(cleaned) <= PASSWORD_MAX_LENGTH:
        raise _refused(f"A password holds {PASSWORD_MIN_LENGTH} to {PASSWORD_MAX_LENGTH} characters.")
    if holds_control_characters(cleaned):
        raise _refused("The password holds a control character.")
    plain = cleaned.casefold()
    if plain == login.casefold():
        raise _refused("The password must not be the login.")
    if plain in _COMMON or len(set(plain)) <= 2:
        raise _refused("This password is among the first that anybody would try.")
    return cleaned


def _refused(message: str) -> RequestError:
    return RequestError(message, code="password_refused", param="password")


# The head of the usual lists of leaked passwords, as far as it has ten characters or more.
_COMMON: Final = frozenset(
    """
    1234567890 12345678910 123456789a 1234567891 0123456789 0987654321 9876543210 123123123123 1q2w3e4r5t
    1q2w3e4r5t6y 1qaz2wsx3edc qwertyuiop qwerty12345 qwerty123456 qwertyuiop123 qwertyuiop[] asdfghjkl; asdfghjkl123
    q1w2e3r4t5 q1w2e3r4t5y6 zaq12wsxcde3 password12 password123 password1234 password12345 password123456
    password!1 password1! password01 passw0rd12 passw0rd123 p@ssw0rd12 p@ssw0rd123 p@ssword123 passwordpassword
    mypassword mypassword1 newpassword changeme123 changeme12 changemenow changeit123 letmein123 letmein1234
    welcome123 welcome1234 welcome2024 welcome2025 welcome2026 administrator administrator1 admin12345 admin123456
    adminadmin admin@12345 rootrootroot toortoortoor superadmin default1234 test123456 testtest123 testtesttest
    guest12345 iloveyou12 iloveyou123 iloveyou1234 princess123 sunshine12 sunshine123 football12 football123
    baseball12 baseball123 basketball superman123 batman1234 dragon1234 dragon12345 monkey1234 monkey12345
    michael123 jessica123 charlie123 jordan2323 liverpool1 liverpool123 manchester chelsea123 arsenal123
    abcdefghij abcdefghijk abc1234567 abc12345678 abcd123456 abcd12345678 a123456789 a1234567890 aa12345678
    aa123456789 qazwsxedcrfv qazwsx1234 qweasdzxc1 qweasdzxc123 qwe1234567 asd1234567 zxcvbnm123 zxcvbnm1234
    zxcvbnm,./ trustno1trustno1 whatever123 computer12 computer123 internet12 internet123 starwars12 starwars123
    pokemon123 minecraft1 minecraft123 samsung123 google1234 google12345 facebook123 linkedin123 secret1234
    secret12345 supersecret topsecret1 correcthorsebatterystaple hunter2hunter2 ownkeyownkey ownkey1234 ownkey12345
    """.split()  # noqa: SIM905  # a list that people read
)
