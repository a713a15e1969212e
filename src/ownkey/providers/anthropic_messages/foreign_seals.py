"""Taking out of a Claude client's messages what only the gateway understands, before they go to Claude itself.

A chain may have begun at another provider: its reasoning came to the client in thinking blocks with a wrapped seal or
with none, and its citations with a mark. Claude would refuse the whole request for them.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from ownkey.domain.provider import Dialect
from ownkey.providers.anthropic_messages.signatures import read_call_seal, read_redacted, read_signature, write_thinking
from ownkey.providers.conversation import Thinking
from ownkey.providers.seals import PREFIX
from ownkey.providers.unreadable import UNREADABLE

_PREFIX: Final = PREFIX.encode()
_MARKS: Final = (_PREFIX, b'"signature":""', b'"signature": ""')
_MESSAGES: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_BLOCKS: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_TEXT: Final = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.Encoder().encode

_Fields = dict[str, Raw]


def take_out(messages: Raw) -> Raw | None:
    """The messages without foreign seals, or None where there are none: nearly always, and for a few searches."""
    raw = bytes(messages)
    if not _is_marked(raw):
        return None
    try:
        decoded = _MESSAGES.decode(raw)
        kept = [message for message in decoded if _clean(message)]
        return Raw(_encode(kept)) if kept else None
    except UNREADABLE:
        return None  # the provider will say what is wrong with it


def _is_marked(raw: bytes) -> bool:
    return any(mark in raw for mark in _MARKS)


def _clean(message: _Fields) -> bool:
    """Clean one message in place. Whether anything is left of it."""
    content = bytes(message.get("content", b""))
    if not content.startswith(b"[") or not _is_marked(content):
        return True
    blocks = [cleaned for block in _BLOCKS.decode(content) if (cleaned := _clean_block(block)) is not None]
    message["content"] = Raw(_encode(blocks))
    return bool(blocks)


def _clean_block(block: _Fields) -> _Fields | None:
    """A block as Claude may have it; None for one that is not Claude's."""
    match _read_text(block, "type"):
        case "thinking":
            return _clean_thinking(block)
        case "redacted_thinking":
            data = _read_text(block, "data")
            return _restore(Thinking(seal=read_redacted(data))) if data.startswith(PREFIX) else block
        case "text" if _PREFIX in bytes(block.get("citations", b"")):
            return _clean_citations(block)
        case _:
            return block


def _clean_thinking(block: _Fields) -> _Fields | None:
    signature = _read_text(block, "signature")
    if not signature or read_call_seal(signature) is not None:
        return None
    if not signature.startswith(PREFIX):
        return block
    return _restore(Thinking(text=_read_text(block, "thinking"), seal=read_signature(signature)))


def _restore(thinking: Thinking) -> _Fields | None:
    seal = thinking.seal
    if seal is None or seal.dialect is not Dialect.ANTHROPIC_MESSAGES or seal.data.startswith(PREFIX):
        return None
    return {name: Raw(_encode(value)) for name, value in write_thinking(thinking).items()}


def _clean_citations(block: _Fields) -> _Fields:
    kept = [
        citation
        for citation in _BLOCKS.decode(block["citations"])
        if not _read_text(citation, "encrypted_index").startswith(PREFIX)
    ]
    block["citations"] = Raw(_encode(kept or None))
    return block


def _read_text(fields: _Fields, name: str) -> str:
    """The text in a field; empty where there is none."""
    try:
        return _TEXT.decode(fields[name])
    except (KeyError, msgspec.MsgspecError):
        return ""
