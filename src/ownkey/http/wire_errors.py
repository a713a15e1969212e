"""Errors of the gateway, in the form that the client's own library understands."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from ownkey.domain.provider import Dialect
from ownkey.errors import AuthError, LimitReached, OwnkeyError, RequestError, StorageError, ThreadUnsupported
from ownkey.http.limit_headers import refusal_headers

# What OpenAI's clients know as "you have no money left", in difference to "you are too fast".
_NO_MONEY: Final = (
    "insufficient_quota", "budget_spent", "own_cap_reached", "request_over_budget", "request_over_cap",
)  # fmt: skip
_OPENAI_TYPES: Final = {
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GOOGLE_STATUSES: Final = {
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    424: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_GOOGLE_TYPE: Final = "type.googleapis.com/google.rpc."


def error_status(error: OwnkeyError, dialect: Dialect) -> int:
    """The HTTP status: Anthropic has one of its own for an overload, which its clients wait for."""
    overloaded = dialect is Dialect.ANTHROPIC_MESSAGES and error.code == "provider_overloaded"
    return 529 if overloaded else error.status


def error_body(error: OwnkeyError, request_id: str, dialect: Dialect) -> bytes:
    """The body. Every form has the stable code and, after attempts that failed, the list of them."""
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        return _anthropic_body(error, request_id)
    if dialect is Dialect.GEMINI:
        return _google_body(error, request_id)
    content: dict[str, Any] = {
        "message": error.message,
        "type": _openai_type(error),
        "code": error.code,
        "param": error.param,
        "request_id": request_id,
    }
    if error.extra:
        content["ownkey"] = error.extra
    return msgspec.json.encode({"error": content})


def error_headers(error: OwnkeyError) -> list[tuple[bytes, bytes]]:
    """`Retry-After` where waiting helps, `WWW-Authenticate` where a token is missing, how limits stand."""
    headers = []
    if isinstance(error, LimitReached):
        headers += refusal_headers(error.counters, error.retry_after_seconds)
        if not error.passing:
            # OpenAI's and Anthropic's libraries would try twice more within seconds.
            headers.append((b"x-should-retry", b"false"))
    if error.status in (401, 403, 404):
        headers.append((b"x-should-retry", b"false"))
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_seconds))).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def internal_error() -> OwnkeyError:
    """For what nobody foresaw: the request id leads to the log, nothing else is said."""
    return OwnkeyError("Something went wrong inside Ownkey. The log has the details under this request id.")


def _anthropic_body(error: OwnkeyError, request_id: str) -> bytes:
    """`{"type": "error", "error": {type, message, code, param[, ownkey]}, "request_id"}`."""
    status = error_status(error, Dialect.ANTHROPIC_MESSAGES)
    content: dict[str, Any] = {
        "type": _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error"),
        "message": error.message,
        "code": error.code,
        "param": error.param,
    }
    if isinstance(error, ThreadUnsupported):
        # Where Anthropic's libraries look for what they can mend by themselves.
        content["details"] = {"error_code": error.code}
    if error.extra:
        content["ownkey"] = error.extra
    return msgspec.json.encode({"type": "error", "error": content, "request_id": request_id})


def _google_body(error: OwnkeyError, request_id: str) -> bytes:
    """`{"error": {code, message, status, details}}`, where `reason` of the first detail is the stable code."""
    info: dict[str, str] = {"request_id": request_id}
    if error.param:
        info["param"] = error.param
    details: list[dict[str, Any]] = [
        {"@type": _GOOGLE_TYPE + "ErrorInfo", "reason": error.code.upper(), "domain": "ownkey", "metadata": info}
    ]
    if error.retry_after_seconds is not None:
        delay = f"{max(1, math.ceil(error.retry_after_seconds))}s"
        details.append({"@type": _GOOGLE_TYPE + "RetryInfo", "retryDelay": delay})
    if error.extra:
        details.append({"@type": "type.googleapis.com/ownkey.Attempts", **error.extra})
    content = {
        "code": error.status,
        "message": error.message,
        "status": _GOOGLE_STATUSES.get(error.status, "INVALID_ARGUMENT"),
        "details": details,
    }
    return msgspec.json.encode({"error": content})


def _openai_type(error: OwnkeyError) -> str:
    if error.code in _NO_MONEY:
        return "insufficient_quota"
    if error.status in _OPENAI_TYPES:
        return _OPENAI_TYPES[error.status]
    if isinstance(error, AuthError) and error.status == 401:
        return "authentication_error"
    if isinstance(error, RequestError) or error.status < 500:
        return "invalid_request_error"
    return "service_unavailable" if isinstance(error, StorageError) else "upstream_error"
