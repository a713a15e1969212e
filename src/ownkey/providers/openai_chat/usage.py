"""Token counts in the `usage` object of the OpenAI dialect, whose providers agree on little but its name.

What is counted inside what, by provider:

* OpenAI, Groq, DeepSeek, Mistral, OpenRouter: `prompt_tokens` includes cached tokens (and those written to the
  cache), `completion_tokens` includes reasoning.
* xAI: `completion_tokens` excludes `completion_tokens_details.reasoning_tokens`; `total_tokens` includes both.
* Gemini: `completion_tokens` excludes thinking, which shows in `total_tokens` only.
* Perplexity: `reasoning_tokens` and `citation_tokens` stand beside the others, outside of `total_tokens`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.domain.usage import Tokens
from ownkey.providers.counters import USAGE_LIMIT_BYTES, Count, read_count
from ownkey.providers.unreadable import UNREADABLE


class _PromptDetails(Struct):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _CompletionDetails(Struct):
    reasoning_tokens: Count = None


class _Usage(Struct):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    # Moonshot and Together put this at the top, DeepSeek calls it otherwise.
    cached_tokens: Count = None
    prompt_cache_hit_tokens: Count = None
    reasoning_tokens: Count = None
    citation_tokens: Count = None


_DECODER: Final = msgspec.json.Decoder(_Usage)
_NO_DETAILS: Final = _PromptDetails()


def read_usage(raw: bytes) -> Tokens | None:
    """The five counters from a raw `usage` object, or None where it is not one.

    A provider that contradicts itself never yields a negative counter.
    """
    if len(raw) > USAGE_LIMIT_BYTES:
        return None
    try:
        usage = _DECODER.decode(raw)
    except UNREADABLE:
        return None
    if usage.prompt_tokens is None and usage.completion_tokens is None:
        return None
    prompt, completion = read_count(usage.prompt_tokens), read_count(usage.completion_tokens)
    details = usage.prompt_tokens_details or _NO_DETAILS
    cached = details.cached_tokens or usage.prompt_cache_hit_tokens or usage.cached_tokens
    cached = min(read_count(cached), prompt) if cached else 0
    written = min(read_count(details.cache_write_tokens), prompt - cached) if details.cache_write_tokens else 0
    text, reasoning = _split_output(usage, prompt, completion)
    return Tokens(
        input_uncached=prompt - cached - written,
        cache_read=cached,
        cache_write=written,
        output_text=text,
        output_reasoning=reasoning,
    )


def write_usage(tokens: Tokens) -> dict[str, Any]:
    """The `usage` object for a client, where the parts are inside the totals."""
    return {
        "prompt_tokens": tokens.input_total,
        "completion_tokens": tokens.output_total,
        "total_tokens": tokens.input_total + tokens.output_total,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write},
        "completion_tokens_details": {"reasoning_tokens": tokens.output_reasoning},
    }


def _split_output(usage: _Usage, prompt: int, completion: int) -> tuple[int, int]:
    """Output as (text, reasoning)."""
    if usage.completion_tokens_details is None and (usage.reasoning_tokens or usage.citation_tokens):
        return completion + read_count(usage.citation_tokens), read_count(usage.reasoning_tokens)
    hidden = read_count(usage.total_tokens) - prompt - completion
    if hidden > 0:
        return completion, hidden
    details = usage.completion_tokens_details
    if details is None or not details.reasoning_tokens:
        return completion, 0
    reasoning = min(read_count(details.reasoning_tokens), completion)
    return completion - reasoning, reasoning
