"""Errors in the form of each client's own library."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownkey.domain.provider import Dialect
from ownkey.errors import AuthError, NotFound, OwnkeyError, RequestError, RouteExhausted, StorageError, TooLarge
from ownkey.http.wire_errors import error_body, error_headers, error_status

ERRORS: list[tuple[OwnkeyError, str, str, str]] = [
    (AuthError("no"), "authentication_error", "authentication_error", "UNAUTHENTICATED"),
    (RequestError("no", param="tools[0]"), "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
    (NotFound("no"), "not_found_error", "not_found_error", "NOT_FOUND"),
    (TooLarge("no"), "invalid_request_error", "request_too_large", "INVALID_ARGUMENT"),
    (
        RouteExhausted("no", code="insufficient_quota", http_status=402),
        "insufficient_quota",
        "billing_error",
        "FAILED_PRECONDITION",
    ),
    (
        RouteExhausted("no", code="rate_limit_exceeded", http_status=429, retry_after_seconds=2.5),
        "rate_limit_error",
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
    ),
    (
        RouteExhausted("no", code="credential_rejected", http_status=424),
        "invalid_request_error",
        "invalid_request_error",
        "FAILED_PRECONDITION",
    ),
    (
        RouteExhausted("no", code="provider_timeout", http_status=504),
        "upstream_error",
        "timeout_error",
        "DEADLINE_EXCEEDED",
    ),
    (RouteExhausted("no", code="provider_unreachable", http_status=502), "upstream_error", "api_error", "UNAVAILABLE"),
    (StorageError("no"), "service_unavailable", "api_error", "UNAVAILABLE"),
    (OwnkeyError("no"), "upstream_error", "api_error", "INTERNAL"),
]


def body(error: OwnkeyError, dialect: Dialect) -> Any:
    return json.loads(error_body(error, "r-1", dialect))


@pytest.mark.parametrize(("error", "openai", "anthropic", "google"), ERRORS, ids=[one[0].code for one in ERRORS])
def test_types_and_statuses(error: OwnkeyError, openai: str, anthropic: str, google: str) -> None:
    for dialect in (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES):
        assert body(error, dialect) == {
            "error": {"message": "no", "type": openai, "code": error.code, "param": error.param, "request_id": "r-1"}
        }
    assert body(error, Dialect.ANTHROPIC_MESSAGES) == {
        "type": "error",
        "error": {"type": anthropic, "message": "no", "code": error.code, "param": error.param},
        "request_id": "r-1",
    }
    told = body(error, Dialect.GEMINI)["error"]
    assert (told["code"], told["message"], told["status"]) == (error.status, "no", google)
    assert told["details"][0]["reason"] == error.code.upper()
    assert told["details"][0]["metadata"]["request_id"] == "r-1"
    assert all(error_status(error, dialect) == error.status for dialect in Dialect)


def test_an_overload_has_a_status_of_its_own_for_claudes_clients() -> None:
    error = RouteExhausted("no", code="provider_overloaded", http_status=503)
    assert error_status(error, Dialect.ANTHROPIC_MESSAGES) == 529
    assert body(error, Dialect.ANTHROPIC_MESSAGES)["error"]["type"] == "overloaded_error"
    assert error_status(error, Dialect.OPENAI_CHAT) == 503


def test_how_long_to_wait_is_said_in_googles_body_too() -> None:
    error = RouteExhausted("no", code="rate_limit_exceeded", http_status=429, retry_after_seconds=2.5)
    assert body(error, Dialect.GEMINI)["error"]["details"][1]["retryDelay"] == "3s"
    assert (b"retry-after", b"3") in error_headers(error)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_every_form_lists_the_attempts(dialect: Dialect) -> None:
    error = RouteExhausted("no", extra={"attempts": [{"provider": "groq"}], "skipped": []})
    assert '"attempts":[{"provider":"groq"}]' in error_body(error, "r-1", dialect).decode()
