"""multipart/form-data (RFC 7578) without taking it apart: where the value of a field begins and ends.

A form holds a file of many megabytes and a few short fields. The file is never copied: a changed form is the old one
in pieces, with another value in between.

What is read here decides where a form goes and who pays for which model, and then a provider reads it with a parser of
its own. So nothing is accepted that two parsers could read in two ways: a field that is there twice, a line of the
boundary that is not quite one, a header that goes on in the next line.
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
_FORM: Final = re.compile(
    r"""multipart/form-data((?:[ \t]*;[ \t]*[\w-]+=(?:"[^"\\\r\n]*"|[^\s;"]+))+)[ \t]*;?""", re.I | re.A
)
_PARAMETER: Final = re.compile(r"""([\w-]+)=(?:"([^"]*)"|([^\s;"]+))""", re.A)
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_TOKEN: Final = re.compile(r"[0-9A-Za-z'+_\-.]+")
_DISPOSITION: Final = re.compile(
    rb"""form-data((?:[ \t]*;[ \t]*[\w-]+\*?=(?:"(?:[^"\\\r\n]|\\[^\r\n])*"|[^\s;"]+))+)""", re.I
)
_NAME: Final = re.compile(
    rb"""(?:^|;)[ \t]*(?P<word>[\w-]+\*?)=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s;"]+))""", re.S
)

Pieces = tuple[bytes | memoryview, ...]


class Field(Struct, frozen=True):
    """Where a field's value is: `body[start:end]`."""

    name: str
    start: int
    end: int


class Form(Struct, frozen=True):
    """A form and its short fields; `end` is where another field could be put in.

    A field is None where it is there more than once, or is a file or a long text.
    """

    body: bytes
    boundary: bytes
    fields: dict[str, Field | None]
    end: int

    @property
    def content_type(self) -> str:
        """The type that goes with the form: the client's own may say more than one thing."""
        boundary = self.boundary.decode("latin-1")
        quoted = boundary if _TOKEN.fullmatch(boundary) else f'"{boundary}"'
        return f"multipart/form-data; boundary={quoted}"

    def value(self, name: str) -> str | None:
        """The text of a short field, or None. Raises RequestError for one that is not a single short text in UTF-8."""
        field = self._find(name)
        if field is None:
            return None
        try:
            return self.body[field.start : field.end].decode()
        except UnicodeDecodeError:
            raise RequestError(f"The field `{name}` is not UTF-8.", param=name) from None

    def _find(self, name: str) -> Field | None:
        field = self.fields.get(name)
        if field is None and name in self.fields:
            raise RequestError(f"The field `{name}` must be in the form once, as a short text.", param=name)
        return field

    def replace(self, name: str, value: str) -> Pieces:
        """The form with another value for a field, added where it has none. Raises as `value`."""
        view, field = memoryview(self.body), self._find(name)
        if field is not None:
            return view[: field.start], value.encode(), view[field.end :]
        added = b'--%b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
            self.boundary,
            name.encode(),
            value.encode(),
        )
        return view[: self.end], added, view[self.end :]


def read_form(body: bytes, content_type: str) -> Form:
    """The parts of a form. Raises RequestError when it is not one that is complete, or could be read in two ways."""
    boundary = _read_boundary(content_type)
    fields: dict[str, Field | None] = {}
    position = _first_delimiter(body, boundary)
    delimiter = b"\r\n--" + boundary
    for count in range(1, _PARTS_LIMIT + 1):
        end = position  # of the part before, and where the delimiter line begins
        position += len(boundary) + 2
        if body.startswith(b"--", position):
            if body.count(b"--" + boundary) != count:
                raise RequestError("The boundary of the form is also in the middle of its parts. Choose another one.")
            return Form(body, boundary, fields, end)
        # Blanks may stand between the delimiter and its line end.
        line_end = body.find(b"\r\n", position, position + 100)
        if line_end < 0 or body[position:line_end].strip(b" \t"):
            break
        head_end = body.find(b"\r\n\r\n", line_end, line_end + _HEAD_LIMIT_BYTES)
        next_delimiter = body.find(delimiter, head_end + 2) if head_end >= 0 else -1
        if next_delimiter < 0:
            break
        start = min(head_end + 4, next_delimiter)
        _note(fields, body[line_end + 2 : head_end], start, next_delimiter)
        position = next_delimiter + 2
    raise RequestError("The form is not complete.")


def _read_boundary(content_type: str) -> bytes:
    found = _FORM.fullmatch(content_type.strip())
    given = (
        [
            (one[2] if one[2] is not None else one[3])
            for one in _PARAMETER.finditer(found[1])
            if one[1].lower() == "boundary"
        ]
        if found
        else []
    )
    if len(given) != 1 or not _BOUNDARY.fullmatch(given[0]):
        raise RequestError("This path takes a form: `multipart/form-data` with a boundary.", param="Content-Type")
    return given[0].encode()


def _first_delimiter(body: bytes, boundary: bytes) -> int:
    if body.startswith(b"--" + boundary):
        return 0
    position = body.find(b"\r\n--" + boundary, 0, _HEAD_LIMIT_BYTES)
    if position < 0:
        raise RequestError("The form does not begin with its boundary.")
    return position + 2


def _note(fields: dict[str, Field | None], head: bytes, start: int, end: int) -> None:
    name, is_file = _read_head(head)
    short = end - start <= _VALUE_LIMIT_BYTES and not is_file and name not in fields
    fields[name] = Field(name, start, end) if short else None


def _read_head(head: bytes) -> tuple[str, bool]:
    """A part's name, and whether it is a file. Raises RequestError for a head that could be read in two ways."""
    found = None
    encoded = False
    for line in head.split(b"\r\n"):
        field, colon, value = line.partition(b":")
        if not colon or field != field.strip() or b"\r" in line or b"\n" in line:
            raise RequestError("A part of the form has a header that is not on one line of its own.")
        if field.lower() == b"content-disposition":
            if found is not None:
                raise RequestError("A part of the form has two names.")
            found = _DISPOSITION.fullmatch(value.strip(b" \t").removesuffix(b";").rstrip(b" \t"))
            if found is None:
                break
        encoded = encoded or (
            field.lower() == b"content-transfer-encoding" and value.strip().lower() not in (b"7bit", b"8bit", b"binary")
        )
    if found is None:
        raise RequestError("A part of the form has no `Content-Disposition: form-data` with a name.")
    words = [
        (one["word"].lower(), one["quoted"] if one["quoted"] is not None else one["plain"])
        for one in _NAME.finditer(found[1])
    ]
    names = [value for word, value in words if word == b"name"]
    if len(names) != 1 or b"\\" in names[0] or any(word == b"name*" for word, _ in words):
        raise RequestError("A part of the form has no name, or one that can be read in two ways.")
    return names[0].decode("utf-8", "replace"), encoded or any(word.startswith(b"filename") for word, _ in words)
