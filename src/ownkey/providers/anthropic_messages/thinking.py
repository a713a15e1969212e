"""How much a Claude model is to think: every generation has another way to say it.

* before 3.7: it does not think.
* 3.7 to 4.5: off unless a budget in tokens is given. A budget excludes forced tools and sampling, and in a loop of
  tool calls it wants the signed thinking of the turn before.
* 4.6: adaptive, with a word for the effort; budgets still work.
* 4.7 and later: adaptive only. From 5.0 on it is what happens unless it is turned off, which is `disabled`, in
  Sonnet 5.5 `between_tools`, and impossible in Fable and since Opus 5.5.
"""

from __future__ import annotations

from typing import Any, Final

from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.models import always_thinks, read_family, read_version
from ownkey.providers.conversation import Reasoning

# Thinking budgets for the models before adaptive thinking, in tokens. 1,024 is the least that is allowed.
_LEAST: Final = 1_024
_BUDGETS: Final = {
    "minimal": _LEAST,
    "low": 2_048,
    "medium": 8_192,
    "high": 24_576,
    "xhigh": 32_768,
    "max": 32_768,
}
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_FIELD: Final = "reasoning_effort"

Request = dict[str, Any]


def add_thinking(request: Request, reasoning: Reasoning, model: str, *, may_budget: bool) -> None:
    """Add `thinking` and `output_config.effort` to a request that is otherwise complete.

    `may_budget` is false where a loop of tool calls lacks the thinking of its last turn: Claude refuses to think on
    with a budget then, so it goes on without. Raises RequestError for what the model cannot do.
    """
    effort, version = reasoning.effort, read_version(model)
    if effort is not None and effort != "none" and effort not in _BUDGETS:
        raise RequestError(f"`{_FIELD}` must be one of {', '.join(_EFFORTS)} or none.", param=_FIELD)
    if effort == "none" or (effort is None and reasoning.budget_tokens == 0):
        _turn_off(request, model, version)
        return
    if effort is None and not reasoning.budget_tokens and not reasoning.adaptive:
        if reasoning.show and version is not None and version >= (5, 0):
            request["thinking"] = {"type": "adaptive", "display": "summarized"}
        return
    if version is None:
        _add_unknown(request, reasoning, model)
    elif version < (3, 7):
        raise RequestError(f"{model} does not reason before it answers.", param=_FIELD)
    elif version < (4, 6) or (version < (4, 7) and reasoning.budget_tokens and effort is None):
        if may_budget:
            _add_budget(request, reasoning, model)
    else:
        _add_adaptive(request, reasoning, version)
    _check_sampling(request, model)


def _turn_off(request: Request, model: str, version: tuple[int, int] | None) -> None:
    if version is None or (version < (5, 0) and not always_thinks(model)):
        return  # off unless asked for
    if always_thinks(model):
        raise RequestError(f"{model} always reasons. Ask for the effort `low` instead of `none`.", param=_FIELD)
    between = version >= (5, 5) and read_family(model) == "sonnet"
    request["thinking"] = {"type": "between_tools" if between else "disabled"}


def _add_unknown(request: Request, reasoning: Reasoning, model: str) -> None:
    """A model that is not Claude's gets what was said in Claude's own form; a word for it says nothing there."""
    if reasoning.budget_tokens:
        request["thinking"] = {"type": "enabled", "budget_tokens": reasoning.budget_tokens}
    elif reasoning.adaptive:
        request["thinking"] = {"type": "adaptive"}
    else:
        raise RequestError(f"{model} does not reason before it answers.", param=_FIELD)


def _add_budget(request: Request, reasoning: Reasoning, model: str) -> None:
    if request.get("tool_choice", {}).get("type") in ("any", "tool"):
        raise RequestError(f"{model} cannot reason and be forced to call a tool at once.", param="tool_choice")
    limit = request["max_tokens"]
    if limit <= _LEAST:
        raise RequestError(f"{model} needs more than {_LEAST} tokens to reason.", param="max_completion_tokens")
    budget = reasoning.budget_tokens or _BUDGETS[reasoning.effort or "medium"]
    request["thinking"] = {"type": "enabled", "budget_tokens": min(max(budget, _LEAST), limit - 1)}


def _add_adaptive(request: Request, reasoning: Reasoning, version: tuple[int, int]) -> None:
    thinking = {"type": "adaptive"}
    if reasoning.show and version >= (4, 7):
        # The default was turned round with 4.7; not to see it is what happens anyway.
        thinking["display"] = "summarized"
    request["thinking"] = thinking
    effort = reasoning.effort or _word(reasoning.budget_tokens)
    if effort is None:
        return
    word = _EFFORTS[effort]
    if word == "xhigh" and version < (4, 7):
        word = "high"  # the level between high and max came with 4.7
    request.setdefault("output_config", {})["effort"] = word


def _word(budget: int | None) -> str | None:
    """The effort whose budget this would have been."""
    if not budget:
        return None
    return next((word for word in ("low", "medium", "high") if budget <= _BUDGETS[word]), "xhigh")


def _check_sampling(request: Request, model: str) -> None:
    """Where sampling can be set at all, it excludes thinking: Claude refuses both together."""
    if "thinking" not in request:
        return
    if request.get("temperature", 1) != 1:
        raise RequestError(f"{model} takes no other temperature than 1 while it reasons.", param="temperature")
    if "top_k" in request:
        raise RequestError(f"{model} takes no `top_k` while it reasons.", param="top_k")
    if request.get("top_p", 1) < 0.95:
        raise RequestError(f"{model} takes `top_p` from 0.95 to 1 only while it reasons.", param="top_p")
