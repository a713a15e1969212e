"""A provider repeats what a client sent: no client can put words into its mouth that block a shared key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownkey.domain.usage import Outcome
from ownkey.providers.failures import read_failure

BLAMING = ["insufficient balance", "invalid api key", "no credits"]


def outcome(status: int, error: dict[str, Any]) -> Outcome:
    return read_failure(status, {}, json.dumps({"error": error}).encode()).outcome


@pytest.mark.parametrize("words", BLAMING)
@pytest.mark.parametrize(
    "error",
    [
        {"message": "Invalid value: '{}'. Supported values are: 'low'.", "param": "verbosity", "code": "invalid_value"},
        {"message": "Invalid value: {}.", "param": "verbosity"},
        {"message": "Invalid value: {}.", "code": "invalid_value"},
        {"message": "Invalid value: '{}'.", "param": None, "code": None},
        {"message": 'Invalid value at x: "{}".'},
        {"message": "Invalid value: `{}`."},
        {"message": "Invalid value: “{}”."},
        {"message": "Invalid value: 'a' {} 'b'."},
        {"message": "Invalid value: 'it's {}"},
        {"message": "Invalid value: '" + "{} " * 200 + "'."},
        {"message": "Unrecognized request argument supplied: {}", "param": None, "code": None},
        {"message": "thinking.{}: Extra inputs are not permitted"},
        {"message": [{"loc": ["body", "{}"], "msg": "Something is wrong"}]},
        {"message": "Wrong field {}", "details": [{"fieldViolations": [{"field": "x"}]}]},
        {"message": "Wrong: {}", "code": "permission_denied"},
    ],
)
def test_an_echo_of_the_client_blames_no_key(error: dict[str, Any], words: str) -> None:
    echo = json.loads(json.dumps({"type": "invalid_request_error", **error}).replace("{}", words))

    assert outcome(400, echo) not in (Outcome.CREDIT_EXHAUSTED, Outcome.AUTH_INVALID)


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("words", BLAMING)
def test_quoted_words_count_with_no_status(status: int, words: str) -> None:
    told = outcome(status, {"message": f"The project '{words}' may not do this."})

    assert told is (Outcome.AUTH_SCOPE if status == 403 else Outcome.RATE_LIMITED)


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"message": "Incorrect API key provided: 'sk-abcd'."}, Outcome.AUTH_INVALID),
        (400, {"message": "Your credit balance is too low to access the API."}, Outcome.CREDIT_EXHAUSTED),
        (400, {"message": "API key not valid.", "code": 400, "status": "INVALID_ARGUMENT"}, Outcome.AUTH_INVALID),
        (400, {"message": "Look at 'x'.", "details": [{"reason": "API_KEY_INVALID"}]}, Outcome.AUTH_INVALID),
        (403, {"message": "Your team doesn't have any credits; it's over."}, Outcome.CREDIT_EXHAUSTED),
        (429, {"message": "Team 'a' has used all available credits of 'b'."}, Outcome.CREDIT_EXHAUSTED),
    ],
)
def test_the_providers_own_words_still_count(status: int, error: dict[str, Any], expected: Outcome) -> None:
    assert outcome(status, error) is expected
