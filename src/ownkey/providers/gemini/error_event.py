"""Errors in Google's form, as its SDKs raise them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome

_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    424: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_HTTP: Final = {
    Outcome.BAD_REQUEST: 400,
    Outcome.CANNOT_CARRY: 400,
    Outcome.CONTENT_REFUSED: 400,
    Outcome.AUTH_INVALID: 401,
    Outcome.ACCESS_WITHDRAWN: 403,
    Outcome.CREDIT_EXHAUSTED: 402,
    Outcome.AUTH_SCOPE: 403,
    Outcome.MODEL_UNAVAILABLE: 404,
    Outcome.QUOTA_DAILY: 429,
    Outcome.RATE_LIMITED: 429,
    Outcome.CLIENT_GONE: 499,
    Outcome.INTERNAL: 500,
    Outcome.UNREADABLE: 500,
    Outcome.TIMEOUT: 504,
}
_DOMAIN: Final = "ownkey"


def status_word(status: int) -> str:
    """Google's word for an HTTP status."""
    return _STATUS.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")


def describe_error(status: int, message: str, code: str) -> dict[str, Any]:
    """A whole error body. `code` is Ownkey's own, in lower case."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code.upper(), "domain": _DOMAIN}
    return {"error": {"code": status, "message": message, "status": status_word(status), "details": [info]}}


def write_error_event(failure: Failure) -> bytes:
    """A failure in the middle of a stream: the last event."""
    error = describe_error(_HTTP.get(failure.outcome, 503), failure.message, failure.outcome.value)
    return b"data: " + msgspec.json.encode(error) + b"\n\n"
