"""What a client is told when no provider could answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.test_routing import provider

from ownkey.domain.credential import CredentialStatus
from ownkey.domain.exchange import CONSEQUENCES, MOST_ACTIONABLE, Failure
from ownkey.domain.routing import Attempt, Skipped, SkipReason
from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome
from ownkey.services.attempt_report import FailedAttempt, exhausted


def failed(outcome: Outcome) -> FailedAttempt:
    attempt = Attempt(provider("openai"), "gpt-large", None, Payer.SHARED)
    return FailedAttempt(attempt, Failure(outcome=outcome, message="said"))


def test_every_failure_has_its_consequence_and_its_rank() -> None:
    assert set(CONSEQUENCES) == set(Outcome)
    assert sorted(MOST_ACTIONABLE) == sorted(set(Outcome) - {Outcome.OK})


def test_an_answer_that_is_too_large_is_told_with_its_cure_and_blames_nobody() -> None:
    error = exhausted((), [failed(Outcome.ANSWER_TOO_LARGE)])
    assert (error.http_status, error.code) == (502, "answer_too_large")
    assert "larger than this server takes" in error.message
    consequence = CONSEQUENCES[Outcome.ANSWER_TOO_LARGE]
    assert (consequence.next_provider, consequence.provider_fault, consequence.status) == (True, False, None)


@pytest.mark.parametrize(
    ("other", "code"), [(Outcome.BAD_REQUEST, "invalid_request"), (Outcome.TIMEOUT, "answer_too_large")]
)
def test_what_a_person_can_do_most_about_is_told_first(other: Outcome, code: str) -> None:
    assert exhausted((), [failed(Outcome.ANSWER_TOO_LARGE), failed(other)]).code == code


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def left_out(reason: str, status: CredentialStatus | None = None, seconds: int | None = None) -> Skipped:
    until = NOW + timedelta(seconds=seconds) if seconds is not None else None
    return Skipped("mistral", "mistral-large", Payer.OWN, reason, "default", until, status)


@pytest.mark.parametrize(
    ("hop", "status", "code", "wait", "cure"),
    [
        (
            left_out(SkipReason.COOLING_DOWN, CredentialStatus.OUT_OF_CREDIT, 60),
            402,
            "insufficient_quota",
            60,
            "top it up",
        ),
        (
            left_out(SkipReason.COOLING_DOWN, CredentialStatus.RATE_LIMITED, 30),
            429,
            "rate_limit_exceeded",
            30,
            "wait until",
        ),
        (left_out(SkipReason.PROVIDER_DOWN, None, 5), 503, "provider_overloaded", 5, "wait until"),
        (left_out(SkipReason.CREDENTIAL_INVALID), 424, "credential_rejected", None, "replace it"),
        (left_out(SkipReason.CREDENTIAL_UNREADABLE), 424, "credential_unreadable", None, "enter it again"),
    ],
)
def test_a_key_in_trouble_is_told_as_it_was_when_the_trouble_began(
    hop: Skipped, status: int, code: str, wait: int | None, cure: str
) -> None:
    other = Skipped("groq", None, Payer.OWN, SkipReason.FALLBACK_REFUSED)
    error = exhausted((other, hop), (), now=lambda: NOW)
    assert (error.status, error.code, error.retry_after_seconds) == (status, code, wait)
    assert cure in error.message
    assert "fallback" not in error.message
    assert [one["provider"] for one in error.extra["skipped"]] == ["groq", "mistral"]


def test_of_several_keys_in_trouble_the_first_that_is_over_sets_the_wait() -> None:
    hops = (
        left_out(SkipReason.COOLING_DOWN, CredentialStatus.OUT_OF_CREDIT, 3600),
        left_out(SkipReason.COOLING_DOWN, CredentialStatus.RATE_LIMITED, 10),
    )
    error = exhausted(hops, (), now=lambda: NOW)
    assert (error.code, error.retry_after_seconds) == ("insufficient_quota", 10)


def test_hops_that_were_never_to_be_used_are_not_named_beside_a_reason() -> None:
    refused = Skipped("groq", None, Payer.OWN, SkipReason.FALLBACK_REFUSED)
    disabled = Skipped("mistral", None, Payer.OWN, SkipReason.DISABLED)
    both = exhausted((refused, disabled), ())
    assert both.code == "no_provider_available"
    assert "mistral, own key: you have switched this provider off" in both.message
    assert "groq" not in both.message
    assert "groq, own key: the request may not move to it" in exhausted((refused,), ()).message
