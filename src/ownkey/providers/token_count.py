"""Counting the tokens of a request without answering it: the providers' own endpoints for that.

The dialects' packages write and read such requests (operation `count_tokens`), in a pass-through and in a translation.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.provider import Dialect, Provider
from ownkey.errors import RequestError
from ownkey.providers.adapters import get_adapter
from ownkey.providers.counters import Count, read_count
from ownkey.providers.dialect import Call
from ownkey.providers.gemini.count_tokens import write_counted as write_google_count
from ownkey.providers.unreadable import UNREADABLE

COUNT: Final = "count_tokens"


class _Counted(Struct):
    input_tokens: Count = None
    total_tokens: Count = field(default=None, name="totalTokens")


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
    return get_adapter(call.dialect, dialect, COUNT).encode(provider, base_url, replace(call, operation=COUNT))


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
        return write_google_count(tokens)
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        return msgspec.json.encode({"input_tokens": tokens})
    if dialect is Dialect.OPENAI_RESPONSES:
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})
    raise RequestError("Chat completions have no way to count tokens.")
