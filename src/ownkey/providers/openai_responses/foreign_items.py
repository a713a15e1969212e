"""Taking out of a client's input what only the gateway understands, before it goes to OpenAI itself.

A chain may have begun at another provider. Reasoning from there is sealed for it or for nobody, and ids from there are
looked up in vain: OpenAI would refuse the whole request for either.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.openai_responses.ids import MARK, is_ours, refuse_reference
from ownkey.providers.seals import PREFIX, read_seal
from ownkey.providers.unreadable import UNREADABLE

_MARK: Final = MARK.encode()
_ITEMS: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_encode: Final = msgspec.json.Encoder().encode

_Fields = dict[str, Raw]


def take_out(given: Raw) -> Raw | None:
    """The input as OpenAI may have it, or None where nothing is to be done: nearly always, and for one search.

    Raises RequestError for what cannot be told to OpenAI at all.
    """
    raw = bytes(given)
    if raw.find(_MARK) < 0 or not raw.startswith(b"["):
        return None
    try:
        items = _ITEMS.decode(raw)
        kept = [item for index, item in enumerate(items) if _clean(item, f"input[{index}]")]
        return Raw(_encode(kept))
    except UNREADABLE:
        return None  # the provider will say what is wrong with it


def _clean(item: _Fields, place: str) -> bool:
    """Clean one item in place. Whether it goes on."""
    kind = _read(item, "type")
    ours = is_ours(_read(item, "id"))
    if kind == "reasoning":
        return _clean_reasoning(item, ours)
    if not ours:
        return True
    if kind == "item_reference" or (kind is None and "role" not in item):
        raise refuse_reference(place)
    if kind == "image_generation_call":
        raise RequestError("OpenAI does not know this picture: send it as an `input_image`.", param=place)
    del item["id"]
    return True


def _clean_reasoning(item: _Fields, ours: bool) -> bool:
    sealed = _read(item, "encrypted_content")
    if not isinstance(sealed, str) or not sealed.startswith(PREFIX):
        return not ours
    seal = read_seal(sealed, Dialect.OPENAI_RESPONSES)
    if seal.dialect is not Dialect.OPENAI_RESPONSES or seal.data.startswith(PREFIX):
        return False
    item["encrypted_content"] = Raw(_encode(seal.data))
    if seal.id is not None:
        item["id"] = Raw(_encode(seal.id))
    elif ours:
        del item["id"]
    return True


def _read(item: _Fields, name: str) -> Any:
    return msgspec.json.decode(item[name]) if name in item else None
