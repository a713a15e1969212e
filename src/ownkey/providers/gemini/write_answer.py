"""A whole answer as a `GenerateContentResponse`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from ownkey.providers.conversation import (
    Answer,
    Citation,
    Conversation,
    Logprob,
    Media,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from ownkey.providers.freeform import wrap
from ownkey.providers.gemini.citations import write_grounding
from ownkey.providers.gemini.finish import write_finish
from ownkey.providers.gemini.signatures import UNSIGNED, write_signature
from ownkey.providers.gemini.usage import write_usage
from ownkey.providers.unreadable import UNREADABLE

Fields = dict[str, Any]
Cited = tuple[int, str, Sequence[Citation]]

_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, Raw])
MALFORMED: Final = "MALFORMED_FUNCTION_CALL"


def write_answer(answer: Answer, conversation: Conversation) -> bytes:
    """The response's bytes."""
    parts, cited, broken = _write_parts(answer, shows_thoughts(conversation))
    candidate: Fields = {"content": {"parts": parts or [{"text": ""}], "role": "model"}, "index": 0}
    candidate["finishReason"] = write_finish(answer.finish)
    if broken is not None:
        candidate.update(write_malformed(broken.name, broken.arguments))
    grounding = write_grounding(cited)
    if grounding is not None:
        candidate["groundingMetadata"] = grounding
    if answer.logprobs is not None:
        candidate["logprobsResult"] = write_logprobs(answer.logprobs)
        if answer.logprobs:
            candidate["avgLogprobs"] = sum(entry.logprob for entry in answer.logprobs) / len(answer.logprobs)
    response: Fields = {"candidates": [candidate]}
    if answer.tokens is not None:
        response["usageMetadata"] = write_usage(answer.tokens)
    response["modelVersion"] = answer.model
    response["responseId"] = answer.id
    return msgspec.json.encode(response)


def shows_thoughts(conversation: Conversation) -> bool:
    """Whether the client asked to read thoughts. Sealed ones go out anyway: it must be able to give them back."""
    return conversation.reasoning is not None and conversation.reasoning.show is True


def _write_parts(answer: Answer, shows: bool) -> tuple[list[Fields], list[Cited], ToolCall | None]:
    """The parts, the sources, and a call whose arguments are not an object: Google has no part for such."""
    parts: list[Fields] = []
    cited: list[Cited] = []
    broken = None
    signed = False
    for part in answer.parts:
        if isinstance(part, Text | Refusal):
            if not part.text:
                continue
            if isinstance(part, Text) and part.citations:
                cited.append((len(parts), part.text, part.citations))
            parts.append({"text": part.text})
        elif isinstance(part, Thinking):
            if part.seal is not None or (shows and part.text):
                parts.append(write_thought(part))
        elif isinstance(part, ToolCall):
            written = write_call(part, first=not signed)
            if written is None:
                broken = part
            else:
                signed = True
                parts.append(written)
        elif isinstance(part, Media):
            parts.append({"inlineData": {"mimeType": part.media_type or "", "data": part.data or ""}})
    return parts, cited, broken


def write_thought(thought: Thinking) -> Fields:
    """A thought, with its seal if it has one."""
    written: Fields = {"text": thought.text, "thought": True}
    if thought.seal is not None:
        written["thoughtSignature"] = write_signature(thought.seal)
    return written


def write_call(call: ToolCall, *, first: bool) -> Fields | None:
    """A call; None where its arguments are no object. The first of an answer is always signed, as Gemini wants it."""
    arguments = wrap(call.arguments) if call.freeform else call.arguments.strip() or "{}"
    try:
        _ARGUMENTS.decode(arguments)
    except UNREADABLE:
        return None
    written: Fields = {"functionCall": {"id": call.id, "name": call.name, "args": Raw(arguments.encode())}}
    if call.seal is not None:
        written["thoughtSignature"] = write_signature(call.seal)
    elif first:
        written["thoughtSignature"] = UNSIGNED
    return written


def write_malformed(name: str, arguments: str) -> Fields:
    """Why there is no call, in Google's words."""
    return {"finishReason": MALFORMED, "finishMessage": f"Malformed function call: {name}({arguments})"}


def write_logprobs(logprobs: Sequence[Logprob]) -> Fields:
    """`logprobsResult`."""
    return {
        "chosenCandidates": [_write_token(entry) for entry in logprobs],
        "topCandidates": [{"candidates": [_write_token(other) for other in entry.alternatives]} for entry in logprobs],
    }


def _write_token(entry: Logprob) -> Fields:
    return {"token": entry.token, "logProbability": entry.logprob}
