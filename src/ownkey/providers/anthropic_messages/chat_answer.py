"""From Claude's answer to a chat completion."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.usage import Tokens
from ownkey.providers.anthropic_messages.usage import decode_usage
from ownkey.providers.dialect import AnswerFailed, Decoded
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.unreadable import UNREADABLE

_ABSENT: Final = Raw(b"null")

# `pause_turn` ends a turn of server tools, which are never asked for.
FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Block(Struct):
    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _Answer(Struct):
    type: str
    id: str = ""
    model: str = ""
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def openai_usage(tokens: Tokens) -> dict[str, Any]:
    """The counters in OpenAI's form, where the parts are inside the totals."""
    return {
        "prompt_tokens": tokens.input_total,
        "completion_tokens": tokens.output_total,
        "total_tokens": tokens.input_total + tokens.output_total,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write},
        "completion_tokens_details": {"reasoning_tokens": tokens.output_reasoning},
    }


def finish_reason(stop_reason: str | None) -> str | None:
    """OpenAI's word for why the answer ended; an unknown one is an ordinary end."""
    return FINISH_REASONS.get(stop_reason, "stop") if stop_reason else None


def decode_answer(body: bytes) -> Decoded:
    """A chat completion from a Messages answer. Raises AnswerFailed for an error, else ValueError."""
    try:
        answer = _ANSWER.decode(body)
    except UNREADABLE:
        raise ValueError("not an answer in Anthropic's form") from None
    if answer.type == "error":
        raise AnswerFailed(read_failure_in_answer(bytes(answer.error)))
    if answer.content is None:
        raise ValueError("a message without content")
    raw_usage = bytes(answer.usage)
    usage = decode_usage(raw_usage)
    reason = finish_reason(answer.stop_reason)
    completion: dict[str, Any] = {
        "id": answer.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": answer.model,
        "choices": [
            {"index": 0, "message": _read_message(answer.content), "logprobs": None, "finish_reason": reason or "stop"}
        ],
    }
    tokens = usage.tokens if usage is not None else None
    if tokens is not None:
        completion["usage"] = openai_usage(tokens)
    return Decoded(
        body=msgspec.json.encode(completion),
        tokens=tokens,
        raw_usage=raw_usage if tokens else None,
        finish_reason=reason,
    )


def _read_message(blocks: list[_Block]) -> dict[str, Any]:
    texts = [block.text for block in blocks if block.type == "text"]
    thoughts = "".join(block.thinking for block in blocks if block.type == "thinking")
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": bytes(block.input).decode()},
        }
        for block in blocks
        if block.type == "tool_use"
    ]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message
