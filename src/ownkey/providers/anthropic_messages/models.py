"""What a Claude model's name says about the requests it takes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# "claude-sonnet-4-5-20250929", "claude-3-7-sonnet-latest", "anthropic.claude-opus-4-6-v1": a number of eight
# digits is a date, not a minor version.
_VERSION: Final = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2})(?!\d))?(?!\d)")
_FAMILY: Final = re.compile(r"claude-(?:[\d.-]+)?([a-z]+)")

_UNKNOWN_OUTPUT_TOKENS: Final = 8_192
_OUTPUT_TOKENS: Final = 64_000
# Fable's big brother has the same rules.
_FABLES: Final = ("fable", "mythos")


@lru_cache(maxsize=512)
def read_version(model: str) -> tuple[int, int] | None:
    """(4, 5) for `claude-haiku-4-5`; None for a name that is not Claude's."""
    match = _VERSION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else None


@lru_cache(maxsize=512)
def read_family(model: str) -> str:
    """`haiku` for `claude-haiku-4-5`; empty for a name that is not Claude's."""
    match = _FAMILY.search(model)
    return match[1] if match else ""


def takes_sampling(model: str) -> bool:
    """Whether temperature, top_p and top_k may differ from their defaults: removed with Claude 4.7."""
    version = read_version(model)
    return version is None or version < (4, 7)


def takes_forced_tools(model: str) -> bool:
    """Whether the model can be made to call a tool: Fable 5.1, Opus 5.5 and Sonnet 5.5 refuse it."""
    version, family = read_version(model), read_family(model)
    if version is None:
        return True
    if family in _FABLES:
        return version < (5, 1)
    return version < (5, 5) or family == "haiku"


def takes_system_turns(model: str) -> bool:
    """Whether a system message may stand between the others: since Opus 4.8, but not in Sonnet 5."""
    version, family = read_version(model), read_family(model)
    if version is None:
        return False
    if family == "opus":
        return version >= (4, 8)
    return version >= ((5, 0) if family in _FABLES else (5, 5))


def always_thinks(model: str) -> bool:
    """Whether thinking cannot be turned off."""
    version, family = read_version(model), read_family(model)
    return version is not None and (family in _FABLES or (family == "opus" and version >= (5, 5)))


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
