"""Who a user is: an id that the host chose, and what this deployment lets them do."""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import Final

from ownkey.errors import RequestError

USER_ID_MAX_LENGTH: Final = 255

# Cc: control characters, Cs: halves of surrogate pairs, which no UTF-8 text can hold.
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cs"})
# Marks that turn what follows around: an id must be read as what it is, in a list, a question or a log.
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Role(StrEnum):
    """What a user may see beyond their own rows."""

    USER = "user"
    ADMIN = "admin"


class UserStatus(StrEnum):
    """A suspended user keeps their rows and is let in nowhere."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


def holds_control_characters(text: str) -> bool:
    """Whether a text holds characters that PostgreSQL, a log line or a header cannot carry unchanged."""
    return any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in text)


def check_user_id(user_id: str) -> str:
    """The id unchanged: ids are compared byte by byte, so "Ann" and "ann" are two users. Raises RequestError."""
    if not 1 <= len(user_id) <= USER_ID_MAX_LENGTH:
        raise RequestError(f"A user id holds 1 to {USER_ID_MAX_LENGTH} characters.", param="user_id")
    if holds_control_characters(user_id):
        raise RequestError("The user id holds a control character.", param="user_id")
    if not _TURNING.isdisjoint(user_id):
        raise RequestError("The user id holds a mark that changes the direction of writing.", param="user_id")
    return user_id
