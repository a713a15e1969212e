"""The field `reasoning_details` of an assistant's message: where seals travel in the chat dialect.

OpenRouter introduced it, and clients give it back as they got it. An entry is `reasoning.text` with its `signature`,
`reasoning.summary`, or `reasoning.encrypted` with `data` alone; `id` may name the tool call that it belongs to. Ours
have the part's place in the answer as `index`, so that thinking between two texts or calls finds its place again.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Set
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.provider import Dialect
from ownkey.providers.conversation import Part, Seal, Thinking, ToolCall
from ownkey.providers.seals import PREFIX, read_seal, write_seal
from ownkey.providers.unreadable import UNREADABLE

_DIALECT: Final = Dialect.OPENAI_CHAT
# Marks thinking without a seal, so that a pass-through knows it as ours: many providers refuse `reasoning_content`.
_UNSEALED: Final = write_seal(Seal(_DIALECT, "", id=""), _DIALECT)
# What every wrapped seal begins with. The longer it is, the faster it is looked for.
_MARK: Final = PREFIX.encode() + base64.urlsafe_b64encode(b'{"dialect":"')

_MESSAGES: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_DETAILS: Final = msgspec.json.Decoder(list[dict[str, Any]])

Detail = dict[str, Any]


def write_thinking(index: int, text: str, seal: Seal | None) -> Detail:
    """The entry of a thinking part. The text of one without a seal is in `reasoning_content` alone."""
    if seal is None:
        return {"type": "reasoning.text", "text": "", "id": _UNSEALED, "index": index}
    sealed = write_seal(seal, _DIALECT)
    if not text:
        return {"type": "reasoning.encrypted", "data": sealed, "index": index}
    return {"type": "reasoning.text", "text": text, "signature": sealed, "index": index}


def write_call_seal(index: int, call_id: str, seal: Seal) -> Detail:
    """The entry of a tool call's seal."""
    return {"type": "reasoning.encrypted", "data": write_seal(seal, _DIALECT), "id": call_id, "index": index}


def write_details(parts: Iterable[Part]) -> list[Detail]:
    """The entries of a whole answer."""
    details = []
    for index, part in enumerate(parts):
        if isinstance(part, Thinking):
            details.append(write_thinking(index, part.text, part.seal))
        elif isinstance(part, ToolCall) and part.seal is not None:
            details.append(write_call_seal(index, part.id, part.seal))
    return details


class Thought(Struct):
    """A thinking part and its place among the parts of its message."""

    index: int
    part: Thinking


def read_details(details: object, said: str, call_ids: Set[str]) -> tuple[list[Thought], dict[str, Seal]]:
    """The thinking parts in their order, and the seals of tool calls by their ids.

    `said` is the message's `reasoning_content`, which counts where no entry has a text. What cannot be read is
    skipped: no provider but the one that wrote it would have read it either.
    """
    thoughts: list[Thought] = []
    seals: dict[str, Seal] = {}
    for position, entry in enumerate(details if isinstance(details, list) else ()):
        if not isinstance(entry, dict):
            continue
        index = entry.get("index")
        text = _string(entry, "text") or _string(entry, "summary")
        sealed = _string(entry, "signature") or _string(entry, "data")
        name = _string(entry, "id")
        seal = read_seal(sealed, _DIALECT) if sealed else None
        if seal is not None and name in call_ids:
            seals[name] = seal
        elif text or seal is not None or name == _UNSEALED:
            thoughts.append(Thought(index if isinstance(index, int) else position, Thinking(text=text, seal=seal)))
    if said and not any(thought.part.text for thought in thoughts):
        unsealed = next((thought.part for thought in thoughts if thought.part.seal is None), None)
        if unsealed is None and len(thoughts) == 1:
            unsealed = thoughts[0].part
        if unsealed is None:
            thoughts.append(Thought(-1, Thinking(text=said)))
        else:
            unsealed.text = said
    thoughts.sort(key=_place)
    return [thought for thought in thoughts if thought.part.text or thought.part.seal], seals


def _place(thought: Thought) -> int:
    return thought.index


def _string(entry: Detail, name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def holds_foreign(body: bytes) -> bool:
    """Whether a client's body may hold entries of ours: cheap, and hardly ever wrong."""
    return body.find(_MARK) >= 0


def take_out_foreign(messages: Raw) -> Raw:
    """The messages without what another dialect's answers left in them: providers refuse fields they do not know.

    Messages that cannot be read are left as they are; the provider will say what is wrong with them.
    """
    try:
        read = _MESSAGES.decode(messages)
        changed = [_strip(message) for message in read]
    except UNREADABLE:
        return messages
    return Raw(msgspec.json.encode(read)) if any(changed) else messages


def _strip(message: dict[str, Raw]) -> bool:
    raw = message.get("reasoning_details")
    if raw is None or not holds_foreign(bytes(raw)):
        return False
    details = _DETAILS.decode(raw)
    kept = [entry for entry in details if not any(_is_ours(value) for value in entry.values())]
    if len(kept) == len(details):
        return False
    if kept:
        message["reasoning_details"] = Raw(msgspec.json.encode(kept))
    else:
        del message["reasoning_details"]
        message.pop("reasoning_content", None)
    return True


def _is_ours(value: object) -> bool:
    return isinstance(value, str) and value.startswith(PREFIX)
