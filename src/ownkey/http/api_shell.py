"""The outer skin of the management API: request id, identity, other origins, size limit, headers, and no traceback
ever."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Final, Protocol

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ownkey.domain.usage import new_id
from ownkey.errors import OwnkeyError, RequestError, TooLarge
from ownkey.http.cross_origin import add_cors_headers, preflight_response
from ownkey.http.identity import Principal
from ownkey.http.origins import Origins
from ownkey.http.problems import error_response, problem_response

MAX_BODY_BYTES: Final = 256 * 1024
REQUEST_ID_HEADER: Final = "x-ownkey-request-id"
_GUARDED_PREFIX: Final = "/api"
# Nobody is known yet here. What changes something checks for itself where it comes from.
_OPEN_PREFIX: Final = "/api/sign-in"
# What an answer holds is data: should a browser be led to show it as a page, nothing in it runs or is framed.
_NOTHING_TO_SHOW: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"

logger = logging.getLogger(__name__)


class Authenticator(Protocol):
    """Says who sent a request."""

    async def authenticate(self, scope: Scope) -> Principal:
        """The caller. Raises AuthError or StorageError."""
        ...


class ApiShell:
    """ASGI middleware. Who is asking is settled before a single byte of the body is read."""

    def __init__(
        self, app: ASGIApp, *, identity: Authenticator, origins: Origins, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self._app, self._identity, self._origins, self._max_body_bytes = app, identity, origins, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        request_id = state.setdefault("request_id", new_id())
        reply = _Reply(send, request_id, scope, self._origins)
        try:
            preflight = preflight_response(scope, self._origins)
            if preflight is not None:
                await preflight(scope, receive, reply)
                return
            if _is_under(scope["path"], _GUARDED_PREFIX) and not _is_under(scope["path"], _OPEN_PREFIX):
                state["principal"] = await self._identity.authenticate(scope)
            body = await _read_body(scope, receive, self._max_body_bytes)
            if body is not None:
                await self._app(scope, _replay(body, receive), reply)
        except OwnkeyError as error:
            await error_response(request_id, error)(scope, receive, reply)
        except Exception:
            logger.exception("request %s failed", request_id)
            if reply.started:
                raise
            response = problem_response(
                request_id, 500, "Something went wrong on our side. Nothing was changed.", code="internal_error"
            )
            await response(scope, receive, reply)


class _Reply:
    """Adds the headers that every answer has."""

    def __init__(self, send: Send, request_id: str, scope: Scope, origins: Origins) -> None:
        self._send, self._request_id, self._scope, self._origins = send, request_id, scope, origins
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            if message["status"] == 403:
                self._note_refusal()
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers["cache-control"] = "no-store"
            headers["x-content-type-options"] = "nosniff"
            headers["content-security-policy"] = _NOTHING_TO_SHOW
            headers[REQUEST_ID_HEADER] = self._request_id
            headers["cross-origin-resource-policy"] = "same-origin"
            headers.add_vary_header("Authorization, Cookie, Origin")
            add_cors_headers(headers, self._scope, self._origins)
        await self._send(message)

    def _note_refusal(self) -> None:
        """For whoever watches over the server: somebody asked for what they may not."""
        scope, principal = self._scope, self._scope["state"].get("principal")
        who = "nobody" if principal is None else f"user {principal.user_id!r} (by {principal.via})"
        logger.warning("%s may not %s %r; request %s", who, scope["method"], scope["path"], self._request_id)


def _is_under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


async def _read_body(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None when the client left before its end.

    Raises TooLarge as soon as it is known to be beyond the limit, and RequestError(unsupported_encoding).
    """
    too_large = TooLarge(f"The body is too large: at most {limit} bytes.")
    for name, value in scope["headers"]:
        # The length is compared first: int() refuses more than 4,300 digits.
        if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > limit):
            raise too_large
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise RequestError("A compressed body is not accepted.", http_status=415, code="unsupported_encoding")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise too_large
        if not message.get("more_body", False):
            return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive channel that gives the body once and then what really happens on the connection."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
