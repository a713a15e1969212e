"""Gemini's usage: the prompt includes what was cached, the candidates exclude what was thought."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from ownkey.domain.usage import Tokens
from ownkey.providers.counters import USAGE_LIMIT_BYTES, Count, read_count
from ownkey.providers.unreadable import UNREADABLE


class _Usage(Struct, rename="camel"):
    prompt_token_count: Count = None
    cached_content_token_count: Count = None
    candidates_token_count: Count = None
    thoughts_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    total_token_count: Count = None


_DECODER: Final = msgspec.json.Decoder(_Usage)


def read_usage(raw: bytes) -> Tokens | None:
    """The five counters from a raw `usageMetadata`, or None where it is not one.

    The results of Google's own tools (`toolUsePromptTokenCount`) are input that is not in the prompt's count.
    """
    if len(raw) > USAGE_LIMIT_BYTES:
        return None
    try:
        usage = _DECODER.decode(raw)
    except UNREADABLE:
        return None
    if usage.prompt_token_count is None and usage.candidates_token_count is None:
        return None
    prompt = read_count(usage.prompt_token_count)
    cached = min(read_count(usage.cached_content_token_count), prompt)
    return Tokens(
        input_uncached=prompt - cached + read_count(usage.tool_use_prompt_token_count),
        cache_read=cached,
        output_text=read_count(usage.candidates_token_count),
        output_reasoning=read_count(usage.thoughts_token_count),
    )


def write_usage(tokens: Tokens) -> dict[str, int]:
    """`usageMetadata` for a client."""
    usage = {
        "promptTokenCount": tokens.input_total,
        "candidatesTokenCount": tokens.output_text,
        "totalTokenCount": tokens.input_total + tokens.output_total,
    }
    if tokens.cache_read:
        usage["cachedContentTokenCount"] = tokens.cache_read
    if tokens.output_reasoning:
        usage["thoughtsTokenCount"] = tokens.output_reasoning
    return usage
