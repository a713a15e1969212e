"""What routing must know of such a request: the model, and whether the answer is a stream."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from ownkey.domain.provider import SideOperation
from ownkey.domain.routing import AUTO
from ownkey.providers.peek import Peek, read_fields
from ownkey.providers.side_operations.forms import read_form

FORMS: Final[frozenset[SideOperation]] = frozenset({"image_edits", "transcriptions", "translations"})


class _Fields(Struct):
    model: str | None = None
    stream: bool | None = None


_FIELDS: Final = msgspec.json.Decoder(_Fields)


def peek(body: bytes, operation: SideOperation, content_type: str) -> Peek:
    """Look at a request. Raises RequestError with the name of the faulty field."""
    if operation in FORMS:
        form = read_form(body, content_type)
        model, stream = form.value("model"), (form.value("stream") or "").strip().lower() == "true"
    else:
        fields = read_fields(_FIELDS, body)
        model, stream = fields.model, bool(fields.stream)
    # Speech is sound that is heard as it is made.
    return Peek(model=model or AUTO, stream=stream or operation == "speech")
