"""What was tried for a request, and the one error that says so when nothing worked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from ownkey.domain.budget import Refusal
from ownkey.domain.credential import CredentialStatus
from ownkey.domain.exchange import MOST_ACTIONABLE, Failure
from ownkey.domain.routing import Attempt, Skipped, SkipReason
from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome
from ownkey.errors import NoProvider, RouteExhausted
from ownkey.services.expiry import utc_now
from ownkey.services.spending_report import refused

# The gateway token was fine, so a refused provider key is not the client's 401 but a failed dependency.
_HTTP_STATUS: Final[dict[Outcome, int]] = {
    Outcome.UNREADABLE: 424,
    Outcome.AUTH_INVALID: 424,
    Outcome.AUTH_SCOPE: 424,
    Outcome.CREDIT_EXHAUSTED: 402,
    Outcome.BAD_REQUEST: 400,
    Outcome.CANNOT_CARRY: 400,
    Outcome.CONTENT_REFUSED: 400,
    Outcome.MODEL_UNAVAILABLE: 404,
    Outcome.QUOTA_DAILY: 429,
    Outcome.RATE_LIMITED: 429,
    Outcome.OVERLOADED: 503,
    Outcome.TIMEOUT: 504,
    Outcome.UNREACHABLE: 502,
    Outcome.STREAM_BROKEN: 502,
    Outcome.ANSWER_TOO_LARGE: 502,
}
_CODE: Final[dict[Outcome, str]] = {
    Outcome.UNREADABLE: "credential_unreadable",
    Outcome.AUTH_INVALID: "credential_rejected",
    Outcome.AUTH_SCOPE: "credential_limited",
    Outcome.CREDIT_EXHAUSTED: "insufficient_quota",
    Outcome.BAD_REQUEST: "invalid_request",
    Outcome.CANNOT_CARRY: "cannot_carry",
    Outcome.CONTENT_REFUSED: "content_refused",
    Outcome.MODEL_UNAVAILABLE: "model_not_found",
    Outcome.QUOTA_DAILY: "rate_limit_exceeded",
    Outcome.RATE_LIMITED: "rate_limit_exceeded",
    Outcome.OVERLOADED: "provider_overloaded",
    Outcome.TIMEOUT: "provider_timeout",
    Outcome.UNREACHABLE: "provider_unreachable",
    Outcome.STREAM_BROKEN: "stream_broken",
    Outcome.ANSWER_TOO_LARGE: "answer_too_large",
}
_ADVICE: Final[dict[Outcome, str]] = {
    Outcome.UNREADABLE: "the stored key cannot be read; enter it again",
    Outcome.AUTH_INVALID: "the provider refused the key; replace it",
    Outcome.AUTH_SCOPE: "the key may not use this model; choose another model or a key with more rights",
    Outcome.CREDIT_EXHAUSTED: "the account has no credit left; top it up at the provider",
    Outcome.QUOTA_DAILY: "the daily quota is used up",
    Outcome.RATE_LIMITED: "the provider's rate limit was reached",
    Outcome.OVERLOADED: "the provider is overloaded",
    Outcome.TIMEOUT: "the provider did not answer in time",
    Outcome.UNREACHABLE: "the provider could not be reached",
    Outcome.MODEL_UNAVAILABLE: "the provider does not offer this model to this key",
    Outcome.STREAM_BROKEN: "the provider's answer broke off",
    Outcome.ANSWER_TOO_LARGE: "the answer is larger than this server takes; ask for less at once",
}


# What is left out because of what an earlier request was told, and what that request was told.
_TROUBLE: Final[dict[str, Outcome]] = {
    SkipReason.CREDENTIAL_UNREADABLE: Outcome.UNREADABLE,
    SkipReason.CREDENTIAL_INVALID: Outcome.AUTH_INVALID,
    SkipReason.COOLING_DOWN: Outcome.RATE_LIMITED,
    SkipReason.PROVIDER_DOWN: Outcome.OVERLOADED,
}
_UNSHAREABLE: Final[dict[str, str]] = {
    SkipReason.STORED_OBJECTS_NEED_OWN_KEY: (
        "`{field}` refers to something that the provider has stored. With the operator's key, which others use too, it "
        "could be anybody's. Add an API key of your own, or send everything along (the whole conversation, the file "
        "itself)."
    ),
    SkipReason.MODEL_LISTS_NEED_OWN_KEY: (
        "`{field}` leaves the choice of the model to the provider, which the operator's key is not for. Add an API key "
        "of your own, or name one model: what to try next is chosen here."
    ),
}
# Why a hop was left out, to the user whose request it is.
_LEFT_OUT: Final[dict[str, str]] = {
    SkipReason.NOT_ALLOWED: "the administrator does not allow this provider",
    SkipReason.DISABLED: "you have switched this provider off",
    SkipReason.NO_CREDENTIAL: "you have no API key there",
    SkipReason.CREDENTIAL_DISABLED: "you have switched it off",
    SkipReason.CREDENTIAL_EXPIRED: "the date that you set for it has passed",
    SkipReason.NO_MODEL: "no model is known to use there for this",
    SkipReason.LACKS_TOOLS: "its model cannot call tools",
    SkipReason.LACKS_IMAGES: "its model cannot read images",
    SkipReason.LACKS_DOCUMENTS: "its model cannot read documents",
    SkipReason.LACKS_AUDIO: "its model cannot hear sound",
    SkipReason.LACKS_JSON_SCHEMA: "its model cannot answer by a JSON schema",
    SkipReason.CONTEXT_TOO_SMALL: "the request is too long for its model",
    SkipReason.LACKS_OPERATION: "the provider does not offer this kind of request",
    SkipReason.SHARED_REFUSED: "your settings say Only own keys",
    SkipReason.SHARED_NOT_GRANTED: "the administrator does not lend you this key",
    SkipReason.UNPRICED: "nobody knows what this costs, and there is a budget",
    SkipReason.FALLBACK_REFUSED: "the request may not move to it",
    SkipReason.MODEL_PINNED: "this kind of request does not move to another model",
}
# What says nothing as long as another hop says something: these hops were never to be used.
_SAYS_LITTLE: Final = (SkipReason.FALLBACK_REFUSED, SkipReason.MODEL_PINNED)


def code_of(outcome: Outcome) -> str:
    """The stable code of a failure."""
    return _CODE.get(outcome, RouteExhausted.code)


def status_of(outcome: Outcome) -> int:
    """Its HTTP status."""
    return _HTTP_STATUS.get(outcome, 502)


class FailedAttempt(Struct, frozen=True):
    """An attempt and why it failed."""

    attempt: Attempt
    failure: Failure


def exhausted(
    skipped: Sequence[Skipped],
    failed: Sequence[FailedAttempt],
    refusals: Sequence[Refusal] = (),
    *,
    unshareable: str | None = None,
    now: Callable[[], datetime] = utc_now,
) -> RouteExhausted:
    """The error for a request that nobody answered; its status is that of the most actionable failure.

    `refusals` are those of attempts that could not be paid for. Where nothing was tried because of what happened to an
    earlier request, this one is told the same. `unshareable` is the field that kept the operator's keys out.
    """
    extra = {
        "attempts": [_describe_attempt(one) for one in failed],
        "skipped": [_describe_skipped(one) for one in skipped],
    }
    if not failed:
        return (
            _still_in_trouble(skipped, extra, now())
            or refused(skipped, refusals, extra, now=now)
            or _needs_own_key(skipped, unshareable, extra)
            or _wrong_model(skipped, extra)
            or NoProvider(_nothing_to_try(skipped), extra=extra)
        )
    least = min(failed, key=lambda one: MOST_ACTIONABLE.index(one.failure.outcome))
    worst = least.failure
    if worst.outcome is Outcome.CANNOT_CARRY:
        message = worst.message
    elif worst.outcome in (Outcome.BAD_REQUEST, Outcome.CONTENT_REFUSED):
        message = _name_speaker(least.attempt.provider.label, worst.message)
    else:
        message = "No provider could answer. " + " ".join(_sentence(one) for one in failed)
    status = status_of(worst.outcome)
    if worst.outcome is Outcome.BAD_REQUEST and worst.http_status in (413, 422):
        status = worst.http_status
    waits = [one.failure.retry_after_seconds for one in failed if one.failure.retry_after_seconds is not None]
    return RouteExhausted(
        message,
        code=code_of(worst.outcome),
        http_status=status,
        retry_after_seconds=min(waits) if waits and status in (429, 503) else None,
        extra=extra,
    )


def _name_speaker(label: str, message: str) -> str:
    """Whose words these are: a client that asked for `auto` does not know who was asked."""
    return message if message.casefold().startswith(label.casefold()) else f"{label}: {message}"


def _sentence(one: FailedAttempt) -> str:
    attempt, failure = one.attempt, one.failure
    advice = _ADVICE.get(failure.outcome, failure.message)
    status = f" (HTTP {failure.http_status})" if failure.http_status else ""
    return f"{attempt.provider.label}, {attempt.model}, {_whose(attempt)}: {advice}{status}."


def _whose(attempt: Attempt) -> str:
    if attempt.payer is Payer.SHARED or attempt.credential is None:
        return "shared key"
    return f'own key "{attempt.credential.label}"'


def _still_in_trouble(skipped: Sequence[Skipped], extra: dict[str, Any], now: datetime) -> RouteExhausted | None:
    """What the request was told after which these hops are left alone, with the time that is left of that."""
    troubled = [(outcome, hop) for hop in skipped if (outcome := _trouble_of(hop)) is not None]
    if not troubled:
        return None
    worst = min((outcome for outcome, _ in troubled), key=MOST_ACTIONABLE.index)
    ends = [hop.until for _, hop in troubled if hop.until is not None]
    sentences = " ".join(_say_trouble(outcome, hop) for outcome, hop in troubled[:8])
    return RouteExhausted(
        f"No provider can be used right now. {sentences}",
        code=code_of(worst),
        http_status=status_of(worst),
        retry_after_seconds=max(1.0, (min(ends) - now).total_seconds()) if ends else None,
        extra=extra,
    )


def _trouble_of(hop: Skipped) -> Outcome | None:
    if hop.reason == SkipReason.COOLING_DOWN and hop.status is CredentialStatus.OUT_OF_CREDIT:
        return Outcome.CREDIT_EXHAUSTED
    return _TROUBLE.get(hop.reason)


def _say_trouble(outcome: Outcome, hop: Skipped) -> str:
    whose = "shared key" if hop.payer is Payer.SHARED or hop.credential is None else f'own key "{hop.credential}"'
    until = f"{hop.until:%Y-%m-%d %H:%M:%S} UTC" if hop.until is not None else "later"
    if hop.reason == SkipReason.PROVIDER_DOWN:
        cure = f"the provider does not answer; wait until {until}"
    elif outcome is Outcome.CREDIT_EXHAUSTED:
        cure = f"{_ADVICE[outcome]}, then test the key, or wait until {until}"
    elif outcome is Outcome.RATE_LIMITED:
        cure = f"{_ADVICE[outcome]}; wait until {until}"
    else:
        cure = _ADVICE[outcome]
    model = f", {hop.model}" if hop.model else ""
    return f"{hop.provider}{model}, {whose}: {cure}."


def _needs_own_key(skipped: Sequence[Skipped], field: str | None, extra: dict[str, Any]) -> RouteExhausted | None:
    """What keeps the operator's keys out of a request that they could serve otherwise."""
    if field is None:
        return None
    reason = next(hop.reason for hop in skipped if hop.reason in _UNSHAREABLE)
    return NoProvider(_UNSHAREABLE[reason].format(field=field), code=reason, http_status=400, param=field, extra=extra)


