"""`countTokens`: how many tokens a request would take in.

Its request is a `GenerateContentRequest` in a wrapper (`GeminiOutbound.write_request` with the operation
`count_tokens`); clients that count nothing but contents leave the wrapper out.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.providers.counters import Count, read_count
from ownkey.providers.dialect import AnswerFailed
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.gemini.fields import read_object
from ownkey.providers.gemini.models import resource_name
from ownkey.providers.unreadable import UNREADABLE

WRAPPER: Final = "generateContentRequest"
# What counting takes: the rest says how to answer, and for how much.
_COUNTED: Final = ("contents", "systemInstruction", "tools", "toolConfig", "generationConfig")


class _Answer(Struct, rename="camel"):
    total_tokens: Count = None
    error: Raw = Raw(b"null")


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def wrap_request(request: dict[str, Any], model: str) -> dict[str, Any]:
    """The body that counts a request."""
    counted = {name: request[name] for name in _COUNTED if name in request}
    return {WRAPPER: {"model": resource_name(model), **counted}}


def unwrap_request(fields: dict[str, Any]) -> dict[str, Any]:
    """The request that a client's body is about. Raises RequestError."""
    wrapped = fields.get(WRAPPER)
    return fields if wrapped is None else read_object(wrapped, WRAPPER)


def write_counted(tokens: int) -> bytes:
    """The answer for a client, such as `{"totalTokens":14}`."""
    return msgspec.json.encode({"totalTokens": tokens})


def read_counted(body: bytes) -> int:
    """The tokens in a provider's answer. Raises AnswerFailed for an error, ValueError for anything else."""
    try:
        answer = _ANSWER.decode(body)
    except UNREADABLE:
        raise ValueError("not a count in Gemini's form") from None
    if bytes(answer.error) != b"null":
        raise AnswerFailed(read_failure_in_answer(body))
    if answer.total_tokens is None:
        raise ValueError("a count without a number")
    return read_count(answer.total_tokens)
