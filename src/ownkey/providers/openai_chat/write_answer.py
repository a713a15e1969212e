"""A whole answer as a chat completion."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import msgspec

from ownkey.providers.conversation import (
    Answer,
    Citation,
    Conversation,
    Finish,
    Logprob,
    Media,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from ownkey.providers.freeform import unwrap
from ownkey.providers.openai_chat.reasoning_details import write_details
from ownkey.providers.openai_chat.usage import write_usage
from ownkey.providers.translation import FINISH_WORDS

Message = dict[str, Any]


def write_answer(answer: Answer, conversation: Conversation) -> bytes:
    """The bytes of a `chat.completion`."""
    refused = any(isinstance(part, Refusal) for part in answer.parts)
    logprobs = None
    if answer.logprobs is not None:
        logprobs = {"content": [write_logprob(one) for one in answer.logprobs], "refusal": None}
    completion: Message = {
        "id": answer.id or new_completion_id(),
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            {
                "index": 0,
                "message": _write_message(answer, conversation),
                "logprobs": logprobs,
                "finish_reason": finish_reason(answer.finish, refused=refused),
            }
        ],
    }
    if answer.tokens is not None:
        completion["usage"] = write_usage(answer.tokens)
    return msgspec.json.encode(completion)


def new_completion_id() -> str:
    """An id for an answer that came without one."""
    return f"chatcmpl-{os.urandom(14).hex()}"


def finish_reason(finish: Finish, *, refused: bool) -> str:
    """OpenAI's word. A refusal that the model put into words is an ordinary end there."""
    return "stop" if refused and finish == "refusal" else FINISH_WORDS[finish]


def freeform_names(conversation: Conversation) -> frozenset[str]:
    """The tools that take any text: a provider may have known them as functions."""
    return frozenset(tool.name for tool in conversation.tools if tool.freeform)


def write_logprob(given: Logprob) -> Message:
    """One token with its alternatives."""
    return {**_write_token(given), "top_logprobs": [_write_token(one) for one in given.alternatives]}


def _write_token(given: Logprob) -> Message:
    told = given.utf8 if given.utf8 is not None else given.token.encode()
    return {"token": given.token, "logprob": given.logprob, "bytes": list(told)}


def write_annotations(citations: Iterable[Citation], start: int, length: int) -> list[Message]:
    """Citations of a text that begins at `start` of the content and is `length` long."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": citation.url,
                "title": citation.title,
                "start_index": start + (citation.start if citation.start is not None else 0),
                "end_index": start + (citation.end if citation.end is not None else length),
            },
        }
        for citation in citations
    ]


def write_call(call: ToolCall, freeform: frozenset[str]) -> Message:
    """A tool call as it was asked for: `custom` for a freeform tool, else `function`."""
    if call.freeform:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    if call.name in freeform:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": unwrap(call.arguments)}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}


def _write_message(answer: Answer, conversation: Conversation) -> Message:
    texts: list[str] = []
    annotations: list[Message] = []
    length = 0
    thoughts, refusals, pictures = [], [], []
    freeform = freeform_names(conversation)
    calls = []
    for part in answer.parts:
        match part:
            case Text():
                annotations += write_annotations(part.citations, length, len(part.text))
                texts.append(part.text)
                length += len(part.text)
            case Thinking():
                thoughts.append(part.text)
            case ToolCall():
                calls.append(write_call(part, freeform))
            case Refusal():
                refusals.append(part.text)
            case Media():
                pictures.append(_write_picture(part))
    content = "".join(texts) if texts else None
    message: Message = {"role": "assistant", "content": content, "refusal": "".join(refusals) if refusals else None}
    if annotations:
        message["annotations"] = annotations
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    details = write_details(answer.parts)
    if details:
        message["reasoning_details"] = details
    if calls:
        message["tool_calls"] = calls
    if pictures:
        message["images"] = pictures
    return message


def _write_picture(media: Media) -> Message:
    """A picture that the model drew, in the form that OpenRouter gave to this dialect."""
    url = media.url or f"data:{media.media_type or 'image/png'};base64,{media.data or ''}"
    return {"type": "image_url", "image_url": {"url": url}}
