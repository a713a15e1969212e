"""From a status and an error body to an outcome: by the provider's codes first, then by the status.

Words decide only where a provider has no code for the case; each such rule says which provider that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import structs

from ownkey.domain.exchange import Failure
from ownkey.domain.retry_after import parse_retry_after
from ownkey.domain.usage import Outcome
from ownkey.providers.echoed_words import own_words
from ownkey.providers.error_body import ErrorBody, read_error_body

CONTEXT_TOO_LONG: Final = "context_length_exceeded"

_CODES: Final[dict[Outcome, tuple[str, ...]]] = {
    Outcome.CREDIT_EXHAUSTED: (
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "budget_exceeded",
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "exceeded_current_quota_error",  # Moonshot
        "insufficient_balance",
        "insufficient_credits",
        "linked_organization_billing_unavailable",
        "linked_organization_spend_limit_reached",
        "payment_required",
        "personal-team-blocked:spending-limit",  # xAI
    ),
    Outcome.AUTH_INVALID: (
        "invalid_api_key",
        "api_key_invalid",
        "authentication_error",
        "invalid_authentication",
        "invalid_authentication_error",
        "account_deactivated",
        "consumer_suspended",
        "invalid_token",
        "token_expired",
        "unauthenticated",
        "unrecognizedclientexception",  # Bedrock
        "wrong_api_key",  # Cerebras
    ),
    Outcome.AUTH_SCOPE: (
        "permission_denied",
        "permission_error",
        "accessdeniedexception",  # Bedrock
        "api_key_service_blocked",
        "insufficient_permissions",
        "model_permission_blocked_org",  # Groq
        "model_permission_blocked_project",
        "organization_on_hold",
        "service_disabled",
        "unsupported_country_region_territory",
    ),
    Outcome.OVERLOADED: (
        "overloaded_error",
        "slow_down",
        "unavailable",
        "capacity_exceeded",  # Groq's flex tier
        "engine_overloaded_error",  # Moonshot
        "modelnotreadyexception",  # Bedrock
        "over_capacity",
        "server_overloaded",
        "service_tier_capacity_exceeded",  # Mistral
        "service_unavailable",
        "serviceunavailableexception",
    ),
    Outcome.MODEL_UNAVAILABLE: (
        "model_not_found",
        "deploymentnotfound",  # Azure
        "invalid_model",  # Mistral
        "model_decommissioned",  # Groq
        "model_deprecated",
        "model_not_available",
        "model_not_supported",
        "not_found_error",
        "resourcenotfoundexception",
    ),
    Outcome.CONTENT_REFUSED: (
        "content_filter",
        "content_policy_violation",
        "image_content_policy_violation",
        "invalid_prompt",  # OpenAI's reasoning models
        "moderation_blocked",
        "responsibleaipolicyviolation",  # Azure
        "safety",
    ),
    Outcome.RATE_LIMITED: (
        "rate_limit_exceeded",
        "rate_limit_error",
        "ramp_limit_exceeded",
        "throttlingexception",
        "too_many_requests",
    ),
    Outcome.BAD_REQUEST: (CONTEXT_TOO_LONG, "context_window_exceeded", "request_too_large", "string_above_max_length"),
}
_OUTCOME_BY_CODE: Final = {code: outcome for outcome, codes in _CODES.items() for code in codes}

_OUTCOME_BY_STATUS: Final = {
    401: Outcome.AUTH_INVALID,
    402: Outcome.CREDIT_EXHAUSTED,
    403: Outcome.AUTH_SCOPE,
    404: Outcome.MODEL_UNAVAILABLE,
    408: Outcome.TIMEOUT,
    410: Outcome.MODEL_UNAVAILABLE,
    424: Outcome.OVERLOADED,  # Bedrock: the model behind it failed
    429: Outcome.RATE_LIMITED,
    498: Outcome.OVERLOADED,  # Groq's flex tier has no room
    504: Outcome.TIMEOUT,
    524: Outcome.TIMEOUT,
}

_STATUS: Final = re.compile(r"[45][0-9]{2}", re.ASCII)

# What an error inside a stream or an answer stands for, where it has a type and no number.
_STATUS_BY_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}

# (statuses, words, outcome). Where a provider has no code:
_OUTCOME_BY_WORDS: Final = (
    # xAI answers 400 or 403 with prose; NVIDIA 403; Bedrock 403.
    (
        frozenset({400, 403}),
        re.compile(r"\b(?:incorrect|invalid|wrong) api key\b|\bapi key (?:is )?(?:not valid|expired|invalid)\b", re.I),
        Outcome.AUTH_INVALID,
    ),
    (frozenset({403}), re.compile(r"^authorization failed$", re.I), Outcome.AUTH_INVALID),
    # Gemini disables a key that was found in public, with a status of its own for nothing but permissions.
    (frozenset({403}), re.compile(r"\breported as leaked\b", re.I), Outcome.AUTH_INVALID),
    # Anthropic before its billing_error (400), DeepSeek, xAI (403 and 429).
    (
        frozenset({400, 403, 429}),
        re.compile(
            r"credit balance is too low|insufficient balance|used all available credits|doesn't have any credits"
            r"|\bno credits\b|reached its monthly spending limit|reached your specified API usage limits",
            re.I,
        ),
        Outcome.CREDIT_EXHAUSTED,
    ),
    # Groq and OpenAI have one code for limits per minute and per day; the abbreviation tells them apart.
    (frozenset({429}), re.compile(r"\((?:TPD|RPD)\)|\b(?:tokens|requests) per day\b", re.I), Outcome.QUOTA_DAILY),
    # Cohere's trial keys have a budget of calls per month.
    (frozenset({429}), re.compile(r"\bAPI calls\s*/\s*month\b", re.I), Outcome.QUOTA_DAILY),
    # OpenRouter names a policy, not a permission.
    (frozenset({403}), re.compile(r"\bflagged\b|\bmoderation\b", re.I), Outcome.CONTENT_REFUSED),
)
_LONG_CONTEXT: Final = re.compile(
    r"prompt is too long|maximum context length|input token count .{0,40}exceeds|context window|too many tokens", re.I
)
_HELPED_BY_WAITING: Final = frozenset(
    {Outcome.RATE_LIMITED, Outcome.QUOTA_DAILY, Outcome.OVERLOADED, Outcome.CREDIT_EXHAUSTED}
)
_REQUEST_ID: Final = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_REQUEST_ID_HEADERS: Final = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "apim-request-id",
    "mistral-correlation-id",
    "cf-ray",
)


def read_failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What a non-2xx answer means. `headers` have lower-case names."""
    error = read_error_body(body)
    kind = headers.get("x-amzn-errortype")
    if kind:
        error = structs.replace(error, codes=(kind.partition(":")[0].lower(), *error.codes))
    return classify(status, error, headers)


