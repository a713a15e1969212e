"""multipart/form-data (RFC 7578) without taking it apart: where the value of a field begins and ends.

A form holds a file of many megabytes and a few short fields. The file is never copied: a changed form is the old one
in pieces, with another value in between.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from ownkey.errors import RequestError

# A short field is a name or a number; what is longer is a file or a prompt, which nobody asks for here.
_VALUE_LIMIT_BYTES: Final = 1024
_HEAD_LIMIT_BYTES: Final = 8 * 1024
_PARTS_LIMIT: Final = 200
_BOUNDARY: Final = re.compile(
    r"""multipart/form-data\s*;.*?\bboundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))""", re.I | re.S
)
_NAME: Final = re.compile(rb'(?:^|\r\n)content-disposition:[^\r\n]*?;\s*name=(?:"([^"\r\n]*)"|([^\s;\r\n]+))', re.I)

Pieces = tuple[bytes | memoryview, ...]


class Field(Struct, frozen=True):
    """Where a field's value is: `body[start:end]`."""

    name: str
    start: int
    end: int


class Form(Struct, frozen=True):
    """A form and its short fields, each the first of its name; `end` is where another field could be put in."""

    body: bytes
    boundary: bytes
    fields: dict[str, Field]
    end: int

    def value(self, name: str) -> str | None:
        """The text of a short field, or None. Raises RequestError for one that is not UTF-8."""
        field = self.fields.get(name)
        if field is None:
            return None
        try:
            return self.body[field.start : field.end].decode()
        except UnicodeDecodeError:
            raise RequestError(f"The field `{name}` is not UTF-8.", param=name) from None

    def replace(self, name: str, value: str) -> Pieces:
        """The form with another value for a field, added where it has none."""
        view, field = memoryview(self.body), self.fields.get(name)
        if field is not None:
            return view[: field.start], value.encode(), view[field.end :]
        added = b'--%b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
            self.boundary,
            name.encode(),
            value.encode(),
        )
        return view[: self.end], added, view[self.end :]


def read_form(body: bytes, content_type: str) -> Form:
    """The parts of a form. Raises RequestError when it is not one that is complete."""
    # It goes out as it came, and a header holds nothing else.
    found = _BOUNDARY.match(content_type) if content_type.isascii() and content_type.isprintable() else None
    if found is None:
        raise RequestError("This path takes a form: `multipart/form-data` with a boundary.", param="Content-Type")
    boundary = (found[1] or found[2]).encode()
    fields: dict[str, Field] = {}
    position = _first_delimiter(body, boundary)
    delimiter = b"\r\n--" + boundary
    for _ in range(_PARTS_LIMIT):
        end = position  # of the part before, and where the delimiter line begins
        position += len(boundary) + 2
        if body.startswith(b"--", position):
            return Form(body, boundary, fields, end)
        # Blanks may stand between the delimiter and its line end.
        line_end = body.find(b"\r\n", position, position + 100)
        head_end = body.find(b"\r\n\r\n", line_end, line_end + _HEAD_LIMIT_BYTES) if line_end >= 0 else -1
        next_delimiter = body.find(delimiter, max(head_end + 2, 0)) if head_end >= 0 else -1
        if next_delimiter < 0:
            break
        start = min(head_end + 4, next_delimiter)
        _note(fields, body[line_end:head_end], start, next_delimiter)
        position = next_delimiter + 2
    raise RequestError("The form is not complete.")


def _first_delimiter(body: bytes, boundary: bytes) -> int:
    if body.startswith(b"--" + boundary):
        return 0
    position = body.find(b"\r\n--" + boundary, 0, _HEAD_LIMIT_BYTES)
    if position < 0:
        raise RequestError("The form does not begin with its boundary.")
    return position + 2


def _note(fields: dict[str, Field], head: bytes, start: int, end: int) -> None:
    named = _NAME.search(head)
    if named is None or end - start > _VALUE_LIMIT_BYTES or b"filename" in head.lower():
        return
    name = (named[1] if named[1] is not None else named[2]).decode("utf-8", "replace")
    fields.setdefault(name, Field(name, start, end))
