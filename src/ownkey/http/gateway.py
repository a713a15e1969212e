"""`/v1` and `/v1beta`: the wire formats of OpenAI, Anthropic and Google as a raw ASGI application.

A task waits for the client to leave while an answer is made or streamed, and cancels the upstream call then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ownkey.domain.settings import Snapshot
from ownkey.domain.usage import new_id
from ownkey.errors import OwnkeyError, PermissionDenied, RequestError
from ownkey.http.answer_head import attempt_headers
from ownkey.http.body_room import BodyRoom
from ownkey.http.doors import Door, find_dialect, find_door, is_gateway_path
from ownkey.http.exchange import CONNECTION, ClientGone, Exchange, Receive, Scope, Send
from ownkey.http.heading import Heading, read_heading
from ownkey.http.identity import IN_PROCESS_USER, Identity
from ownkey.http.model_forms import write_list, write_model
from ownkey.http.wire_errors import internal_error
from ownkey.providers.gemini.json_array import JSONArrayStream
from ownkey.services.bulkhead import Bulkhead
from ownkey.services.client_request import read_request
from ownkey.services.completion import CompletionService
from ownkey.services.model_list import ModelList
from ownkey.services.running_calls import HOST, Access
from ownkey.services.token_count import TokenCounter

__all__ = ["Gateway", "Receive", "Scope", "Send", "is_gateway_path"]

GATEWAY_SCOPE: Final = "gateway"

logger = logging.getLogger(__name__)


class Gateway:
    """The ASGI application under `/v1` and `/v1beta`."""

    def __init__(
        self,
        *,
        identity: Identity,
        completion: CompletionService,
        counter: TokenCounter,
        models: ModelList,
        max_body_bytes: int,
        body_room: BodyRoom,
        bulkhead: Bulkhead,
    ) -> None:
        self._identity, self._completion, self._counter, self._models = identity, completion, counter, models
        self._max_body_bytes, self._body_room, self._bulkhead = max_body_bytes, body_room, bulkhead

    @property
    def waiting(self) -> int:
        """How many requests wait for others of their users to end."""
        return self._bulkhead.waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        request_id = new_id()
        exchange = Exchange(receive, send, request_id, scope.get(CONNECTION))
        try:
            await self._serve(scope, exchange, _read_heading(scope, exchange))
        except ClientGone:
            pass
        except OwnkeyError as error:
            # Who asks without end must not fill the log with it.
            level = logging.DEBUG if error.status == 429 else logging.INFO
            logger.log(level, "request %s: %d %s", request_id, error.status, error.code)
            await exchange.fail(error)
        except asyncio.CancelledError:
            if not (exchange.client_left or await exchange.say_goodbye()):
                raise
        except Exception:
            logger.exception("request %s failed", request_id)
            await exchange.fail(internal_error())
        finally:
            exchange.stop_watching()
            if exchange.held_bytes:
                self._body_room.give_back(exchange.held_bytes)

    async def _serve(self, scope: Scope, exchange: Exchange, heading: Heading) -> None:
        snapshot, access = await self._recognise(scope, heading)
        user_id, bulkhead = snapshot.user_id, self._bulkhead
        if not bulkhead.enter(user_id):
            await bulkhead.wait(user_id)
        try:
            await self._answer(scope, exchange, heading, snapshot, access)
        finally:
            bulkhead.leave(user_id)

    async def _answer(
        self, scope: Scope, exchange: Exchange, heading: Heading, snapshot: Snapshot, access: Access
    ) -> None:
        door = heading.door
        if door.want == "models":
            await self._show_models(scope, exchange, door, snapshot)
            return
        if heading.compressed:
            raise RequestError("A compressed body is not accepted.", http_status=415, code="unsupported_encoding")
        body = await exchange.read_body(scope["headers"], self._max_body_bytes, self._body_room)
        request = read_request(body, door.operation, heading.asked)
        if not self._identity.is_current(snapshot):
            # Something changed while the body came in, which may take as long as the client likes.
            snapshot, access = await self._recognise(scope, heading)
        presence = exchange.watch()
        if door.want == "count":
            count = await self._counter.count(snapshot, request)
            headers = attempt_headers(count.attempt)
            if count.estimated:
                headers.append((b"x-ownkey-estimated", b"true"))
            exchange.stop_watching()
            await exchange.send_bytes(200, count.body, headers)
            return
        answer = await self._completion.open(
            snapshot, request, request_id=exchange.request_id, access=access, presence=presence
        )
        if answer.stream is None:
            await exchange.send_answer(answer)
        else:
            await exchange.send_stream(answer, answer.stream, JSONArrayStream() if door.as_array else None)

    async def _recognise(self, scope: Scope, heading: Heading) -> tuple[Snapshot, Access]:
        """The settings of the caller, who may send requests to providers, and what let them in."""
        user_id = scope.get(IN_PROCESS_USER)
        if user_id is not None:
            return await self._identity.load_snapshot(await self._identity.vouch(user_id)), HOST
        principal = self._identity.find(heading.token_hash) if heading.token_hash is not None else None
        if principal is None:
            principal = await self._identity.recognise(heading.token)
        if GATEWAY_SCOPE not in principal.scopes:
            raise PermissionDenied(
                "This token may not send requests to providers. Create one with the scope `gateway`."
            )
        return principal.snapshot or await self._identity.load_snapshot(principal), principal.access

    async def _show_models(self, scope: Scope, exchange: Exchange, door: Door, snapshot: Snapshot) -> None:
        query = scope.get("query_string", b"").decode("latin-1")
        if door.model is not None:
            found = await self._models.get_model(snapshot, door.model)
            await exchange.send_json(write_model(found, door.dialect))
            return
        listed = await self._models.list_models(snapshot)
        headers = [(b"age", b"%d" % listed.age_seconds)]
        await exchange.send_json(write_list(listed, door.dialect, query), headers)


def _read_heading(scope: Scope, exchange: Exchange) -> Heading:
    """What is asked for, and by whom. Raises as `read_heading`; the exchange knows then in which form to say so."""
    connection = scope.get(CONNECTION)
    heading: Heading | None = connection.heading if connection is not None else None
    if heading is None:
        headers = scope["headers"]
        try:
            door = find_door(scope["method"], scope["path"], scope.get("query_string", b""), headers)
        except OwnkeyError:
            exchange.dialect = find_dialect(scope["path"], headers)
            raise
        exchange.dialect = door.dialect
        heading = read_heading(scope, door)
        if connection is not None:
            connection.heading = heading
    else:
        exchange.dialect = heading.door.dialect
    return heading
