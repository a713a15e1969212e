"""The Response object around an answer: what the client asked for comes back in it, as OpenAI does it.

A stream holds it three times (created, in progress, ended), so it is put together once and kept as bytes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from ownkey.domain.usage import Tokens
from ownkey.providers.conversation import Finish
from ownkey.providers.dialect import Call
from ownkey.providers.openai_responses.usage import write_usage

_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_encode: Final = msgspec.json.Encoder().encode

# The fields of a request that an answer repeats, and what OpenAI says where the client said nothing.
_ECHOED: Final = {
    "instructions": Raw(b"null"),
    "max_output_tokens": Raw(b"null"),
    "max_tool_calls": Raw(b"null"),
    "metadata": Raw(b"{}"),
    "parallel_tool_calls": Raw(b"true"),
    "prompt_cache_key": Raw(b"null"),
    "prompt_cache_retention": Raw(b"null"),
    "reasoning": Raw(b'{"effort":null,"summary":null}'),
    "safety_identifier": Raw(b"null"),
    "temperature": Raw(b"1.0"),
    "text": Raw(b'{"format":{"type":"text"},"verbosity":"medium"}'),
    "tool_choice": Raw(b'"auto"'),
    "tools": Raw(b"[]"),
    "top_logprobs": Raw(b"0"),
    "top_p": Raw(b"1.0"),
    "truncation": Raw(b'"disabled"'),
    "user": Raw(b"null"),
}


class ResponseFrame:
    """The Response of one answer to `call`. Nothing is stored, whatever the client asked: `store` says so."""

    def __init__(self, call: Call, identifier: str, model: str, created: int, service_tier: str | None) -> None:
        given = _BODY.decode(call.body)
        echoed = {
            name: given[name] if name in given and bytes(given[name]) != b"null" else default
            for name, default in _ECHOED.items()
        }
        self._head = {"id": identifier, "object": "response", "created_at": created}
        self._middle = {
            "background": False,
            "model": model,
            "previous_response_id": None,
            "service_tier": service_tier or "default",
            "store": False,
            **echoed,
        }

    def write_begun(self) -> bytes:
        """The Response of an answer under way."""
        return self._write("in_progress")

    def write_ended(self, finish: Finish, refused: bool, output: Sequence[bytes], tokens: Tokens | None) -> bytes:
        """The Response of an answer that came to its end."""
        reason = cut_reason(finish, refused)
        return self._write(
            "incomplete" if reason else "completed",
            output,
            completed_at=None if reason else int(time.time()),
            incomplete_details={"reason": reason} if reason else None,
            usage=write_usage(tokens) if tokens is not None else None,
        )

    def write_failed(self, error: dict[str, Any], output: Sequence[bytes]) -> bytes:
        """The Response of an answer that broke off."""
        return self._write("failed", output, error=error)

    def _write(self, status: str, output: Sequence[bytes] = (), **changed: Any) -> bytes:
        return _encode(
            {
                **self._head,
                "status": status,
                "completed_at": None,
                "error": None,
                "incomplete_details": None,
                "usage": None,
                **self._middle,
                **changed,
                "output": [Raw(item) for item in output],
            }
        )


def cut_reason(finish: Finish, refused: bool) -> str | None:
    """Why an answer is incomplete, or None for a complete one. `refused`: the model said itself why it will not."""
    if finish == "length":
        return "max_output_tokens"
    return "content_filter" if finish == "refusal" and not refused else None
