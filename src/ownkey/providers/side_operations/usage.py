"""What such an answer says of its cost: tokens of pictures and sound, seconds of sound, units of search."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.usage import Tokens
from ownkey.providers.counters import USAGE_LIMIT_BYTES, Count, read_count
from ownkey.providers.openai_chat.usage import read_usage as read_chat_usage
from ownkey.providers.unreadable import UNREADABLE


class _InputDetails(Struct):
    cached_tokens: Count = None


class _Usage(Struct):
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: _InputDetails | None = None
    # Mistral tells the seconds of sound beside tokens in its chat's words, Cohere its units.
    prompt_tokens: Count = None
    total_tokens: Count = None


class _Meta(Struct):
    billed_units: Raw = Raw(b"null")


class Reported(Struct, frozen=True):
    """The counters where there are any, and the provider's own words."""

    tokens: Tokens | None = None
    raw: bytes | None = None


_USAGE: Final = msgspec.json.Decoder(_Usage)
_META: Final = msgspec.json.Decoder(_Meta)


def read_usage(usage: Raw, meta: Raw) -> Reported:
    """From the answer's `usage`, or Cohere's `meta`; both may be null."""
    raw = bytes(usage)
    if raw == b"null":
        return Reported(raw=_billed_units(bytes(meta)))
    if len(raw) > USAGE_LIMIT_BYTES:
        return Reported()
    try:
        said = _USAGE.decode(raw)
    except UNREADABLE:
        return Reported()
    if said.input_tokens is None and said.output_tokens is None:
        return Reported(read_chat_usage(raw) if said.prompt_tokens is not None else _total(said), raw)
    read, written = read_count(said.input_tokens), read_count(said.output_tokens)
    cached = min(read_count(said.input_tokens_details.cached_tokens) if said.input_tokens_details else 0, read)
    return Reported(Tokens(input_uncached=read - cached, cache_read=cached, output_text=written), raw)


def _total(said: _Usage) -> Tokens | None:
    """Of a ranking by vLLM: there is nothing but input."""
    return None if said.total_tokens is None else Tokens(input_uncached=read_count(said.total_tokens))


def _billed_units(meta: bytes) -> bytes | None:
    if meta == b"null" or len(meta) > USAGE_LIMIT_BYTES:
        return None
    try:
        units = bytes(_META.decode(meta).billed_units)
    except UNREADABLE:
        return None
    return None if units == b"null" else units
