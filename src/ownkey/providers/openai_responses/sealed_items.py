"""Seals in reasoning items: the only place that Responses has for what a client keeps and never reads.

A thinking part's seal stands in its own item. A call has no field for one, so its seal gets a reasoning item without
text behind the call, whose wrapped seal names it. A part without a seal gets an empty one: OpenAI refuses reasoning
that it did not write, and this is how a pass-through knows it, whatever the client did to the ids.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import structs

from ownkey.domain.provider import Dialect
from ownkey.providers.conversation import Seal
from ownkey.providers.openai_responses.ids import item_id
from ownkey.providers.seals import write_seal

_CALL: Final = "call:"
_UNSEALED: Final = write_seal(Seal(Dialect.OPENAI_CHAT, ""), Dialect.OPENAI_RESPONSES)


def sealed_call(seal: Seal) -> str | None:
    """The id of the call that a seal belongs to, or None for one of a thinking part."""
    if seal.dialect is Dialect.OPENAI_RESPONSES or seal.id is None or not seal.id.startswith(_CALL):
        return None
    return seal.id.removeprefix(_CALL)


def write_reasoning(text: str, seal: Seal | None, base: str, position: int) -> dict[str, Any]:
    """The item of a thinking part."""
    return {
        "id": item_id("rs", base, position),
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if text else [],
        "encrypted_content": _UNSEALED if seal is None else write_seal(seal, Dialect.OPENAI_RESPONSES),
    }


def write_call_seal(seal: Seal, call_id: str, base: str, position: int) -> dict[str, Any]:
    """The item that carries a call's seal."""
    return write_reasoning("", structs.replace(seal, id=_CALL + call_id), base, position)
