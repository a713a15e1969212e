"""A provider's whole Response in the neutral form."""

from __future__ import annotations

import time

from ownkey.providers.conversation import Answer, Logprob, Part, Refusal, ToolCall
from ownkey.providers.dialect import AnswerFailed
from ownkey.providers.openai_responses.wire_items import RESPONSE, WireItem, finish_of, read_item
from ownkey.providers.unreadable import UNREADABLE


def read_answer(body: bytes) -> Answer:
    """The answer. Raises AnswerFailed when the response failed, ValueError when it is not one."""
    try:
        response = RESPONSE.decode(body)
        items = [read_item(raw) for raw in response.output or ()]
    except UNREADABLE:
        raise ValueError("not an answer in the form of Responses") from None
    failure, tokens = response.failure, response.tokens
    raw_usage = response.raw_usage if tokens is not None else None
    if failure is not None:
        raise AnswerFailed(failure, tokens, raw_usage)
    if response.output is None or response.status in ("queued", "in_progress"):
        raise ValueError("a response without output")
    parts: list[Part] = [part for item in items for part in item.read()]
    called = any(isinstance(part, ToolCall) for part in parts)
    refused = any(isinstance(part, Refusal) for part in parts)
    return Answer(
        id=response.id or "",
        model=response.model or "",
        created=int(response.created_at or time.time()),
        parts=parts,
        finish=finish_of(response, called=called, refused=refused),
        tokens=tokens,
        raw_usage=raw_usage,
        logprobs=_read_logprobs(items) or None,
    )


def _read_logprobs(items: list[WireItem]) -> list[Logprob]:
    return [
        token.read()
        for item in items
        if item.type == "message"
        for content in item.content or ()
        for token in content.logprobs or ()
    ]
