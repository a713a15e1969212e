"""How much a model thinks: levels since Gemini 3, budgets in tokens for Gemini 2.5, nothing before that."""

from __future__ import annotations

from typing import Any, Final

from ownkey.errors import RequestError
from ownkey.providers.conversation import Reasoning
from ownkey.providers.gemini.fields import read_flag, read_integer, read_object, read_word
from ownkey.providers.gemini.models import is_before

_EFFORT: Final = "reasoning_effort"
_LEVELS: Final = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
# What Google's own OpenAI endpoint makes of the words for Gemini 2.5, in tokens.
_BUDGETS: Final = {"minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
# Up to so many tokens a budget is a level; beyond the last it is high.
_LEVEL_BY_BUDGET: Final = ((1_024, "minimal"), (4_096, "low"), (16_384, "medium"))
_EFFORT_BY_LEVEL: Final = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh"}


def write_thinking(model: str, reasoning: Reasoning) -> dict[str, Any]:
    """`thinkingConfig`, empty where it says nothing. Raises RequestError for what the model cannot do."""
    effort = "none" if reasoning.budget_tokens == 0 else reasoning.effort
    if effort is not None and effort != "none" and effort not in _LEVELS:
        raise RequestError(f"`{_EFFORT}` must be one of {', '.join(_LEVELS)} or none.", param=_EFFORT)
    if is_before(model, 2, 5):
        if effort not in (None, "none") or reasoning.budget_tokens:
            raise RequestError(f"{model} does not reason before it answers.", param=_EFFORT)
        return {}
    config: dict[str, Any] = {}
    if is_before(model, 3):
        budget = _choose_budget(model, effort, reasoning)
        if budget is not None:
            config["thinkingBudget"] = budget
    else:
        level = _choose_level(model, effort, reasoning)
        if level is not None:
            config["thinkingLevel"] = level
    if reasoning.show:
        config["includeThoughts"] = True
    return config


def _choose_budget(model: str, effort: str | None, reasoning: Reasoning) -> int | None:
    pro = "pro" in model
    if effort == "none":
        if pro:
            raise _always_thinks(model)
        return 0
    least, most = (128, 32_768) if pro else (512 if "lite" in model else 1, 24_576)
    wanted = reasoning.budget_tokens
    if wanted is None and effort is not None:
        wanted = _BUDGETS[effort]
    if wanted is None:
        return -1 if reasoning.adaptive else None
    return max(least, min(wanted, most))


def _choose_level(model: str, effort: str | None, reasoning: Reasoning) -> str | None:
    if effort is None and reasoning.budget_tokens is not None:
        budget = reasoning.budget_tokens
        effort = next((word for limit, word in _LEVEL_BY_BUDGET if budget <= limit), "high")
    if effort is None:
        return None
    takes_minimal = "flash" in model and is_before(model, 3, 7)
    if effort == "none":
        if not takes_minimal:
            raise _always_thinks(model)
        return "MINIMAL"
    level = _LEVELS[effort]
    if level == "MINIMAL" and not takes_minimal:
        return "LOW"
    if level == "MEDIUM" and "pro" in model and is_before(model, 3, 1):
        return "HIGH"
    return level


def _always_thinks(model: str) -> RequestError:
    return RequestError(f"{model} always reasons before it answers; `low` is the least.", param=_EFFORT)


def read_thinking(value: Any, place: str) -> Reasoning:
    """The neutral form of `thinkingConfig`."""
    fields = read_object(value, place)
    effort, budget, adaptive, show = None, None, False, None
    for name, given in fields.items():
        where = f"{place}.{name}"
        if name == "thinkingLevel":
            word = read_word(given, where)
            if word != "THINKING_LEVEL_UNSPECIFIED":
                effort = _EFFORT_BY_LEVEL.get(word)
                if effort is None:
                    raise RequestError(f"`{where}` must be one of {', '.join(_EFFORT_BY_LEVEL)}.", param=where)
        elif name == "thinkingBudget":
            budget = read_integer(given, where)
        elif name == "includeThoughts":
            show = read_flag(given, where)
        else:
            raise RequestError(f"There is no `{where[:80]}`.", param=where[:80])
    if budget is not None and budget <= 0:
        # 0 turns thinking off, -1 leaves it to the model.
        adaptive = budget < 0
        effort = effort or ("none" if budget == 0 else None)
        budget = None
    return Reasoning(effort=effort, budget_tokens=budget, adaptive=adaptive, show=show)
