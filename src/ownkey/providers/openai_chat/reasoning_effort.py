"""How much to think, in the word that a model of this dialect takes for it.

Providers agree on `low`, `medium` and `high`. What lies beyond depends on the model, and a word that it does not know
is refused with 400; so the nearest one that it does know is sent.
"""

from __future__ import annotations

import re
from typing import Final

from ownkey.errors import RequestError
from ownkey.providers.conversation import Reasoning

WORDS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_GPT: Final = re.compile(r"gpt-(\d+)(?:\.(\d+))?(?![\d.])", re.ASCII)
_O_SERIES: Final = re.compile(r"o[1-9](?:-|$)", re.ASCII)
# Budgets in tokens from which on more is meant than the word before.
_MEDIUM_BUDGET: Final = 4_096
_HIGH_BUDGET: Final = 16_384


def choose_effort(reasoning: Reasoning, model: str) -> str | None:
    """The value of `reasoning_effort`, or None to leave it to the model.

    Raises RequestError for a model that is known not to reason, unless that is what the client wants.
    """
    effort = reasoning.effort
    if effort is None and reasoning.budget_tokens is not None:
        effort = _from_budget(reasoning.budget_tokens)
    if effort is None:
        return None
    if effort not in WORDS:
        raise RequestError(f"There is no reasoning effort {effort[:40]!r}.", param="reasoning_effort")
    return _fit(effort, model.rpartition("/")[2].removeprefix("openai.").lower(), model)


def _from_budget(tokens: int) -> str:
    if tokens < _MEDIUM_BUDGET:
        return "low"
    return "medium" if tokens < _HIGH_BUDGET else "high"


def _fit(effort: str, name: str, model: str) -> str | None:
    gpt = _GPT.match(name)
    if gpt is not None:
        version = (int(gpt[1]), int(gpt[2] or 0))
        if version < (5, 0):
            if effort == "none":
                return None
            raise RequestError(f"{model[:80]} does not reason before it answers.", param="reasoning_effort")
        return _fit_gpt(effort, version)
    if name.startswith("gpt-oss") or _O_SERIES.match(name):
        return _clamp(effort, "low", "high")
    if name.startswith("gemini-"):
        return "none" if effort == "none" and name.startswith("gemini-2.5-flash") else _clamp(effort, "low", "high")
    if name.startswith("deepseek"):
        return None if effort == "none" else effort
    # A model that nobody knows to reason does not: saying so would be refused by most.
    return None if effort == "none" else _clamp(effort, "low", "high")


def _fit_gpt(effort: str, version: tuple[int, int]) -> str:
    if version == (5, 0):
        return _clamp(effort, "minimal", "high")
    if effort == "none":
        return effort
    return _clamp(effort, "low", "high" if version < (5, 2) else "xhigh" if version < (5, 6) else "max")


def _clamp(effort: str, least: str, most: str) -> str:
    position = WORDS.index(effort)
    return WORDS[min(max(position, WORDS.index(least)), WORDS.index(most))]
