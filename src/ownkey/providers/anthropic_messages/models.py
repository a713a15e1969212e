"""What a Claude model's version says about the requests it takes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# "claude-sonnet-4-5-20250929", "claude-3-7-sonnet-latest", "anthropic.claude-opus-4-6-v1": a number of eight
# digits is a date, not a minor version.
_VERSION: Final = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2})(?!\d))?(?!\d)")

_UNKNOWN_OUTPUT_TOKENS: Final = 8_192
_OUTPUT_TOKENS: Final = 64_000


@lru_cache(maxsize=512)
def read_version(model: str) -> tuple[int, int] | None:
    """(4, 5) for `claude-haiku-4-5`; None for a name that is not Claude's."""
    match = _VERSION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else None


def takes_sampling(model: str) -> bool:
    """Whether temperature, top_p and top_k may differ from their defaults: removed with Claude 4.7."""
    version = read_version(model)
    return version is None or version < (4, 7)


def default_max_tokens(model: str) -> int:
    """`max_tokens` for a request that sets no limit: Anthropic demands one, OpenAI's default is "all there is"."""
    version = read_version(model)
    if version is None:
        return _UNKNOWN_OUTPUT_TOKENS
    if version < (3, 5):
        return 4_096
    if version < (3, 7):
        return 8_192
    if "opus" in model and version < (4, 5):
        return 32_000
    return _OUTPUT_TOKENS
