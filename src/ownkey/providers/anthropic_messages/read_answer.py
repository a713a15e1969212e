"""Claude's answer in the neutral form."""

from __future__ import annotations

import time
from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.provider import Dialect
from ownkey.providers.anthropic_messages.stop_reasons import read_stop_reason
from ownkey.providers.anthropic_messages.usage import decode_usage
from ownkey.providers.conversation import Answer, Citation, Part, Refusal, Seal, Text, Thinking, ToolCall
from ownkey.providers.dialect import AnswerFailed
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.unreadable import UNREADABLE

_ABSENT: Final = Raw(b"null")


class Source(Struct):
    """One citation of a text. Only those of the web have a meaning outside of Anthropic's dialect."""

    type: str
    url: str | None = None
    title: str | None = None


class StopDetails(Struct):
    """Why Claude refused."""

    explanation: str | None = None


class _Block(Struct):
    type: str
    text: str = ""
    citations: list[Source] | None = None
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _Answer(Struct):
    type: str
    id: str = ""
    model: str = ""
    content: list[_Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def read_answer(body: bytes) -> Answer:
    """The answer of a 2xx body. Raises AnswerFailed for an error, else ValueError."""
    try:
        answer = _ANSWER.decode(body)
    except UNREADABLE:
        raise ValueError("not an answer in Anthropic's form") from None
    if answer.type == "error":
        raise AnswerFailed(read_failure_in_answer(bytes(answer.error)))
    if answer.content is None:
        raise ValueError("a message without content")
    parts = [part for block in answer.content if (part := _read_block(block)) is not None]
    if answer.stop_details is not None and answer.stop_details.explanation:
        parts.append(Refusal(text=answer.stop_details.explanation))
    raw_usage = bytes(answer.usage)
    usage = decode_usage(raw_usage)
    return Answer(
        id=answer.id,
        model=answer.model,
        created=int(time.time()),
        parts=parts,
        finish=read_stop_reason(answer.stop_reason),
        stop_sequence=answer.stop_sequence,
        tokens=usage.tokens if usage is not None else None,
        raw_usage=raw_usage if usage is not None else None,
    )


def read_source(source: Source) -> Citation | None:
    """A source on the web, None for any other."""
    if source.type != "web_search_result_location" or not source.url:
        return None
    return Citation(url=source.url, title=source.title or "")


def sign(signature: str) -> Seal | None:
    """The seal of a thinking block, None for an empty signature."""
    return Seal(Dialect.ANTHROPIC_MESSAGES, signature) if signature else None


def _read_block(block: _Block) -> Part | None:
    """A block's part, None for what nobody asked for: a server tool's block, or an empty text."""
    match block.type:
        case "text":
            cited = [citation for source in block.citations or () if (citation := read_source(source)) is not None]
            return Text(text=block.text, citations=cited) if block.text else None
        case "thinking":
            return Thinking(text=block.thinking, seal=sign(block.signature))
        case "redacted_thinking":
            return Thinking(seal=Seal(Dialect.ANTHROPIC_MESSAGES, block.data, redacted=True))
        case "tool_use":
            return ToolCall(id=block.id, name=block.name, arguments=bytes(block.input).decode())
        case _:
            return None
