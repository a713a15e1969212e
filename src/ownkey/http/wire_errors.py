"""Errors under `/v1`, in the form that OpenAI's clients understand."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ownkey.errors import AuthError, LimitReached, OwnkeyError, RequestError, StorageError
from ownkey.http.limit_headers import refusal_headers

# What OpenAI's clients know as "you have no money left", in difference to "you are too fast".
_NO_MONEY = ("insufficient_quota", "budget_spent", "own_cap_reached")
_TYPES = {402: "insufficient_quota", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_body(error: OwnkeyError, request_id: str) -> bytes:
    """`{"error": {message, type, code, param, request_id[, ownkey]}}`; `ownkey` lists the attempts."""
    content: dict[str, Any] = {
        "message": error.message,
        "type": _type_of(error),
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
        headers += refusal_headers(error.counters, error.retry_after_seconds or 0)
        if not error.passing:
            # OpenAI's and Anthropic's libraries would try twice more within seconds.
            headers.append((b"x-should-retry", b"false"))
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_seconds))).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def internal_error() -> OwnkeyError:
    """For what nobody foresaw: the request id leads to the log, nothing else is said."""
    return OwnkeyError("Something went wrong inside Ownkey. The log has the details under this request id.")


def _type_of(error: OwnkeyError) -> str:
    if error.code in _NO_MONEY:
        return "insufficient_quota"
    if error.status in _TYPES:
        return _TYPES[error.status]
    if isinstance(error, AuthError) and error.status == 401:
        return "authentication_error"
    if isinstance(error, RequestError) or error.status < 500:
        return "invalid_request_error"
    return "service_unavailable" if isinstance(error, StorageError) else "upstream_error"
