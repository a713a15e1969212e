"""A tool that takes any text, for dialects whose tools take JSON: a function with one argument, `input`.

Who writes a provider's request wraps, who writes the client's answer unwraps.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from ownkey.providers.conversation import Tool
from ownkey.providers.unreadable import UNREADABLE

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool, as it is."}},
    "required": ["input"],
    "additionalProperties": False,
}


class _Arguments(Struct):
    input: str


_ARGUMENTS: Final = msgspec.json.Decoder(_Arguments)
_TEXT: Final = msgspec.json.Decoder(str)
_BLANK: Final = " \t\r\n"
# One search for both: two would run over all the escapes in front of a quote far away, again and again.
_MARK: Final = re.compile(r'["\\]')
# Nobody writes so many blanks.
_OPENING_LIMIT: Final = 1024
# How the arguments begin, without the blanks between these.
_OPENING: Final = ("{", '"input"', ":", '"')


def describe(tool: Tool) -> str | None:
    """A freeform tool's description where there are no grammars: what the input must look like is in the words."""
    if tool.grammar is None:
        return tool.description
    rule = f"The input must match this {tool.grammar.syntax} grammar:\n{tool.grammar.definition}"
    return f"{tool.description}\n\n{rule}" if tool.description else rule


def wrap(text: str) -> str:
    """The arguments for an input."""
    return msgspec.json.encode({"input": text}).decode()


def unwrap(arguments: str) -> str:
    """The input in arguments. What a model wrote otherwise is the input as it is."""
    try:
        return _ARGUMENTS.decode(arguments).input
    except UNREADABLE:
        return arguments


class Unwrapper:
    """Opens arguments that arrive in pieces. What is not of the expected form comes out whole at the end."""

    __slots__ = ("_given", "_others", "_state")

    def __init__(self) -> None:
        self._given = ""  # what has not come out yet
        self._others: list[str] = []  # what follows it where the arguments have another form
        self._state: Literal["opening", "text", "closed", "other"] = "opening"

    def feed(self, piece: str) -> str:
        """More of the input, as far as it can be told."""
        if self._state == "closed":
            return ""
        if self._state == "other":
            self._others.append(piece)
            return ""
        self._given += piece
        if self._state == "opening" and not self._open():
            return ""
        return self._read() if self._state == "text" else ""

    def finish(self) -> str:
        """What is left: something only where the arguments had another form."""
        rest, self._given = "".join((self._given, *self._others)), ""
        return unwrap(rest) if self._state in ("opening", "other") else ""

    def _open(self) -> bool:
        """Whether the text has begun. The opening itself is kept, in case it turns out to be something else."""
        rest = self._given
        if len(rest) > _OPENING_LIMIT and not rest[:_OPENING_LIMIT].strip(_BLANK):
            self._state = "other"
            return False
        for part in _OPENING:
            rest = rest.lstrip(_BLANK)
            if not rest.startswith(part):
                if not part.startswith(rest):
                    self._state = "other"
                return False
            rest = rest[len(part) :]
        self._given, self._state = rest, "text"
        return True

    def _read(self) -> str:
        """The text up to its closing quote, or up to an escape that may be cut."""
        given, end, position = self._given, -1, 0
        safe = len(given)
        while (position := _next_mark(given, position)) >= 0:
            if given[position] == '"':
                end = safe = position
                break
            length = _escape_length(given, position)
            if position + length > len(given):
                safe = position
                break
            position += length
        text, self._given = given[:safe], given[safe:]
        if end >= 0:
            self._state, self._given = "closed", ""
        try:
            return _TEXT.decode(f'"{text}"') if "\\" in text else text
        except UNREADABLE:
            return text  # a raw line end or a broken escape: the model's mistake is passed on


def _next_mark(text: str, start: int) -> int:
    """Where the next quote or backslash is, or -1."""
    found = _MARK.search(text, start)
    return -1 if found is None else found.start()


def _escape_length(text: str, position: int) -> int:
    """How long an escape is; the two halves of a surrogate pair stay together."""
    if text[position + 1 : position + 2] != "u":
        return 2
    high = text[position + 2 : position + 4].lower()
    return 12 if high in ("d8", "d9", "da", "db") else 6
