"""Counting the tokens of a request without answering it: the providers' own endpoints for that.

The dialects' packages write and read such requests (operation `count_tokens`), in a pass-through and in a translation.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct, field
from msgspec.structs import replace

from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.provider import Dialect, Provider
from ownkey.errors import RequestError
from ownkey.providers.adapters import get_adapter, get_inbound, get_outbound
from ownkey.providers.counters import Count, read_count
from ownkey.providers.dialect import Call
from ownkey.providers.unreadable import UNREADABLE

COUNT: Final = "count_tokens"

# What OpenAI's endpoint takes: the rest says how to answer.
_RESPONSES_FIELDS: Final = frozenset(
    {
        "conversation",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)


class _Counted(Struct):
    input_tokens: Count = None
    total_tokens: Count = field(default=None, name="totalTokens")


_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_COUNTED: Final = msgspec.json.Decoder(_Counted)


def choose_count_dialect(provider: Provider) -> Dialect | None:
    """The dialect of a provider's counting endpoint; None where it has none."""
    if not provider.counts_tokens:
        return None
    if provider.dialect is Dialect.OPENAI_CHAT:
        return Dialect.OPENAI_RESPONSES if Dialect.OPENAI_RESPONSES in provider.also else None
    return provider.dialect


def build_count_request(provider: Provider, base_url: str, call: Call, dialect: Dialect) -> UpstreamRequest:
    """The request to the endpoint. Raises RequestError for what the dialect cannot carry."""
    counting = replace(call, operation=COUNT)
    if dialect is not Dialect.OPENAI_RESPONSES or call.dialect is dialect:
        return get_adapter(call.dialect, dialect, COUNT).encode(provider, base_url, counting)
    conversation = get_inbound(call.dialect).read_request(counting)
    request = get_outbound(dialect).write_request(provider, base_url, call, conversation)
    fields = _BODY.decode(request.body if isinstance(request.body, bytes) else b"".join(request.body))
    kept = {name: value for name, value in fields.items() if name in _RESPONSES_FIELDS}
    return replace(request, url=request.url + "/input_tokens", body=msgspec.json.encode(kept))


def read_counted(body: bytes) -> int:
    """The number in an endpoint's answer. Raises ValueError where there is none."""
    try:
        counted = _COUNTED.decode(body)
    except UNREADABLE:
        raise ValueError("not a count") from None
    number = counted.input_tokens if counted.input_tokens is not None else counted.total_tokens
    if number is None:
        raise ValueError("a count without a number")
    return read_count(number)


def write_counted(tokens: int, dialect: Dialect) -> bytes:
    """The answer in a client's form."""
    if dialect is Dialect.GEMINI:
        return msgspec.json.encode({"totalTokens": tokens})
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        return msgspec.json.encode({"input_tokens": tokens})
    if dialect is Dialect.OPENAI_RESPONSES:
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})
    raise RequestError("Chat completions have no way to count tokens.")
