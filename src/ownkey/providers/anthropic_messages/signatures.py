"""Seals in a Claude client's blocks.

A thinking block has a `signature`, and Claude's clients give it back as they got it. A seal of a tool call (Gemini's)
has no place in a `tool_use` block: it travels in an empty thinking block beside it, whose signature ends with `@` and
the call's id.
"""

from __future__ import annotations

from typing import Any, Final

from ownkey.domain.provider import Dialect
from ownkey.providers.conversation import Seal, Thinking
from ownkey.providers.seals import PREFIX, read_seal, write_seal

_DIALECT: Final = Dialect.ANTHROPIC_MESSAGES

Block = dict[str, Any]


def write_thinking(thinking: Thinking) -> Block:
    """A thought as a block. One that nobody has signed has an empty signature."""
    seal = thinking.seal
    if seal is not None and is_redacted(seal):
        return {"type": "redacted_thinking", "data": seal.data}
    return {"type": "thinking", "thinking": thinking.text, "signature": write_signature(seal)}


def write_signature(seal: Seal | None, call_id: str | None = None) -> str:
    """The signature for a seal; `call_id` is that of the tool call which it seals."""
    if seal is None:
        return ""
    signature = write_seal(seal, _DIALECT)
    return signature if call_id is None else f"{signature}@{call_id}"


def is_redacted(seal: Seal) -> bool:
    """Whether a seal is Anthropic's hidden thinking, which has a block of its own."""
    return seal.redacted and seal.dialect is _DIALECT


def is_foreign(seal: Seal | None) -> bool:
    """Whether a tool call's seal needs a block beside it."""
    return seal is not None and seal.dialect is not _DIALECT


def read_signature(signature: str) -> Seal | None:
    """The seal in a signature, None for an empty one."""
    return read_seal(signature, _DIALECT) if signature else None


def read_call_seal(signature: str) -> tuple[str, Seal] | None:
    """The id of a tool call and its seal, None for any other signature."""
    text, _, call_id = signature.partition("@")
    return (call_id, read_seal(text, _DIALECT)) if call_id and text.startswith(PREFIX) else None


def read_redacted(data: str) -> Seal:
    """The seal of a redacted_thinking block."""
    return read_seal(data, _DIALECT) if data.startswith(PREFIX) else Seal(_DIALECT, data, redacted=True)
