"""What the gateway reads of a client's body: the few fields that routing needs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from ownkey.domain.provider import Dialect
from ownkey.domain.routing import AUTO, TASK_PREFIX, Operation, RouteRequest
from ownkey.domain.settings import check_model, check_task
from ownkey.errors import RequestError
from ownkey.providers.openai_chat import peek as openai_chat
from ownkey.providers.peek import Peek

Fallback = Literal["on", "off"]

_PEEKS: Final[dict[tuple[Dialect, Operation], Callable[[bytes], Peek]]] = {
    (Dialect.OPENAI_CHAT, "chat"): openai_chat.peek,
    (Dialect.OPENAI_CHAT, "embeddings"): openai_chat.peek_embeddings,
}


class ClientRequest(Struct, frozen=True, kw_only=True):
    """A client's request: its body untouched, and what was read from it."""

    body: bytes
    route: RouteRequest
    dialect: Dialect = Dialect.OPENAI_CHAT
    stream: bool = False
    wants_usage: bool = False


def read_request(
    body: bytes,
    operation: Operation,
    dialect: Dialect = Dialect.OPENAI_CHAT,
    *,
    task: str | None = None,
    fallback: str | None = None,
) -> ClientRequest:
    """Read a body of an operation as the client's dialect writes it.

    `task` and `fallback` ("on" or "off") are the values of the headers `X-Ownkey-Task` and `X-Ownkey-Fallback`.
    Raises RequestError with the name of the faulty field.
    """
    seen = _PEEKS[dialect, operation](body)
    return ClientRequest(
        body=body,
        route=_route(seen, operation, task, fallback),
        dialect=dialect,
        stream=seen.stream,
        wants_usage=seen.wants_usage,
    )


def _route(seen: Peek, operation: Operation, task: str | None, fallback: str | None) -> RouteRequest:
    name = seen.model.strip() or AUTO
    if name.startswith(TASK_PREFIX):
        name = TASK_PREFIX + check_task(name[len(TASK_PREFIX) :])
    elif name != AUTO:
        check_model(name)
    if fallback not in (None, "on", "off"):
        raise RequestError("X-Ownkey-Fallback is either `on` or `off`.", param="X-Ownkey-Fallback")
    return RouteRequest(
        model=name,
        operation=operation,
        task=check_task(task) if task else None,
        needs=seen.needs,
        allow_fallback=None if fallback is None else fallback == "on",
    )
