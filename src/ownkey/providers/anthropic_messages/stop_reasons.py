"""Why an answer ended, in Anthropic's words and in the neutral ones."""

from __future__ import annotations

from typing import Final

from ownkey.providers.conversation import Finish

_FINISHES: Final[dict[str, Finish]] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "pause_turn": "pause",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}
STOP_REASONS: Final[dict[Finish, str]] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "pause": "pause_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}


def read_stop_reason(reason: str | None) -> Finish:
    """The neutral word; an unknown reason is an ordinary end."""
    return _FINISHES.get(reason or "", "stop")
