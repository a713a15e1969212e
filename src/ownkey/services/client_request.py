"""What the gateway reads of a client's body: the few fields that routing needs, and nothing else."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ownkey.domain.routing import AUTO, TASK_PREFIX, Needs, Operation, RouteRequest
from ownkey.domain.settings import check_model, check_task
from ownkey.errors import RequestError

# A token is at least two bytes of JSON on average in every script that was tried (Chinese without escapes: about
# three bytes a token, English: about four), so a quarter of the bytes would overstate and an eighth errs low.
_BYTES_PER_TOKEN: Final = 8
# No model of the catalogue has a smaller context, so below this the size decides nothing.
_SMALLEST_CONTEXT_TOKENS: Final = 4096

Fallback = Literal["on", "off"]


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _ResponseFormat(Struct):
    type: str = ""


class _ChatFields(Struct):
    messages: Raw
    model: str = AUTO
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: Raw | UnsetType = UNSET
    functions: Raw | UnsetType = UNSET
    response_format: _ResponseFormat | None = None


class _EmbeddingFields(Struct):
    input: Raw
    model: str = AUTO


class _Part(Struct):
    type: str = ""


class _Message(Struct):
    role: str
    content: str | list[_Part] | None = None


_CHAT: Final = msgspec.json.Decoder(_ChatFields)
_EMBEDDING: Final = msgspec.json.Decoder(_EmbeddingFields)
_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
_NOTHING: Final = (b"[]", b"null")


class ClientRequest(Struct, frozen=True, kw_only=True):
    """A client's request: its body untouched, and what was read from it."""

    body: bytes
    route: RouteRequest
    stream: bool = False
    wants_usage: bool = False


def read_request(
    body: bytes, operation: Operation, *, task: str | None = None, fallback: str | None = None
) -> ClientRequest:
    """Read a body of `/v1/chat/completions` ("chat") or `/v1/embeddings` ("embeddings").

    `task` and `fallback` ("on" or "off") are the values of the headers `X-Ownkey-Task` and `X-Ownkey-Fallback`.
    Raises RequestError with the name of the faulty field.
    """
    try:
        if not body.isascii():
            body.decode()
        if operation == "embeddings":
            embedding = _EMBEDDING.decode(body)
            return ClientRequest(body=body, route=_route(embedding.model, operation, Needs(), task, fallback))
        fields = _CHAT.decode(body)
        if not bytes(fields.messages).startswith(b"["):
            raise RequestError("The body is not a valid request: `messages` is not a list.", param="messages")
        needs = _needs(body, fields)
    except msgspec.ValidationError as error:
        raise RequestError(_describe(error), param=_field(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RequestError("The body is not valid JSON in UTF-8.") from None
    except RecursionError:
        raise RequestError("The body is nested too deeply.") from None
    return ClientRequest(
        body=body,
        route=_route(fields.model, operation, needs, task, fallback),
        stream=bool(fields.stream),
        wants_usage=bool(fields.stream_options and fields.stream_options.include_usage),
    )


def _route(model: str, operation: Operation, needs: Needs, task: str | None, fallback: str | None) -> RouteRequest:
    name = model.strip() or AUTO
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
        needs=needs,
        allow_fallback=None if fallback is None else fallback == "on",
    )


def _needs(body: bytes, fields: _ChatFields) -> Needs:
    tools = any(raw is not UNSET and bytes(raw) not in _NOTHING for raw in (fields.tools, fields.functions))
    # Quotes inside JSON strings are escaped, so this finds a part's type and hardly ever anything else.
    images = b'"image_url"' in body and _has_image(fields.messages)
    tokens = len(body) // _BYTES_PER_TOKEN
    return Needs(
        tools=tools,
        images=images,
        json_schema=fields.response_format is not None and fields.response_format.type == "json_schema",
        # An image's base64 says nothing about its tokens.
        input_tokens=0 if images or tokens < _SMALLEST_CONTEXT_TOKENS else tokens,
    )


def _has_image(messages: Raw) -> bool:
    return any(
        part.type == "image_url"
        for message in _MESSAGES.decode(messages)
        if isinstance(message.content, list)
        for part in message.content
    )


def _field(error: msgspec.ValidationError) -> str | None:
    """`$.messages` from msgspec's "... - at `$.messages`"; a missing field names itself."""
    text = str(error)
    if " - at `$." in text:
        return text.rsplit(" - at `$.", 1)[1].rstrip("`")
    if " - at `$[" in text:  # the only list that is decoded by itself
        return "messages" + text.rsplit(" - at `$", 1)[1].rstrip("`")
    return text.split("`")[1] if "required field `" in text else None


def _describe(error: msgspec.ValidationError) -> str:
    text, _, _ = str(error).partition(" - at `")
    field = _field(error)
    where = f" (in `{field}`)" if field and "required field" not in text else ""
    return f"The body is not a valid request: {text[:1].lower()}{text[1:]}{where}."
