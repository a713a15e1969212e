"""What OpenAI's models take of a request, where that is certain. Other names are taken at the client's word."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# "gpt-5.6-sol", "openai/gpt-5-mini", "gpt-6-astra"
_GPT: Final = re.compile(r"(?:^|/)gpt-(\d{1,2})(?:\.(\d{1,2}))?(?![\d.])")
_O_SERIES: Final = re.compile(r"(?:^|/)o[1-9](?:-|$)")
_PLAIN: Final = re.compile(r"(?:^|/)(?:gpt-[34](?![\d])|chatgpt-|gpt-5(?:\.\d+)?-chat)")
_CLAMPED_UP: Final = {"none": "low", "minimal": "low"}
_CLAMPED_DOWN: Final = {"xhigh": "high", "max": "high"}


@lru_cache(maxsize=512)
def read_version(model: str) -> tuple[int, int] | None:
    """(5, 6) for `gpt-5.6-sol`; None for a name that is not GPT's."""
    match = _GPT.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else None


@lru_cache(maxsize=512)
def reasons(model: str) -> bool:
    """Whether a model may reason before it answers: all but those which are known not to."""
    return _PLAIN.search(model) is None


@lru_cache(maxsize=512)
def takes_sampling(model: str) -> bool:
    """Whether temperature and top_p may differ from 1: not for the o series and GPT-5 itself."""
    return not reasons(model) or not (_O_SERIES.search(model) or read_version(model) == (5, 0))


@lru_cache(maxsize=512)
def takes_breakpoints(model: str) -> bool:
    """Whether content may be marked as worth caching: from GPT-5.6 on."""
    version = read_version(model)
    return version is not None and version >= (5, 6)


def fit_effort(model: str, effort: str) -> str:
    """The nearest effort that a model knows: the words grew with the models."""
    if _O_SERIES.search(model):
        return _CLAMPED_UP.get(effort, _CLAMPED_DOWN.get(effort, effort))
    version = read_version(model)
    if version is None:
        return effort
    if version == (5, 0):
        return "minimal" if effort == "none" else _CLAMPED_DOWN.get(effort, effort)
    if effort == "minimal":
        return "low"
    return "xhigh" if effort == "max" and version < (5, 6) else effort
