"""A failure in the middle of a stream, in the two forms in which OpenAI tells it."""

from __future__ import annotations

from typing import Any, Final

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome

_LIMITS: Final = frozenset({Outcome.RATE_LIMITED, Outcome.QUOTA_DAILY, Outcome.CREDIT_EXHAUSTED})


def write_error(failure: Failure) -> dict[str, Any]:
    """The `error` of an error event, which OpenAI's clients raise."""
    return {"type": "upstream_error", "code": failure.outcome.value, "message": failure.message, "param": None}


def failed_error(failure: Failure) -> dict[str, Any]:
    """The `error` of a failed response. Its codes are a closed list: agents retry by them."""
    code = "rate_limit_exceeded" if failure.outcome in _LIMITS else "server_error"
    return {"code": code, "message": failure.message}
