"""Namespaces of tools: in one name where a dialect has none, and apart again in the calls for a client."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from ownkey.providers.unreadable import UNREADABLE

# As clients that know both forms write it: `mcp__files` and `read` are `mcp__files__read`.
_JOINT: Final = "__"


class _Tool(Struct):
    type: str = ""
    name: str = ""
    tools: list[_Tool] | None = None


class _Item(Struct):
    type: str = ""
    tools: list[_Tool] | None = None


class _Body(Struct):
    tools: list[_Tool] | None = None
    input: str | list[_Item] | None = None


_BODY: Final = msgspec.json.Decoder(_Body)

Namespaces = dict[str, tuple[str, str]]


def join(namespace: str, name: str) -> str:
    """The one name of a namespaced tool."""
    return f"{namespace}{_JOINT}{name}"


def read_namespaces(body: bytes) -> Namespaces:
    """The namespace and the name of each namespaced tool in a request, by its one name."""
    if body.find(b'"namespace"') < 0:
        return {}
    try:
        fields = _BODY.decode(body)
    except UNREADABLE:
        return {}
    lists = [fields.tools, *(item.tools for item in fields.input or () if isinstance(item, _Item))]
    return {
        join(group.name, tool.name): (group.name, tool.name)
        for groups in lists
        for group in groups or ()
        if group.type == "namespace"
        for tool in group.tools or ()
    }
