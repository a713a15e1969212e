"""A chat completion in the neutral form."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.providers.conversation import Answer, Part, Refusal, Text, Thinking, ToolCall
from ownkey.providers.dialect import AnswerFailed
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.openai_chat.answer_wire import (
    ABSENT,
    WireCall,
    WireFunction,
    WireLogprobs,
    WireMessage,
    details_of,
    first_error,
    is_present,
    new_call_id,
    read_citations,
    read_created,
    read_finish,
    read_logprobs,
    read_word,
    split_content,
    thinking_of,
)
from ownkey.providers.openai_chat.chat_seals import seal_text, seal_value
from ownkey.providers.openai_chat.usage import read_usage
from ownkey.providers.unreadable import UNREADABLE


class _Choice(Struct):
    message: WireMessage | None = None
    finish_reason: str | None = None
    logprobs: WireLogprobs | None = None
    error: Raw = ABSENT


class _GroqExtra(Struct):
    usage: Raw = ABSENT


class _Completion(Struct):
    id: Any = None
    model: Any = None
    created: Any = None
    choices: list[_Choice] | None = None
    usage: Raw = ABSENT
    error: Raw = ABSENT
    x_groq: _GroqExtra | None = None


_COMPLETION: Final = msgspec.json.Decoder(_Completion)


def read_answer(body: bytes, model: str) -> Answer:
    """The neutral form of an answer of `model`. Raises AnswerFailed for an error, else ValueError."""
    try:
        completion = _COMPLETION.decode(body)
    except UNREADABLE:
        raise ValueError("not an answer in the OpenAI form") from None
    raw_usage = completion.usage
    if not is_present(raw_usage) and completion.x_groq is not None:
        raw_usage = completion.x_groq.usage
    tokens = read_usage(bytes(raw_usage)) if is_present(raw_usage) else None
    told = bytes(raw_usage) if tokens is not None else None
    choices = completion.choices
    error = first_error(completion.error, *(choice.error for choice in choices or ()))
    if error is not None:
        raise AnswerFailed(read_failure_in_answer(error), tokens, told)
    if not choices:
        raise ValueError("a chat completion without choices")
    choice = choices[0]
    parts = _read_parts(choice.message or WireMessage(), model)
    return Answer(
        id=read_word(completion.id),
        model=read_word(completion.model, model),
        created=read_created(completion.created),
        parts=parts,
        finish=read_finish(
            choice.finish_reason,
            calls=any(isinstance(part, ToolCall) for part in parts),
            refused=any(isinstance(part, Refusal) for part in parts),
        ),
        tokens=tokens,
        raw_usage=told,
        logprobs=read_logprobs(choice.logprobs),
    )


def _read_parts(message: WireMessage, model: str) -> list[Part]:
    parts: list[Part] = []
    text, inner = split_content(message.content)
    thinking, field = thinking_of(message)
    details = details_of(message)
    if details:
        parts.append(Thinking(text=thinking, seal=seal_value(details, model)))
    elif thinking or inner:
        parts.append(Thinking(text=thinking or inner, seal=seal_text(field, model) if field else None))
    if text:
        parts.append(Text(text=text, citations=read_citations(message.annotations)))
    if message.refusal:
        parts.append(Refusal(text=message.refusal))
    calls = message.tool_calls or ()
    parts += [_read_call(call, model) for call in calls]
    if message.function_call is not None and not calls:
        parts.append(_read_call(WireCall(function=message.function_call), model))
    return parts


def _read_call(call: WireCall, model: str) -> ToolCall:
    seal = seal_value(call.extra_content, model) if isinstance(call.extra_content, dict) else None
    call_id = call.id or new_call_id()
    if call.custom is not None and call.custom.name:
        return ToolCall(id=call_id, name=call.custom.name, arguments=call.custom.input or "", freeform=True, seal=seal)
    function = call.function or WireFunction()
    if not function.name:
        raise ValueError("a tool call without a name")
    return ToolCall(id=call_id, name=function.name, arguments=arguments_text(function.arguments) or "{}", seal=seal)


def arguments_text(arguments: str | dict[str, Any] | None) -> str:
    """Arguments as JSON text, which some providers give as the object itself."""
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""
