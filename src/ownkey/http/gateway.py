"""`/v1`: the OpenAI wire format as a raw ASGI application.

A task waits for the client to leave while an answer is made or streamed, and cancels the upstream call then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from ownkey.domain.routing import Operation
from ownkey.domain.settings import Snapshot
from ownkey.domain.usage import new_id
from ownkey.errors import NotFound, OwnkeyError, PermissionDenied, RequestError, TooLarge
from ownkey.http.identity import IN_PROCESS_USER, Identity
from ownkey.http.limit_headers import hold_headers
from ownkey.http.wire_errors import error_body, error_headers, internal_error
from ownkey.services.answer import Answer, AnswerStream
from ownkey.services.client_request import read_request
from ownkey.services.completion import CompletionService
from ownkey.services.model_list import ModelList

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

GATEWAY_SCOPE: Final = "gateway"
_JSON: Final[Header] = (b"content-type", b"application/json")
_EVENTS: Final[Header] = (b"content-type", b"text/event-stream; charset=utf-8")
# An answer is one person's: no cache between here and there may keep it.
_PRIVATE: Final[tuple[Header, ...]] = ((b"cache-control", b"no-store"), (b"vary", b"authorization"))
_OPERATIONS: Final[dict[str, Operation]] = {"/v1/chat/completions": "chat", "/v1/embeddings": "embeddings"}

logger = logging.getLogger(__name__)


class ClientGone(Exception):  # not an error of ours
    """The client closed the connection before its request was complete."""


class Gateway:
    """The ASGI application under `/v1`."""

    def __init__(
        self, *, identity: Identity, completion: CompletionService, models: ModelList, max_body_bytes: int
    ) -> None:
        self._identity, self._completion, self._models = identity, completion, models
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        request_id = new_id()
        exchange = _Exchange(receive, send, request_id)
        try:
            await self._serve(scope, exchange)
        except ClientGone:
            pass
        except OwnkeyError as error:
            logger.info("request %s: %d %s", request_id, error.status, error.code)
            await exchange.fail(error)
        except asyncio.CancelledError:
            if not exchange.client_left:
                raise
        except Exception:
            logger.exception("request %s failed", request_id)
            await exchange.fail(internal_error())
        finally:
            exchange.stop_watching()

    async def _serve(self, scope: Scope, exchange: _Exchange) -> None:
        path, method = scope["path"], scope["method"]
        operation = _OPERATIONS.get(path)
        if operation is not None and method == "POST":
            await self._complete(scope, exchange, operation)
        elif path == "/v1/models" and method == "GET":
            snapshot = await self._recognise(scope)
            await exchange.send_json(await self._models.list_models(snapshot))
        elif path.startswith("/v1/models/") and method == "GET":
            snapshot = await self._recognise(scope)
            name = path[len("/v1/models/") :]
            model = next((one for one in (await self._models.list_models(snapshot))["data"] if one["id"] == name), None)
            if model is None:
                raise NotFound(
                    f"No provider of yours lists a model {name[:100]!r}.", code="model_not_found", param="model"
                )
            await exchange.send_json(model)
        elif operation is not None or path == "/v1/models":
            raise RequestError(f"{method[:10]} is not allowed on {path}.", code="method_not_allowed", http_status=405)
        else:
            raise NotFound(f"There is no {path[:100]} here. OpenAPI: /openapi.json", code="unknown_path")

    async def _recognise(self, scope: Scope) -> Snapshot:
        """The settings of the caller, who may send requests to providers."""
        user_id = scope.get(IN_PROCESS_USER)
        if user_id is not None:
            return await self._identity.load_snapshot(await self._identity.vouch(user_id))
        principal = await self._identity.authenticate(scope["headers"])
        if GATEWAY_SCOPE not in principal.scopes:
            raise PermissionDenied(
                "This token may not send requests to providers. Create one with the scope `gateway`."
            )
        return principal.snapshot or await self._identity.load_snapshot(principal)

    async def _complete(self, scope: Scope, exchange: _Exchange, operation: Operation) -> None:
        snapshot = await self._recognise(scope)
        task = fallback = None
        for name, value in scope["headers"]:
            if name == b"x-ownkey-task":
                task = value.decode("latin-1")
            elif name == b"x-ownkey-fallback":
                fallback = value.decode("latin-1")
        body = await exchange.read_body(scope["headers"], self._max_body_bytes)
        request = read_request(body, operation, task=task, fallback=fallback)
        exchange.watch()
        answer = await self._completion.open(snapshot, request, request_id=exchange.request_id)
        if answer.stream is None:
            await exchange.send_answer(answer)
        else:
            await exchange.send_stream(answer, answer.stream)


class _Exchange:
    """One request and its answer on one connection."""

    __slots__ = ("_receive", "_send", "_started", "_watcher", "client_left", "request_id")

    def __init__(self, receive: Receive, send: Send, request_id: str) -> None:
        self._receive, self._send, self.request_id = receive, send, request_id
        self._started = self.client_left = False
        self._watcher: asyncio.Task[None] | None = None

    async def read_body(self, headers: list[Header], limit: int) -> bytes:
        """The request's body. Raises TooLarge, before reading where the length is announced."""
        for name, value in headers:
            if name == b"content-length" and int(value) > limit:
                raise _too_large(limit)
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise RequestError("A compressed body is not accepted.", http_status=415, code="unsupported_encoding")
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return body
        chunks, size = [body], len(body)
        while message.get("more_body", False):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                raise _too_large(limit)
        return b"".join(chunks)

    def watch(self) -> None:
        """From now on, cancel the current task when the client leaves."""
        task = asyncio.current_task()
        if task is not None:
            self._watcher = asyncio.create_task(self._wait_for_disconnect(task))

    def stop_watching(self) -> None:
        """The answer is complete, or there will be none."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _wait_for_disconnect(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.client_left = True
        task.cancel()

    async def send_answer(self, answer: Answer) -> None:
        """A whole answer."""
        body = answer.body or b""
        self.stop_watching()
        await self._begin(200, [_JSON, (b"content-length", b"%d" % len(body)), *_meta(answer)])
        await self._send({"type": "http.response.body", "body": body})

    async def send_stream(self, answer: Answer, stream: AnswerStream) -> None:
        """A stream, at the pace of the slower side: `send` waits while the client's buffer is full."""
        try:
            await self._begin(200, [_EVENTS, (b"x-accel-buffering", b"no"), *_meta(answer)])
            while (data := await stream.read()) is not None:
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
            self.stop_watching()
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            await asyncio.shield(stream.close())

    async def send_json(self, content: object, status: int = 200, headers: list[Header] | None = None) -> None:
        """A small answer of our own."""
        await self._send_body(status, msgspec.json.encode(content), headers or [])

    async def fail(self, error: OwnkeyError) -> None:
        """An error in the wire format; after the first byte of an answer nothing more can be said."""
        if self._started or self.client_left:
            return
        self.stop_watching()
        await self._send_body(error.status, error_body(error, self.request_id), error_headers(error))

    async def _send_body(self, status: int, body: bytes, headers: list[Header]) -> None:
        request_id = (b"x-ownkey-request-id", self.request_id.encode())
        await self._begin(status, [_JSON, (b"content-length", b"%d" % len(body)), request_id, *headers])
        await self._send({"type": "http.response.body", "body": body})

    async def _begin(self, status: int, headers: list[Header]) -> None:
        self._started = True
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *_PRIVATE]})


def _meta(answer: Answer) -> list[Header]:
    attempt = answer.attempt
    limits = [] if answer.hold is None else hold_headers(answer.hold)
    return [
        *limits,
        (b"x-ownkey-provider", attempt.provider.id.encode()),
        (b"x-ownkey-model", attempt.model.encode()),
        (b"x-ownkey-credential", attempt.payer.encode()),
        (b"x-ownkey-attempts", b"%d" % answer.attempts),
        (b"x-ownkey-request-id", answer.request_id.encode()),
    ]


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit:,} bytes, the limit of this server.")
