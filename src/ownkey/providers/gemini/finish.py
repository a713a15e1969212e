"""Why an answer ended, from Google's words and back."""

from __future__ import annotations

from typing import Final

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome
from ownkey.providers.conversation import Finish
from ownkey.providers.error_body import tidy

_UNSPECIFIED: Final = "FINISH_REASON_UNSPECIFIED"
_LENGTH: Final = frozenset({"MAX_TOKENS", "CONTINUATION"})  # the second: so much as one request may write
_FILTERED: Final = frozenset(
    {
        "BLOCKLIST",
        "ESCALATION",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "IMAGE_SAFETY",
        "LANGUAGE",
        "MODEL_ARMOR",
        "PROHIBITED_CONTENT",
        "PUP_LIMITED_DISABLED",
        "RECITATION",
        "SAFETY",
        "SPII",
    }
)
# The model lost its way. Another try, or another model, may well answer.
_FAILED: Final = frozenset(
    {
        "IMAGE_OTHER",
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
        "NO_IMAGE",
        "OTHER",
        "TOO_MANY_TOOL_CALLS",
        "UNEXPECTED_TOOL_CALL",
    }
)
_WRITTEN: Final[dict[Finish, str]] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "refusal": "SAFETY",
    "pause": "STOP",
}


def has_ended(reason: str | None) -> bool:
    """Whether a candidate is complete: Vertex AI says of unfinished ones that nothing is specified."""
    return bool(reason) and reason != _UNSPECIFIED


def read_finish(reason: str, *, called: bool) -> Finish:
    """The neutral word. `called`: the answer holds a call, of which Google says nothing."""
    if reason in _LENGTH:
        return "length"
    if reason in _FILTERED:
        return "refusal"
    return "tool_calls" if called else "stop"


def write_finish(finish: Finish) -> str:
    """Google's word."""
    return _WRITTEN[finish]


def read_failed_finish(reason: str, message: str | None) -> Failure | None:
    """The failure that a reason stands for, or None."""
    if reason not in _FAILED:
        return None
    said = tidy(message) if message else ""
    return Failure(
        outcome=Outcome.OVERLOADED,
        message=f"Gemini gave up its answer ({reason})" + (f": {said}" if said else "."),
        provider_code=reason.lower(),
    )


def refusal_words(reason: str, message: str | None) -> str:
    """What a person reads where nothing was answered."""
    said = tidy(message) if message else ""
    return said or f"Gemini's filters stopped the answer ({reason[:40]})."
