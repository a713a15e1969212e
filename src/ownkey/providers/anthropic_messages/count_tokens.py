"""The answer to `/messages/count_tokens`: how many tokens a request would take in.

Its request is a Messages request without what says how to answer (`AnthropicOutbound.write_request` with the operation
`count_tokens`).
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.providers.counters import Count, read_count
from ownkey.providers.dialect import AnswerFailed
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.unreadable import UNREADABLE


class _Answer(Struct):
    input_tokens: Count = None
    type: str | None = None
    error: Raw = Raw(b"null")


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def read_counted(body: bytes) -> int:
    """The tokens in a provider's answer. Raises AnswerFailed for an error, ValueError for anything else."""
    try:
        answer = _ANSWER.decode(body)
    except UNREADABLE:
        raise ValueError("not a count in Anthropic's form") from None
    if answer.type == "error":
        raise AnswerFailed(read_failure_in_answer(bytes(answer.error)))
    if answer.input_tokens is None:
        raise ValueError("a count without a number")
    return read_count(answer.input_tokens)
