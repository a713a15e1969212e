"""How each provider says no: status, headers and body as observed or documented, not a common form of ours.

Where a provider is not listed it is one of those that copy OpenAI's form.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import Struct


class Refusal(Struct, frozen=True):
    """An answer that is no completion."""

    status: int
    headers: dict[str, str]
    body: bytes


def _openai(status: int, message: str, kind: str, code: str | int | None) -> tuple[int, Any]:
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _anthropic(status: int, kind: str, message: str) -> tuple[int, Any]:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"}
    return status, body


def _gemini(status: int, code: str, message: str, *details: dict[str, Any]) -> tuple[int, Any]:
    error: dict[str, Any] = {"code": status, "message": message, "status": code}
    if details:
        error["details"] = list(details)
    return status, {"error": error}


def _mistral(status: int, message: str, kind: str, code: str | None) -> tuple[int, Any]:
    return status, {"object": "error", "message": message, "type": kind, "param": None, "code": code}


_GOOGLE: Final = "type.googleapis.com/google.rpc."
_GEMINI_DAILY: Final = {
    "@type": _GOOGLE + "QuotaFailure",
    "violations": [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        }
    ],
}
_GEMINI_MINUTE: Final = {
    "@type": _GOOGLE + "QuotaFailure",
    "violations": [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        }
    ],
}
_GEMINI_BAD_KEY: Final = {
    "@type": _GOOGLE + "ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
    "metadata": {"service": "generativelanguage.googleapis.com"},
}

_SHAPES: Final[dict[str, dict[str, tuple[int, Any]]]] = {
    "openai": {
        "bad_key": _openai(
            401,
            "Incorrect API key provided: {masked}. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            "invalid_request_error",
            "invalid_api_key",
        ),
        "no_permission": _openai(
            403,
            "You have insufficient permissions for this operation. Missing scopes: model.request.",
            "invalid_request_error",
            "missing_scope",
        ),
        "no_credit": _openai(
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        "rate_limited": _openai(
            429,
            "Rate limit reached for {model} in organization org-simulated on requests per min (RPM): "
            "Limit 3, Used 3, Requested 1. Please try again in {retry}s.",
            "requests",
            "rate_limit_exceeded",
        ),
        "daily_quota": _openai(
            429,
            "Rate limit reached for {model} in organization org-simulated on requests per day (RPD): "
            "Limit 200, Used 200, Requested 1. Please try again in {retry}s.",
            "requests",
            "rate_limit_exceeded",
        ),
        "missing_model": _openai(
            404,
            "The model `{model}` does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
        ),
        "bad_request": _openai(400, "Invalid value for 'temperature'.", "invalid_request_error", "invalid_value"),
        "refused_content": _openai(
            400,
            "The request was rejected as a result of our safety system.",
            "invalid_request_error",
            "content_policy_violation",
        ),
        "server_error": _openai(500, "The server had an error while processing your request.", "server_error", None),
        "unavailable": _openai(503, "The server is overloaded or not ready yet.", "server_error", None),
        "overloaded": _openai(503, "Slow down.", "server_error", "slow_down"),
        "echo_key": _openai(401, "Incorrect API key provided: {key}.", "invalid_request_error", "invalid_api_key"),
    },
    "anthropic": {
        "bad_key": _anthropic(401, "authentication_error", "invalid x-api-key"),
        "no_permission": _anthropic(
            403, "permission_error", "Your API key does not have permission to use the specified resource."
        ),
        "no_credit": _anthropic(402, "billing_error", "There's an issue with your billing or payment information."),
        "rate_limited": _anthropic(
            429, "rate_limit_error", "This request would exceed your account's rate limit. Please try again later."
        ),
        "daily_quota": _anthropic(
            429, "rate_limit_error", "This request would exceed your account's rate limit. Please try again later."
        ),
        "missing_model": _anthropic(404, "not_found_error", "model: {model}"),
        "bad_request": _anthropic(400, "invalid_request_error", "temperature: Input should be less than 1"),
        "refused_content": _anthropic(400, "invalid_request_error", "Output blocked by content filtering policy"),
        "server_error": _anthropic(500, "api_error", "Internal server error"),
        "unavailable": _anthropic(503, "api_error", "Service unavailable"),
        "overloaded": _anthropic(529, "overloaded_error", "Overloaded"),
        "echo_key": _anthropic(401, "authentication_error", "invalid x-api-key: {key}"),
    },
    "gemini": {
        "bad_key": _gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", _GEMINI_BAD_KEY),
        "no_permission": _gemini(403, "PERMISSION_DENIED", "The caller does not have permission."),
        "no_credit": _gemini(402, "FAILED_PRECONDITION", "Billing is not active for this project."),
        "rate_limited": _gemini(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota. Please retry in {retry}s.",
            _GEMINI_MINUTE,
            {"@type": _GOOGLE + "RetryInfo", "retryDelay": "{retry}s"},
        ),
        "daily_quota": _gemini(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", _GEMINI_DAILY),
        "missing_model": _gemini(404, "NOT_FOUND", "models/{model} is not found for API version v1main."),
        "bad_request": _gemini(400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
        "refused_content": _gemini(400, "INVALID_ARGUMENT", "The prompt was blocked: PROHIBITED_CONTENT."),
        "server_error": _gemini(500, "INTERNAL", "An internal error has occurred."),
        "unavailable": _gemini(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        "overloaded": _gemini(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        "echo_key": _gemini(400, "INVALID_ARGUMENT", "API key not valid: {key}.", _GEMINI_BAD_KEY),
    },
    "mistral": {
        "bad_key": (401, {"message": "Unauthorized", "request_id": "simulated"}),
        "no_permission": (403, {"message": "Forbidden", "request_id": "simulated"}),
        "no_credit": _mistral(402, "Payment required", "payment_required", None),
        "rate_limited": _mistral(429, "Rate limit exceeded", "rate_limited", "1300"),
        "missing_model": _mistral(400, "Invalid model: {model}", "invalid_model", "1500"),
        "bad_request": _mistral(400, "Bad request", "invalid_request_error", None),
        "server_error": _mistral(500, "Internal server error", "internal_server_error", "1000"),
        "unavailable": _mistral(503, "Service unavailable", "service_unavailable", "3505"),
        "echo_key": (401, {"message": "Unauthorized: {key}", "request_id": "simulated"}),
    },
    "groq": {
        "bad_key": (
            401,
            {"error": {"message": "Invalid API Key", "type": "invalid_request_error", "code": "invalid_api_key"}},
        ),
    },
    "deepseek": {
        "bad_key": _openai(
            401,
            "Authentication Fails, Your api key: {masked} is invalid",
            "authentication_error",
            "invalid_request_error",
        ),
        "no_credit": _openai(402, "Insufficient Balance", "unknown_error", "invalid_request_error"),
    },
    "openrouter": {
        "bad_key": (401, {"error": {"message": "No auth credentials found", "code": 401}}),
        "no_credit": (402, {"error": {"message": "Insufficient credits. Add more and retry.", "code": 402}}),
        "rate_limited": (429, {"error": {"message": "Rate limit exceeded", "code": 429}}),
    },
    "xai": {
        "bad_key": (
            400,
            {
                "code": "Client specified an invalid argument",
                "error": "Incorrect API key provided: {masked}. You can obtain an API key from https://console.x.ai.",
            },
        ),
    },
    "cohere": {
        "bad_key": (401, {"id": "simulated", "message": "invalid api token"}),
        "rate_limited": (429, {"id": "simulated", "message": "You are past the per minute request limit."}),
        "no_credit": (402, {"id": "simulated", "message": "You have reached your billing limit."}),
    },
    "azure": {
        "bad_key": (
            401,
            {
                "error": {
                    "code": "401",
                    "message": "Access denied due to invalid subscription key.",
                }
            },
        ),
        "rate_limited": (
            429,
            {
                "error": {
                    "code": "429",
                    "message": "Requests exceeded the rate limit. Retry after {retry} seconds.",
                }
            },
        ),
    },
}


def refuse(
    provider: str, dialect: str, kind: str, *, key: str, model: str, status: int | None, retry: float | None
) -> Refusal:
    """The provider's own answer of this kind. `retry` in seconds; None: the provider's usual."""
    shape = "anthropic" if dialect == "anthropic_messages" else provider.partition("_")[0]
    table = _SHAPES.get(shape, {})
    default_status, template = table.get(kind) or _SHAPES["openai"][kind]
    headers = {"content-type": "application/json", "x-request-id": "req_simulated"}
    seconds = retry if retry is not None else {"rate_limited": 20.0, "daily_quota": 7200.0}.get(kind)
    if seconds is not None:
        headers |= _wait_headers(shape, seconds)
    if kind == "echo_key":
        headers["x-echo"] = key
    words = {
        "{key}": key,
        "{masked}": f"{key[:3]}***{key[-4:]}" if key else "''",
        "{model}": model,
        "{retry}": f"{seconds or 0:g}",
    }
    body = _fill(template, words)
    if shape == "gemini" and dialect == "openai_chat":
        body = [body]  # the OpenAI-compatible endpoint wraps its error in an array
    return Refusal(status or default_status, headers, json.dumps(body).encode())


def in_stream(refusal: Refusal, dialect: str) -> bytes:
    """The same as an event in the middle of a stream."""
    if dialect == "openai_responses":
        error = json.loads(refusal.body)["error"]
        told = {
            "type": "error",
            "sequence_number": 99,
            "code": error["code"],
            "message": error["message"],
            "param": None,
        }
        return b"event: error\ndata: " + json.dumps(told).encode() + b"\n\n"
    name = b"event: error\n" if refusal.body.startswith(b'{"type"') else b""
    return name + b"data: " + refusal.body + b"\n\n"


def _fill(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _fill(part, words) for name, part in value.items()}
    if isinstance(value, list):
        return [_fill(part, words) for part in value]
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace(word, text)
    return value


def _wait_headers(shape: str, seconds: float) -> dict[str, str]:
    """How long to wait, in the words of each provider."""
    if shape == "gemini":
        return {}
    whole = str(math.ceil(seconds))
    if shape == "anthropic":
        reset = datetime.now(UTC) + timedelta(seconds=seconds)
        return {
            "retry-after": whole,
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": reset.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    headers = {"retry-after": whole}
    if shape == "openai":
        headers["retry-after-ms"] = str(round(seconds * 1000))
    if shape in {"openai", "groq"}:
        headers["x-ratelimit-remaining-requests"] = "0"
        headers["x-ratelimit-reset-requests"] = f"{int(seconds // 60)}m{seconds % 60:g}s"
    return headers
