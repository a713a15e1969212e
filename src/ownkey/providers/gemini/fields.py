"""Reading Google's JSON as Google reads it.

A field may be written in camelCase or in snake_case, null says as much as leaving it out, one message may stand where
a list of them is expected, and a number may be written as a text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from ownkey.errors import RequestError
from ownkey.providers.counters import COUNT_LIMIT
from ownkey.providers.unreadable import UNREADABLE

_UNDERSCORE: Final = re.compile(r"(?<=[A-Za-z0-9])_+([a-z0-9])")


# No field of Google's has a longer name: what a client makes up is not kept.
_LONGEST_NAME: Final = 64


def camel(name: str) -> str:
    """`inlineData` for `inline_data` and for `inlineData`."""
    return _camel(name) if len(name) <= _LONGEST_NAME else name


@lru_cache(maxsize=1024)
def _camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda match: match[1].upper(), name)


def read_body(body: bytes) -> dict[str, Any]:
    """The fields of a body, with their names in camelCase. Raises RequestError."""
    try:
        return read_object(msgspec.json.decode(body), "")
    except RecursionError:
        raise RequestError("The body is nested too deeply.") from None
    except UNREADABLE:
        raise RequestError("The body is not valid JSON in UTF-8.") from None


def read_object(value: Any, place: str) -> dict[str, Any]:
    """The fields of a message that say something, with their names in camelCase."""
    if not isinstance(value, dict):
        raise RequestError(f"`{place}` must be an object." if place else "The body is not a JSON object.", param=place)
    return {camel(name) if "_" in name else name: field for name, field in value.items() if field is not None}


def read_list(value: Any) -> list[Any]:
    """A list, or a single message as a list of one."""
    return value if isinstance(value, list) else [value]


def read_text(value: Any, place: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise RequestError(f"`{place}` must be a text.", param=place)
    return value


def read_texts(value: Any, place: str) -> list[str]:
    """A list of texts."""
    return [read_text(text, f"{place}[{position}]") for position, text in enumerate(read_list(value))]


def read_flag(value: Any, place: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise RequestError(f"`{place}` must be true or false.", param=place)
    return value


def read_number(value: Any, place: str) -> float:
    """A number."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -COUNT_LIMIT <= value <= COUNT_LIMIT:
        raise RequestError(f"`{place}` must be a number.", param=place)
    return value


def read_integer(value: Any, place: str) -> int:
    """A whole number; Google takes 40.0 for one."""
    number = read_number(value, place)
    if number != int(number):
        raise RequestError(f"`{place}` must be a whole number.", param=place)
    return int(number)


def read_word(value: Any, place: str) -> str:
    """One of an enumeration's words, in capitals."""
    return read_text(value, place).upper()


def standard_base64(data: str) -> str:
    """Base64 in the standard alphabet: Google's Python SDK writes the URL-safe one, others refuse that."""
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    return data
