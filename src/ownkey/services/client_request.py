"""What the gateway reads of a client's request: the little that routing needs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from msgspec import Raw, Struct
from msgspec.structs import replace

from ownkey.domain.provider import Dialect
from ownkey.domain.routing import AUTO, TASK_PREFIX, TEXT_OPERATIONS, Operation, RouteRequest
from ownkey.domain.settings import check_model, check_task
from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages import peek as anthropic_messages
from ownkey.providers.gemini import peek as gemini
from ownkey.providers.openai_chat import peek as openai_chat
from ownkey.providers.openai_responses import peek as openai_responses
from ownkey.providers.peek import Peek
from ownkey.providers.side_operations import peek as side_operations

Fallback = Literal["on", "off"]

_PEEKS: Final[dict[tuple[Dialect, str], Callable[[bytes], Peek]]] = {
    (Dialect.OPENAI_CHAT, "chat"): openai_chat.peek,
    (Dialect.OPENAI_RESPONSES, "chat"): openai_responses.peek,
    (Dialect.ANTHROPIC_MESSAGES, "chat"): anthropic_messages.peek,
    (Dialect.GEMINI, "chat"): gemini.peek,
    (Dialect.OPENAI_CHAT, "embeddings"): openai_chat.peek_embeddings,
    (Dialect.GEMINI, "embeddings"): gemini.peek_embeddings,
}


class ClientRequest(Struct, frozen=True, kw_only=True):
    """A client's request: its body untouched, and what was read from it.

    `headers` are those of the client that a provider of the same dialect may see.
    """

    body: bytes
    route: RouteRequest
    dialect: Dialect = Dialect.OPENAI_CHAT
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: bool = False
    wants_usage: bool = False
    fields: Mapping[str, Raw] | None = None


class Asked(Struct, frozen=True, kw_only=True):
    """What a request says outside of its body.

    `model` and `stream` are those of a path that names them (Gemini's). `counting`: the tokens of the request are to be
    counted. `task` and `fallback` ("on", "off" or "none") are the
    values of the headers `X-Ownkey-Task` and `X-Ownkey-Fallback`.
    """

    dialect: Dialect = Dialect.OPENAI_CHAT
    model: str | None = None
    stream: bool | None = None
    counting: bool = False
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    task: str | None = None
    fallback: str | None = None


_PLAIN: Final = Asked()


def read_request(body: bytes, operation: Operation, asked: Asked = _PLAIN) -> ClientRequest:
    """Read a body of an operation, in the client's dialect. Raises RequestError with the name of the faulty field."""
    if asked.counting and asked.dialect is Dialect.GEMINI:
        seen = gemini.peek_count(body)
    elif operation in TEXT_OPERATIONS:
        seen = _PEEKS[asked.dialect, operation](body)
    else:
        seen = side_operations.peek(body, operation, asked.content_type)  # type: ignore[arg-type]
    if asked.model is not None:
        seen = replace(seen, model=asked.model, stream=bool(asked.stream))
    return ClientRequest(
        body=body,
        route=_route(seen, operation, asked.task, asked.fallback),
        dialect=asked.dialect,
        content_type=asked.content_type,
        headers=asked.headers,
        stream=seen.stream,
        wants_usage=seen.wants_usage,
        fields=seen.fields,
    )


def _route(seen: Peek, operation: Operation, task: str | None, fallback: str | None) -> RouteRequest:
    name = seen.model.strip() or AUTO
    if name[: len(TASK_PREFIX)].lower() == TASK_PREFIX:
        name = TASK_PREFIX + check_task(name[len(TASK_PREFIX) :])
    elif name.lower() == AUTO:
        name = AUTO
    else:
        check_model(name)
    if fallback is not None:
        fallback = fallback.strip().lower()
        if fallback not in ("on", "off", "none"):
            raise RequestError("X-Ownkey-Fallback is either `on` or `off` (or `none`).", param="X-Ownkey-Fallback")
    return RouteRequest(
        model=name,
        operation=operation,
        task=check_task(task) if task else None,
        needs=seen.needs,
        allow_fallback=None if fallback is None else fallback == "on",
    )
