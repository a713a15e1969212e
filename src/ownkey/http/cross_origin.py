"""CORS: which pages of other origins may read an answer. Never with cookies: a page gets what its token gives."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Scope

from ownkey.errors import PermissionDenied
from ownkey.http.origins import Origins, find_origin

_METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS: Final = "Authorization, Content-Type, If-Match, X-Ownkey-Panel"
_ANSWER_HEADERS: Final = "Content-Disposition, ETag, Retry-After, X-Ownkey-Request-Id"
# How long a browser may remember the answer to a preflight; an origin that is taken off the list is refused by then.
_MAX_AGE_SECONDS: Final = 600


def preflight_response(scope: Scope, origins: Origins) -> Response | None:
    """The answer to a browser's question before a request from another origin; None for what is none.

    Raises PermissionDenied(wrong_origin) for an origin that is not listed.
    """
    asks = any(name == b"access-control-request-method" for name, _ in scope["headers"])
    if scope["method"] != "OPTIONS" or not asks:
        return None
    if not origins.is_listed(find_origin(scope)):
        raise PermissionDenied("Pages of this origin may not use this server.", code="wrong_origin")
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _REQUEST_HEADERS,
            "access-control-max-age": str(_MAX_AGE_SECONDS),
        },
    )


def add_cors_headers(headers: MutableHeaders, scope: Scope, origins: Origins) -> None:
    """Let a page of a listed origin read this answer. There is no Access-Control-Allow-Credentials, ever."""
    origin = find_origin(scope)
    if origin is not None and origins.is_listed(origin):
        headers["access-control-allow-origin"] = origin
        headers["access-control-expose-headers"] = _ANSWER_HEADERS
        headers["cross-origin-resource-policy"] = "cross-origin"
