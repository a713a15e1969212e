"""Ids of translated answers. They look like OpenAI's, and a mark in them tells that OpenAI has never seen them."""

from __future__ import annotations

import re
from typing import Final, Literal

from ownkey.domain.usage import new_id
from ownkey.errors import RequestError

# Also what a foreign seal begins with: one search finds both.
MARK: Final = "ownkey1"
ItemKind = Literal["msg", "rs", "fc", "ctc", "ig"]

_ODD: Final = re.compile(r"[^A-Za-z0-9_-]")
# OpenAI takes item ids of at most 64 characters.
_BASE_LENGTH: Final = 40


def answer_base(answer_id: str) -> str:
    """What the ids of one answer have in common."""
    return _ODD.sub("_", answer_id)[-_BASE_LENGTH:] or new_id().replace("-", "")


def response_id(base: str) -> str:
    """The id of a response."""
    return f"resp_{MARK}_{base}"


def item_id(kind: ItemKind, base: str, position: int) -> str:
    """The id of an output item at its position."""
    return f"{kind}_{MARK}_{base}_{position}"


def is_ours(identifier: object) -> bool:
    """Whether an id is of a translated answer."""
    return isinstance(identifier, str) and identifier.partition("_")[2].startswith(f"{MARK}_")


def refuse_reference(place: str) -> RequestError:
    """The error for a reference to an item of a translated answer, which nobody has kept."""
    return RequestError(
        f"`{place}` refers to an item of an answer that was not stored. Send the item itself: clients that choose "
        "between the two do so with `store: false`.",
        param=place,
    )
