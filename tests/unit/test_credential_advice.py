"""Every state of a credential has a code, a sentence and, where something can be done, the provider's page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ownkey.domain.credential import Credential, CredentialStatus
from ownkey.domain.credential_advice import advise, days_left
from ownkey.domain.event import EventType
from ownkey.domain.event_text import describe_event
from ownkey.providers.catalog import load_catalog

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CATALOG = load_catalog()
GROQ = CATALOG["groq"]


def credential(status: CredentialStatus, **fields: Any) -> Credential:
    return Credential(
        id="1", provider="groq", label="work", hint="…", created_at=NOW, updated_at=NOW, status=status, **fields
    )


@pytest.mark.parametrize(
    ("status", "reason", "code", "link"),
    [
        ("ok", None, "ok", None),
        ("unverified", None, "unverified", None),
        ("unverified", "credit_unproved", "credit_unproved", GROQ.billing_url),
        ("limited", "auth_scope", "limited", GROQ.get_key_url),
        ("limited", "limited", "list_refused", GROQ.get_key_url),
        ("rate_limited", "rate_limited", "rate_limited", GROQ.limits_url),
        ("rate_limited", "quota_daily", "quota_daily", GROQ.limits_url),
        ("out_of_credit", "credit_exhausted", "out_of_credit", GROQ.billing_url),
        ("invalid", "auth_invalid", "invalid", GROQ.get_key_url),
        ("invalid", "wrong_key", "invalid", GROQ.get_key_url),
        ("invalid", "base_url_changed", "base_url_changed", GROQ.get_key_url),
        ("expired", None, "expired", GROQ.get_key_url),
        ("unreadable", "wrapping_key", "unreadable", GROQ.get_key_url),
    ],
)
def test_every_state_says_what_to_do(status: str, reason: str | None, code: str, link: str | None) -> None:
    advice = advise(credential(CredentialStatus(status), status_reason=reason), GROQ, NOW)
    assert (advice.code, advice.link) == (code, link)
    assert advice.message.endswith(".")
    assert "{" not in advice.message


def test_a_provider_that_is_gone_has_no_page() -> None:
    gone = credential(CredentialStatus.INVALID, status_reason="provider_gone")
    assert (advise(gone, None, NOW).code, advise(gone, None, NOW).link) == ("provider_gone", None)


def test_a_provider_without_a_page_for_bills_leads_to_its_keys() -> None:
    advice = advise(credential(CredentialStatus.OUT_OF_CREDIT), CATALOG["xai"], NOW)
    assert advice.link == CATALOG["xai"].get_key_url


@pytest.mark.parametrize(
    ("left", "days", "code"),
    [
        (timedelta(days=15), 15, "ok"),
        (timedelta(days=14, seconds=1), 15, "ok"),
        (timedelta(days=14), 14, "expires_soon"),
        (timedelta(hours=1), 1, "expires_soon"),
        (timedelta(seconds=-1), 0, "expires_soon"),
    ],
)
def test_a_date_that_is_near_is_told(left: timedelta, days: int, code: str) -> None:
    assert days_left(NOW + left, NOW) == days
    advice = advise(credential(CredentialStatus.OK, expires_at=NOW + left), GROQ, NOW)
    assert advice.code == code
    # What is wrong with a key now comes before what will be.
    assert advise(credential(CredentialStatus.INVALID, expires_at=NOW + left), GROQ, NOW).code == "invalid"


@pytest.mark.parametrize(
    ("type", "data", "words"),
    [
        (EventType.CREDENTIAL_STATUS_CHANGED, {"status": "out_of_credit", "reason": "x"}, "no credit at Groq"),
        (EventType.CREDENTIAL_STATUS_CHANGED, {"status": "ok"}, "The key works."),
        (EventType.CREDENTIAL_STATUS_CHANGED, {"status": "of_a_newer_version"}, "of_a_newer_version"),
        (EventType.CREDENTIAL_EXPIRES_SOON, {"days_left": 3}, "in 3 days"),
        (EventType.CREDENTIAL_EXPIRES_SOON, {"days_left": 1}, "within a day"),
        (EventType.SPENDING_LIMIT_REACHED, {"scope": "own", "period": "month"}, "own cap for the month is used up"),
        (EventType.SPENDING_LIMIT_NEAR, {"scope": "group", "period": "day", "group": "qa"}, "group qa for the day"),
    ],
)
def test_every_event_has_a_sentence(type: EventType, data: dict[str, Any], words: str) -> None:
    text = describe_event(type, {"label": "work", "provider": "groq", "provider_label": "Groq", **data})
    assert text is not None and words in text


def test_an_event_of_a_newer_version_has_none() -> None:
    assert describe_event("credential.sang", {}) is None
