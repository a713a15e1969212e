"""What a client is told when no provider could answer."""

from __future__ import annotations

import pytest
from tests.unit.test_routing import provider

from ownkey.domain.exchange import CONSEQUENCES, MOST_ACTIONABLE, Failure
from ownkey.domain.routing import Attempt
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
