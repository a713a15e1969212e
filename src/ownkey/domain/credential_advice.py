"""How a credential fares, in a sentence for its owner and with the page of the provider where something can be done."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from ownkey.domain.credential import Credential, CredentialStatus
from ownkey.domain.provider import Provider

EXPIRY_WARNINGS_DAYS: Final = (14, 3)
# A test or a try found the key good, which says nothing about the account behind it.
CREDIT_UNPROVED: Final = "credit_unproved"
ADDRESS_CHANGED: Final = "base_url_changed"
PROVIDER_GONE: Final = "provider_gone"
EXPIRES_SOON: Final = "expires_soon"


class Advice(Struct, frozen=True, kw_only=True):
    """`code` is stable and may be translated; `message` is the same in English; `link` leads to the provider."""

    code: str
    message: str
    link: str | None = None


_MESSAGES: Final = {
    "ok": "The key works.",
    "unverified": "The key has not been used yet. Its first use shows whether it works.",
    CREDIT_UNPROVED: "{label} accepts the key. Whether the account has credit again shows at the next request.",
    EXPIRES_SOON: "The key works until {date}, the date that you set. Have a new one ready, or change the date.",
    "limited": "{label} does not let this key do everything that was asked of it. Look at its permissions there.",
    "list_refused": "{label} does not let this key list models. Requests are sent with it all the same.",
    "rate_limited": "{label} limits how fast this key may be used. Requests take it again as soon as they may.",
    "quota_daily": "The quota of this key for the day is used up at {label}. Requests take it when that begins anew.",
    "out_of_credit": "The account behind this key has no credit at {label}. Top it up: that is noticed by itself.",
    "invalid": "{label} refuses this key. Make a new one there and replace it.",
    ADDRESS_CHANGED: "The address was changed, so the key has to be entered again: it was not given for this address.",
    PROVIDER_GONE: "This provider is no longer among those of this server. Its keys are kept, but not used.",
    "expired": "The date that you set for this key has passed. Replace the key, or give it another date.",
    "unreadable": "The stored key cannot be opened any more. Enter it again.",
}
_WORKS: Final = (CredentialStatus.OK, CredentialStatus.UNVERIFIED)
# Where the provider has no page of this kind, the one with its keys.
_BILLING: Final = frozenset({"out_of_credit", CREDIT_UNPROVED})
_LIMITS: Final = frozenset({"rate_limited", "quota_daily"})
_KEYS: Final = frozenset({"invalid", "limited", "list_refused", "expired", EXPIRES_SOON, "unreadable", ADDRESS_CHANGED})


def advise(credential: Credential, provider: Provider | None, now: datetime) -> Advice:
    """What to tell the owner. `credential` is as of `now`: a date that has passed shows in its status."""
    code = status_code(credential.status, credential.status_reason)
    ends = credential.expires_at
    if credential.status in _WORKS and ends is not None and days_left(ends, now) <= max(EXPIRY_WARNINGS_DAYS):
        code = EXPIRES_SOON
    label = provider.label if provider else credential.provider
    return Advice(
        code=code,
        message=_MESSAGES[code].format(label=label, date=f"{ends:%Y-%m-%d}" if ends else ""),
        link=_link(code, provider) if provider else None,
    )


def describe_status(status: CredentialStatus, reason: str | None, label: str) -> str:
    """The sentence for a status at the provider of this name."""
    return _MESSAGES[status_code(status, reason)].format(label=label)


def days_left(expires_at: datetime, now: datetime) -> int:
    """Whole days until a date, rounded up: on the last day it is one."""
    return max(0, -((now - expires_at) // timedelta(days=1)))


def status_code(status: CredentialStatus, reason: str | None) -> str:
    """The stable code for a status and the reason that was stored with it."""
    if status is CredentialStatus.UNVERIFIED and reason == CREDIT_UNPROVED:
        return reason
    if status is CredentialStatus.INVALID and reason in (ADDRESS_CHANGED, PROVIDER_GONE):
        return reason
    if status is CredentialStatus.LIMITED and reason == "limited":
        return "list_refused"
    if status is CredentialStatus.RATE_LIMITED and reason == "quota_daily":
        return reason
    return status.value


def _link(code: str, provider: Provider) -> str | None:
    if code in _BILLING:
        return provider.billing_url or provider.get_key_url
    if code in _LIMITS:
        return provider.limits_url or provider.docs_url
    return provider.get_key_url if code in _KEYS else None
