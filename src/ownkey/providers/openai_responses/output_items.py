"""The output items of an answer for a client, whole or in the state in which a stream begins and ends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from ownkey.providers.conversation import Citation, Conversation, Logprob, ToolCall
from ownkey.providers.dialect import Call
from ownkey.providers.openai_responses.namespaces import Namespaces, read_namespaces

Status = Literal["in_progress", "completed", "incomplete"]


def write_message(identifier: str, status: Status, content: list[dict[str, Any]]) -> dict[str, Any]:
    """A message of the assistant."""
    return {"id": identifier, "type": "message", "status": status, "content": content, "role": "assistant"}


def write_text(text: str, citations: Sequence[Citation] = (), logprobs: Sequence[Logprob] = ()) -> dict[str, Any]:
    """A text part of a message."""
    return {
        "type": "output_text",
        "annotations": [write_citation(citation, len(text)) for citation in citations],
        "logprobs": [write_logprob(logprob) for logprob in logprobs],
        "text": text,
    }


def write_refusal(text: str) -> dict[str, Any]:
    """A refusal part of a message."""
    return {"type": "refusal", "refusal": text}


class CallNames(Struct, frozen=True):
    """How a client calls its tools: which of them are freeform, and which have a namespace."""

    freeform: frozenset[str]
    namespaces: Namespaces


def read_call_names(call: Call, conversation: Conversation) -> CallNames:
    """The names in a client's request."""
    freeform = frozenset(tool.name for tool in conversation.tools if tool.freeform)
    return CallNames(freeform, read_namespaces(call.body))


def write_call(identifier: str, status: Status, call: ToolCall, names: CallNames) -> dict[str, Any]:
    """A call of a function, or of a freeform tool with its plain input."""
    kind, field = ("custom_tool_call", "input") if call.freeform else ("function_call", "arguments")
    item = {"id": identifier, "type": kind, "status": status, field: call.arguments, "call_id": call.id}
    namespace, name = names.namespaces.get(call.name, (None, call.name))
    return {**item, "name": name, "namespace": namespace} if namespace else {**item, "name": name}


def write_picture(identifier: str, data: str, media_type: str | None) -> dict[str, Any]:
    """A picture that the model drew, in base64."""
    form = (media_type or "image/png").removeprefix("image/")
    item = {"type": "image_generation_call", "status": "completed", "result": data, "output_format": form}
    return {"id": identifier, **item}


def write_citation(citation: Citation, length: int) -> dict[str, Any]:
    """An annotation. Without positions it is about the whole text, which is `length` characters long."""
    return {
        "type": "url_citation",
        "start_index": 0 if citation.start is None else citation.start,
        "end_index": length if citation.end is None else citation.end,
        "url": citation.url,
        "title": citation.title,
    }


def write_logprob(logprob: Logprob) -> dict[str, Any]:
    """One token's likelihood."""
    return {
        **_write_token(logprob),
        "top_logprobs": [_write_token(alternative) for alternative in logprob.alternatives],
    }


def _write_token(logprob: Logprob) -> dict[str, Any]:
    utf8 = logprob.utf8 if logprob.utf8 is not None else tuple(logprob.token.encode("utf-8", "replace"))
    return {"token": logprob.token, "bytes": utf8, "logprob": logprob.logprob}
