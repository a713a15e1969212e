"""A failure in the middle of a stream, in the form that OpenAI's clients raise as an error."""

from __future__ import annotations

import msgspec

from ownkey.domain.exchange import Failure


def write_error_event(failure: Failure) -> bytes:
    """One event, to which no `[DONE]` belongs."""
    error = {"message": failure.message, "type": "upstream_error", "param": None, "code": failure.outcome.value}
    return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"
