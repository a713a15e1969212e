"""The usage object of Responses: cached input is inside `input_tokens`, reasoning inside `output_tokens`."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.domain.usage import Tokens
from ownkey.providers.counters import USAGE_LIMIT_BYTES, Count, read_count
from ownkey.providers.unreadable import UNREADABLE


class _InputDetails(Struct):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(Struct):
    reasoning_tokens: Count = None


class _Usage(Struct):
    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


_USAGE: Final = msgspec.json.Decoder(_Usage)


def read_usage(raw: bytes) -> Tokens | None:
    """The five counters from a raw `usage` object, or None where it is not one. Never a negative counter."""
    if len(raw) > USAGE_LIMIT_BYTES:
        return None
    try:
        usage = _USAGE.decode(raw)
    except UNREADABLE:
        return None
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    taken, given = read_count(usage.input_tokens), read_count(usage.output_tokens)
    details = usage.input_tokens_details or _InputDetails()
    cached = min(read_count(details.cached_tokens), taken)
    written = min(read_count(details.cache_write_tokens), taken - cached)
    # Who copied the dialect may count reasoning outside of the output, where only the total shows it.
    hidden = max(read_count(usage.total_tokens) - taken - given, 0)
    inside = usage.output_tokens_details
    reasoning = min(read_count(inside.reasoning_tokens), given) if inside is not None and not hidden else 0
    return Tokens(
        input_uncached=taken - cached - written,
        cache_read=cached,
        cache_write=written,
        output_text=given - reasoning,
        output_reasoning=reasoning + hidden,
    )


def write_usage(tokens: Tokens) -> dict[str, Any]:
    """The usage object for a client."""
    return {
        "input_tokens": tokens.input_total,
        "input_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write},
        "output_tokens": tokens.output_total,
        "output_tokens_details": {"reasoning_tokens": tokens.output_reasoning},
        "total_tokens": tokens.input_total + tokens.output_total,
    }
