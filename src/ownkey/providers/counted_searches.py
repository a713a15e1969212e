"""Searches that a provider made for an answer and charges for, where its answer shows them and its usage does not.

OpenAI lists each search as an item of the answer; Google names the queries. Their number is written into the usage as
it is kept, under a name that no provider uses, and priced from there like the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.providers.unreadable import UNREADABLE


class _Action(Struct):
    type: str | None = None


class _Item(Struct):
    type: str = ""
    action: _Action | None = None


class _Grounding(Struct, rename="camel"):
    web_search_queries: list[str] | None = None


_ITEM: Final = msgspec.json.Decoder(_Item)
_GROUNDING: Final = msgspec.json.Decoder(_Grounding | None)
_CALL: Final = b"_search_call"
# Gemini 2.5 and older are charged for an answer with searches, later ones for each query.
_BY_ANSWER: Final = ("gemini-1", "gemini-2")


def count_items(output: Iterable[Raw]) -> tuple[int, int]:
    """Searches of the web and of stored files among the items of a response."""
    web = files = 0
    for raw in map(bytes, output):
        if _CALL not in raw:
            continue
        try:
            item = _ITEM.decode(raw)
        except UNREADABLE:
            continue
        # To open a page that was found, or to look for a word in it, is free.
        web += item.type == "web_search_call" and (item.action is None or item.action.type in (None, "search"))
        files += item.type == "file_search_call"
    return web, files


def read_queries(grounding: Raw) -> list[str]:
    """What Google was asked for an answer, or a part of one; an empty query is free."""
    try:
        found = _GROUNDING.decode(grounding)
        return [] if found is None else [one for one in found.web_search_queries or () if one]
    except UNREADABLE:
        return []


def count_queries(queries: Iterable[str], model: str) -> int:
    """How many of them are charged for; the parts of a stream may name one again."""
    number = len(set(queries))
    return min(number, 1) if model.startswith(_BY_ANSWER) else number


def add_searches(raw_usage: bytes | None, web: int, files: int = 0) -> bytes | None:
    """The usage with these numbers. As it came where there is none to add, or nothing to add it to."""
    if raw_usage is None or not (web or files):
        return raw_usage
    head, rest = b'{"ownkey_searches":{"web":%d,"files":%d}' % (web, files), raw_usage.strip()
    if not rest.startswith(b"{"):
        return raw_usage
    inner = rest[1:].lstrip()
    return head + inner if inner == b"}" else head + b"," + inner