def read_failure_in_answer(error: bytes) -> Failure:
    """What an `error` object, or a body with one, means that came inside an answer with status 200, or inside a stream.

    The status it stands for is in its `code` or follows from its type; else it is the provider's trouble.
    """
    body = read_error_body(error)
    document = body.document
    if isinstance(document, list) and document:
        document = document[0]
    status = 0
    if isinstance(document, dict):
        inner = document.get("error")
        document = inner if isinstance(inner, dict) else document
        numbers = (document.get(name) for name in ("code", "status", "status_code", "http_status"))
        status = next((int(str(number)) for number in numbers if _is_status(number)), 0)
    by_type = next((_STATUS_BY_TYPE[code] for code in body.codes if code in _STATUS_BY_TYPE), 500)
    failure = classify(status or by_type, body, {})
    return failure if status else structs.replace(failure, http_status=None)


def _is_status(value: object) -> bool:
    return isinstance(value, str | int) and _STATUS.fullmatch(str(value)) is not None


def classify(status: int, error: ErrorBody, headers: Mapping[str, str]) -> Failure:
    """The failure for an error body that was read already, with the status that it stands for."""
    outcome = _outcome(status, error)
    code = error.code
    if outcome is Outcome.BAD_REQUEST and code != CONTEXT_TOO_LONG and _LONG_CONTEXT.search(error.message):
        code = CONTEXT_TOO_LONG
    given = (*(headers.get(name) for name in _REQUEST_ID_HEADERS), error.request_id)
    return Failure(
        outcome=outcome,
        message=error.message or f"The provider answered with status {status}.",
        http_status=status,
        provider_code=code,
        retry_after_seconds=_retry_after(outcome, headers, error),
        provider_request_id=next((text for text in given if text and _REQUEST_ID.fullmatch(text)), None),
    )


def _retry_after(outcome: Outcome, headers: Mapping[str, str], error: ErrorBody) -> float | None:
    """Rate headers come with every answer; they mean something only where waiting helps."""
    if outcome not in _HELPED_BY_WAITING:
        return None
    return parse_retry_after(headers, datetime.now(UTC), body=error.document)


def _outcome(status: int, error: ErrorBody) -> Outcome:
    if any("perday" in quota_id.lower() for quota_id in error.quota_ids):
        return Outcome.QUOTA_DAILY
    by_code = next((_OUTCOME_BY_CODE[code] for code in error.codes if code in _OUTCOME_BY_CODE), None)
    # A code such as `rate_limit_exceeded` or `permission_denied` is less exact than the words beside it.
    if by_code in (None, Outcome.RATE_LIMITED, Outcome.AUTH_SCOPE):
        said = own_words(status, error, known_code=by_code is not None)
        for statuses, words, outcome in _OUTCOME_BY_WORDS:
            if status in statuses and words.search(said):
                return outcome
    if by_code is not None:
        return by_code
    if status >= 500:
        return _OUTCOME_BY_STATUS.get(status, Outcome.OVERLOADED)
    return _OUTCOME_BY_STATUS.get(status, Outcome.BAD_REQUEST)