def _wrong_model(skipped: Sequence[Skipped], extra: dict[str, Any]) -> RouteExhausted | None:
    """The model that was asked for is one for something else; which ones of this user's would do."""
    wrong = next((hop for hop in skipped if hop.reason == SkipReason.MODEL_LACKS_OPERATION), None)
    if wrong is None:
        return None
    fit = [f"{hop.provider}/{hop.instead}" for hop in skipped if hop.instead]
    fit += [f"{hop.provider}/{hop.model}" for hop in skipped if hop.reason == SkipReason.MODEL_PINNED and hop.model]
    named = ", ".join(list(dict.fromkeys(fit))[:4])
    cure = f"These of your providers' models can: {named}." if named else "None of your providers has a model for it."
    return NoProvider(
        f"The model {wrong.model} of {wrong.provider} cannot do this kind of request. {cure}",
        code=SkipReason.MODEL_LACKS_OPERATION,
        http_status=400,
        param="model",
        extra=extra,
    )


def _nothing_to_try(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return "There is no API key to use: add one for a provider, or ask the operator for a shared one."
    telling = [hop for hop in skipped if hop.reason not in _SAYS_LITTLE] or skipped
    hops = "; ".join(_say_skipped(hop) for hop in telling[:8])
    reasons = {hop.reason for hop in telling}
    if SkipReason.SHARED_REFUSED in reasons:
        cure = "Add an API key of your own that can serve it, or let shared keys pay in your settings."
    elif SkipReason.SHARED_NOT_GRANTED in reasons:
        cure = "Add an API key of your own that can serve it, or ask the administrator."
    else:
        cure = "Add or enable an API key that can serve it."
    return f"No provider can be used for this request ({hops}). {cure}"


def _say_skipped(hop: Skipped) -> str:
    named = f' "{hop.credential}"' if hop.credential else ""
    whose = "shared key" if hop.payer is Payer.SHARED else f"own key{named}"
    return f"{hop.provider}, {whose}: {_LEFT_OUT.get(hop.reason, hop.reason.replace('_', ' '))}"


def _describe_attempt(one: FailedAttempt) -> dict[str, Any]:
    attempt, failure = one.attempt, one.failure
    return {
        "provider": attempt.provider.id,
        "model": attempt.model,
        "credential": attempt.payer.value,
        "label": attempt.credential.label if attempt.credential else None,
        "class": failure.outcome.value,
        "status": failure.http_status,
        "retry_after": failure.retry_after_seconds,
        "message": failure.message,
    }


def _describe_skipped(hop: Skipped) -> dict[str, Any]:
    return {
        "provider": hop.provider,
        "model": hop.model,
        "credential": hop.payer.value,
        "label": hop.credential,
        "reason": hop.reason,
        "until": hop.until.isoformat() if hop.until else None,
    }
