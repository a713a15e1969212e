"""The head of a request to the gateway, read: what is wanted, who asks, and what stands beside the body."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from msgspec import Struct

from ownkey.http.doors import Door
from ownkey.http.exchange import Scope
from ownkey.http.identity import IN_PROCESS_USER, find_token, refuse_key_in_url
from ownkey.services.client_headers import read_headers
from ownkey.services.client_request import Asked

_PLAIN_CODINGS: Final = (b"", b"identity")


class Heading(Struct, frozen=True, kw_only=True):
    """It follows from the head alone: whoever asks in the same way again need not have it read again.

    `token` None: none was shown. `compressed`: the body is, which is not accepted.
    """

    door: Door
    asked: Asked
    token: bytes | None
    token_hash: bytes | None
    compressed: bool


def read_heading(scope: Scope, door: Door) -> Heading:
    """Read the rest of a head that leads to this door. Raises AuthError as `find_token` and `refuse_key_in_url` do."""
    headers, query = scope["headers"], scope.get("query_string", b"")
    token = None
    if scope.get(IN_PROCESS_USER) is None:
        token = find_token(headers)
        if query:
            refuse_key_in_url(query, token)
    task = fallback = None
    content_type, compressed = "application/json", False
    for name, value in headers:
        if name == b"x-ownkey-task":
            task = value.decode("latin-1")
        elif name == b"x-ownkey-fallback":
            fallback = value.decode("latin-1")
        elif name == b"content-type":
            content_type = value.decode("latin-1")
        elif name == b"content-encoding":
            compressed = compressed or value.strip().lower() not in _PLAIN_CODINGS
    asked = Asked(
        dialect=door.dialect,
        model=door.model,
        stream=door.stream,
        counting=door.want == "count",
        content_type=content_type,
        headers=read_headers(headers, door.dialect),
        task=task,
        fallback=fallback,
    )
    token_hash = sha256(token).digest() if token else None
    return Heading(door=door, asked=asked, token=token, token_hash=token_hash, compressed=compressed)
