"""Errors as Claude's clients raise them."""

from __future__ import annotations

from typing import Final

import msgspec

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome

_TYPES: Final = {
    Outcome.AUTH_INVALID: "authentication_error",
    Outcome.AUTH_SCOPE: "permission_error",
    Outcome.ACCESS_WITHDRAWN: "permission_error",
    Outcome.CREDIT_EXHAUSTED: "billing_error",
    Outcome.QUOTA_DAILY: "rate_limit_error",
    Outcome.RATE_LIMITED: "rate_limit_error",
    Outcome.OVERLOADED: "overloaded_error",
    Outcome.TIMEOUT: "timeout_error",
    Outcome.MODEL_UNAVAILABLE: "not_found_error",
    Outcome.BAD_REQUEST: "invalid_request_error",
    Outcome.CANNOT_CARRY: "invalid_request_error",
    Outcome.CONTENT_REFUSED: "invalid_request_error",
}


def error_type(outcome: Outcome) -> str:
    """Anthropic's word for a failure; `api_error` where it has none."""
    return _TYPES.get(outcome, "api_error")


def write_error_event(failure: Failure) -> bytes:
    """A failure in the middle of a stream. No `message_stop` belongs to it."""
    error = {"type": error_type(failure.outcome), "message": failure.message}
    return b"event: error\ndata: " + msgspec.json.encode({"type": "error", "error": error}) + b"\n\n"
