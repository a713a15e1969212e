"""The date on which a credential or a token ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from ownkey.errors import RequestError

# Beyond a human life a date is a slip of the hand; it also keeps time zones inside datetime's range.
EXPIRY_LIMIT: Final = timedelta(days=36_525)


def utc_now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


def check_expiry(expires_at: datetime | None, now: datetime) -> datetime | None:
    """A date in the future, in UTC, or None for "never". Raises RequestError."""
    if expires_at is None:
        return None
    if expires_at.tzinfo is None:
        raise RequestError("The expiry needs a time zone, as in 2030-01-31T12:00:00Z.", param="expires_at")
    try:
        expires_at = expires_at.astimezone(UTC)
        too_far = expires_at > now + EXPIRY_LIMIT
    except OverflowError:
        too_far = True
    if too_far:
        raise RequestError("The expiry is more than a hundred years away.", param="expires_at")
    if expires_at <= now:
        raise RequestError("The expiry is in the past.", param="expires_at")
    return expires_at
