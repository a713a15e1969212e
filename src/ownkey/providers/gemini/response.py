"""A `GenerateContentResponse`, whole or one event of a stream: what is read of it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.usage import new_id
from ownkey.providers.conversation import Logprob

ABSENT: Final = Raw(b"null")


class FunctionCall(Struct):
    """A call; `args` is an object."""

    name: str = ""
    id: str | None = None
    args: Raw = ABSENT


class Blob(Struct, rename="camel"):
    """A picture or sound that the model made."""

    mime_type: str = ""
    data: str = ""


class Part(Struct, rename="camel"):
    """One part: a text (of the answer or, with `thought`, of the reasoning), a call or a blob."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None


class Content(Struct):
    """The parts."""

    parts: list[Part] | None = None


class _Token(Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _TopTokens(Struct):
    candidates: list[_Token] | None = None


class LogprobsResult(Struct, rename="camel"):
    """The tokens, and in their order the likeliest ones in each one's place."""

    chosen_candidates: list[_Token] | None = None
    top_candidates: list[_TopTokens] | None = None


class Candidate(Struct, rename="camel"):
    """One answer."""

    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None
    citation_metadata: Raw = ABSENT
    grounding_metadata: Raw = ABSENT
    logprobs_result: LogprobsResult | None = None


class PromptFeedback(Struct, rename="camel"):
    """Why there is no answer at all."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class Response(Struct, rename="camel"):
    """The whole."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: Raw = ABSENT
    model_version: str | None = None
    response_id: str | None = None
    error: Raw = ABSENT


RESPONSE: Final = msgspec.json.Decoder(Response)
_ANY: Final = msgspec.json.Decoder()
_encode: Final = msgspec.json.Encoder().encode


def present(raw: Raw) -> bytes | None:
    """The bytes of an optional value, None for null."""
    value = bytes(raw)
    return None if value == b"null" else value


def read_arguments(args: Raw) -> str:
    """A call's arguments as JSON text, on one line. Raises what decoding raises."""
    value = present(args)
    if value is None:
        return "{}"
    # Whole answers are written in lines, streams are not.
    return (_encode(_ANY.decode(value)) if b"\n" in value else value).decode()


def read_logprobs(result: LogprobsResult) -> list[Logprob]:
    """The neutral form."""
    chosen, top = result.chosen_candidates or [], result.top_candidates or []
    found = []
    for position, entry in enumerate(chosen):
        others = top[position].candidates or [] if position < len(top) else []
        alternatives = tuple(Logprob(token=other.token, logprob=other.log_probability) for other in others)
        found.append(Logprob(token=entry.token, logprob=entry.log_probability, alternatives=alternatives))
    return found


class CallIds:
    """An id for each call of one answer: Google's, or one that no other call of the conversation has."""

    def __init__(self) -> None:
        self._stem = ""
        self._count = 0

    def take(self, given: str | None) -> str:
        """The next call's id."""
        self._count += 1
        if given:
            return given
        self._stem = self._stem or new_id().replace("-", "")
        return f"call_{self._stem}_{self._count}"
