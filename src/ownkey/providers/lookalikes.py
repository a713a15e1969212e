"""Names of fields that some parsers take for others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ownkey.errors import RequestError

# What decides here where a request goes, who pays for which model, and how the answer comes.
_READ_HERE: Final = frozenset({"background", "model", "stream"})
_LENGTHS: Final = frozenset(map(len, _READ_HERE))


def refuse_lookalikes(names: Iterable[str]) -> None:
    """Raises RequestError for `Model` and its like: a provider whose parser does not tell capitals from small letters
    (Go's) would read it in place of the field that was read here."""
    for name in names:
        if len(name) in _LENGTHS and name not in _READ_HERE and name.casefold() in _READ_HERE:
            raise RequestError(f"Write `{name.casefold()}`, not `{name}`.", param=name)
