"""Credentials: a user's secret at one provider, and what may be known about it."""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from itertools import count
from typing import Final, NoReturn
from urllib.parse import quote

from msgspec import Struct

from ownkey.domain.user import holds_control_characters
from ownkey.errors import RequestError

SECRET_MIN_LENGTH: Final = 8
SECRET_MAX_LENGTH: Final = 512
LABEL_MAX_LENGTH: Final = 80
DEFAULT_LABEL: Final = "default"

# Printable ASCII without the blank: anything else could split a header line (CR, LF) or
# would be refused by the HTTP client with the whole key inside its exception.
_SECRET = re.compile(rf"[\x21-\x7e]{{{SECRET_MIN_LENGTH},{SECRET_MAX_LENGTH}}}", re.ASCII)
# Written down like this by everybody.
_PLAIN = re.compile(r"[\w.~-]+", re.ASCII)
_QUOTES = "\"'`"
# As it stands in the examples of a provider's documentation.
_BEARER = re.compile(r"(?:authorization:\s*)?bearer\s+", re.ASCII | re.IGNORECASE)


class Secret:
    """A plaintext secret in memory. It does not print, pickle, format or compare in variable time."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The plaintext. Called only where a header is built, a secret is sealed, or its owner asked to see it."""
        return self._value

    def scrub(self, text: str) -> str:
        """`text` without this secret: some providers repeat the key in their error."""
        text = text.replace(self._value, "[key]")
        if ("%" not in text and "\\" not in text) or _PLAIN.fullmatch(self._value):
            return text
        # As it stands in a query, and in JSON or what Python prints.
        escaped = self._value.replace("\\", "\\\\")
        for form in (quote(self._value, safe=""), escaped.replace('"', '\\"'), escaped.replace("'", "\\'")):
            text = text.replace(form, "[key]")
        return text

    def __repr__(self) -> str:
        return "Secret('**********')"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash would be an oracle and a way into a dict's repr

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied out of the process")


class CredentialStatus(StrEnum):
    """What is known of a credential; the router and the panel read the same word."""

    UNVERIFIED = "unverified"
    OK = "ok"
    LIMITED = "limited"
    RATE_LIMITED = "rate_limited"
    OUT_OF_CREDIT = "out_of_credit"
    INVALID = "invalid"
    EXPIRED = "expired"
    UNREADABLE = "unreadable"


class Credential(Struct, frozen=True, kw_only=True):
    """The masked view of a credential: everything but the secret. Times are UTC.

    `probe_at` is when it is tried again by itself, if it is. The sums of the month are of the calendar month in UTC;
    the cost is None where nothing has a known price.
    """

    id: str
    provider: str
    label: str
    hint: str
    base_url: str | None = None
    position: int = 0
    enabled: bool = True
    status: CredentialStatus = CredentialStatus.UNVERIFIED
    status_reason: str | None = None
    status_until: datetime | None = None
    status_since: datetime | None = None
    probe_at: datetime | None = None
    expires_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None = None
    last_tested_at: datetime | None = None
    request_count: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    requests_month: int = 0
    errors_month: int = 0
    cost_microdollars_month: int | None = 0


class SealedCredential(Struct, frozen=True, kw_only=True):
    """What the hot path needs of a credential. `sealed` opens only with its owner's data key."""

    id: str
    provider: str
    label: str
    hint: str
    base_url: str | None
    position: int
    enabled: bool
    status: CredentialStatus
    status_until: datetime | None
    expires_at: datetime | None
    generation: int
    sealed: bytes

    @property
    def health_key(self) -> str:
        """Under which name trouble is remembered: this secret's, so that a replaced one starts with a clean slate."""
        return f"{self.id}/{self.generation}"

    def is_expired(self, now: datetime) -> bool:
        """Whether the date that the user set has passed."""
        return self.expires_at is not None and self.expires_at <= now


def clean_secret(pasted: str) -> Secret:
    """The secret in what a person pasted: outer blanks, line ends, one pair of quotes and `Bearer` are dropped.

    Raises RequestError(invalid_secret); the message never repeats the value.
    """
    text = pasted.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in _QUOTES:
        text = text[1:-1].strip()
    if prefix := _BEARER.match(text):
        text = text[prefix.end() :]
    if not _SECRET.fullmatch(text):
        raise RequestError(_why_refused(text), code="invalid_secret", param="secret")
    return Secret(text)


def _why_refused(text: str) -> str:
    if not text:
        return "The API key is empty. Paste the key that the provider shows on its key page."
    if len(text) < SECRET_MIN_LENGTH:
        return f"The API key is too short: at least {SECRET_MIN_LENGTH} characters are needed."
    if len(text) > SECRET_MAX_LENGTH:
        return f"The API key is too long: at most {SECRET_MAX_LENGTH} characters are allowed."
    return (
        "The API key holds a blank, a line break or a character outside printable ASCII. "
        "Copy it again from the provider's key page."
    )


def mask_secret(secret: Secret) -> str:
    """`sk-…AbCd`: at most a short prefix and four final characters, and never more than a third of the key."""
    value = secret.reveal()
    if len(value) < 16:
        return "…" + value[-2:]
    prefix = re.match(r"[A-Za-z]{2,5}[-_]", value)
    shown = prefix.group() if prefix else ""
    return (shown if 3 * (len(shown) + 4) <= len(value) else "") + "…" + value[-4:]


def clean_label(label: str) -> str:
    """A label without control characters and outer blanks; empty becomes "default"."""
    text = " ".join(label.split())
    if holds_control_characters(text):
        raise RequestError("The label holds a control character.", param="label")
    if len(text) > LABEL_MAX_LENGTH:
        raise RequestError(f"The label is too long: at most {LABEL_MAX_LENGTH} characters.", param="label")
    return text or DEFAULT_LABEL


def choose_label(taken: Collection[str]) -> str:
    """A label for a key that was given none: "default", or "default 2" beside one of that name."""
    if DEFAULT_LABEL not in taken:
        return DEFAULT_LABEL
    return next(label for number in count(2) if (label := f"{DEFAULT_LABEL} {number}") not in taken)
