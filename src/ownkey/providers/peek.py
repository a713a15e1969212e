"""What routing must know of a client's body, in any dialect: the few fields that decide where it can go.

Each dialect has a `peek` of its own that reads no more than these. The rest of a body is read by who carries it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.routing import AUTO, Needs
from ownkey.errors import RequestError

T = TypeVar("T")

# A token is at least two bytes of JSON on average in every script that was tried (Chinese without escapes: about
# three bytes a token, English: about four), so a quarter of the bytes would overstate and an eighth errs low.
_BYTES_PER_TOKEN: Final = 8
# No model of the catalogue has a smaller context, so below this the size decides nothing.
_SMALLEST_CONTEXT_TOKENS: Final = 4096

# Values of a raw field that say as much as leaving it out.
NOTHING: Final = (b"[]", b"null")


class Peek(Struct, frozen=True, kw_only=True):
    """What was seen. `wants_usage`: the client asked for the usage of its stream (`stream_options.include_usage`).

    `fields` is the body one level deep, where that was read anyway: who passes the body on need not read it again.
    """

    model: str = AUTO
    stream: bool = False
    needs: Needs = Needs()
    wants_usage: bool = False
    fields: Mapping[str, Raw] | None = None


def read_fields(decoder: msgspec.json.Decoder[T], data: bytes, place: str = "") -> T:
    """Decode a body, or the value of its field `place`. Raises RequestError with the name of the faulty field."""
    try:
        if not place and not data.isascii():
            # The decoder reads only what it needs; a provider would refuse the rest.
            data.decode()
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise RequestError(_describe(error, place), param=_field(error, place)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RequestError("The body is not valid JSON in UTF-8.") from None
    except RecursionError:
        raise RequestError("The body is nested too deeply.") from None


def count_input(body: bytes, *, media: bool) -> int:
    """An estimate of a body's tokens that errs low, 0 where it decides nothing. `media`: it holds base64."""
    tokens = len(body) // _BYTES_PER_TOKEN
    # An image's base64 says nothing about its tokens.
    return 0 if media or tokens < _SMALLEST_CONTEXT_TOKENS else tokens


def _field(error: msgspec.ValidationError, place: str) -> str | None:
    """`messages` from msgspec's "... - at `$.messages`"; a missing field names itself."""
    text = str(error)
    if " - at `$" in text:
        return (place + text.rsplit(" - at `$", 1)[1].rstrip("`")).removeprefix(".") or None
    missing = text.split("`")[1] if "required field `" in text else ""
    return f"{place}.{missing}".strip(".") or None


def _describe(error: msgspec.ValidationError, place: str) -> str:
    text, _, _ = str(error).partition(" - at `")
    field = _field(error, place)
    where = f" (in `{field}`)" if field and "required field" not in text else ""
    return f"The body is not a valid request: {text[:1].lower()}{text[1:]}{where}."
