"""A provider's Responses request from the neutral form.

Nothing is stored there: `store` is false, and reasoning comes back encrypted, so that a client can carry it.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import structs

from ownkey.errors import RequestError
from ownkey.providers.conversation import Conversation, OutputFormat, Reasoning, Tool, ToolChoice
from ownkey.providers.openai_responses.models import fit_effort, reasons, takes_sampling
from ownkey.providers.openai_responses.write_items import write_input
from ownkey.providers.tool_choice import check_choice
from ownkey.providers.translation import refuse_foreign

_LABEL: Final = "OpenAI's Responses API"
_LEAST_OUTPUT_TOKENS: Final = 16
_COUNTED: Final = frozenset(
    {"input", "instructions", "model", "parallel_tool_calls", "reasoning", "text", "tool_choice", "tools"}
)
_EMPTY_SCHEMA: Final = {"type": "object", "properties": {}}
# Budgets in tokens up to which an effort is the nearest.
_EFFORTS: Final = ((4_096, "low"), (16_384, "medium"))


def build_request(conversation: Conversation, model: str, *, stream: bool) -> dict[str, Any]:
    """The request. Raises RequestError, with the field's name, for what the dialect cannot carry."""
    refuse_foreign(conversation, _LABEL)
    _refuse_unknown(conversation)
    request: dict[str, Any] = {"model": model, "store": False}
    if stream:
        request["stream"] = True
    instructions, request["input"] = write_input(conversation, model)
    if not request["input"]:
        raise RequestError("There is no message with content.", param="messages")
    include = ["reasoning.encrypted_content"] if reasons(model) else []
    if conversation.logprobs is not None:
        include.append("message.output_text.logprobs")
    text = _write_text(conversation)
    optional = {
        "instructions": instructions,
        "include": include or None,
        "max_output_tokens": _write_limit(conversation.max_output_tokens),
        "reasoning": _write_reasoning(conversation.reasoning, model),
        "text": text or None,
        "top_logprobs": conversation.logprobs or None,
        "user": conversation.user,
        "service_tier": conversation.service_tier,
        "prompt_cache_key": conversation.prompt_cache_key,
        **_write_sampling(conversation, model),
        **_write_tools(conversation),
    }
    request.update((name, value) for name, value in optional.items() if value is not None)
    return request


def build_count_request(conversation: Conversation, model: str) -> dict[str, Any]:
    """The request that counts the tokens of another: what says how to answer is left out."""
    counted = structs.replace(conversation, max_output_tokens=None)
    request = build_request(counted, model, stream=False)
    return {name: value for name, value in request.items() if name in _COUNTED}


def _refuse_unknown(conversation: Conversation) -> None:
    """What chat completions and others can say and Responses cannot."""
    unknown = {
        "stop": conversation.stop,
        "seed": conversation.seed is not None,
        "top_k": conversation.top_k is not None,
        "frequency_penalty": conversation.frequency_penalty,
        "presence_penalty": conversation.presence_penalty,
        "logit_bias": conversation.logit_bias,
        "n": (conversation.choices or 1) != 1,
    }
    for name, given in unknown.items():
        if given:
            raise RequestError(
                f"{_LABEL} has nothing like `{name}`. Leave it out or choose a model of a provider that has it.",
                param=name,
            )


def _write_limit(limit: int | None) -> int | None:
    if limit is not None and limit < _LEAST_OUTPUT_TOKENS:
        raise RequestError(
            f"{_LABEL} takes no limit below {_LEAST_OUTPUT_TOKENS} output tokens.", param="max_output_tokens"
        )
    return limit


def _write_sampling(conversation: Conversation, model: str) -> dict[str, float]:
    given = {"temperature": conversation.temperature, "top_p": conversation.top_p}
    sampling = {name: value for name, value in given.items() if value is not None}
    if takes_sampling(model):
        return sampling
    for name, value in sampling.items():
        if value != 1:
            raise RequestError(f"{model} does not take `{name}`: it chooses it itself. Leave it out.", param=name)
    return {}


def _write_reasoning(reasoning: Reasoning | None, model: str) -> dict[str, str] | None:
    if reasoning is None:
        return None
    effort = reasoning.effort
    if effort is None and reasoning.budget_tokens is not None:
        budget = reasoning.budget_tokens
        effort = next((word for limit, word in _EFFORTS if budget <= limit), "high") if budget > 0 else "none"
    if not reasons(model):
        if effort in (None, "none"):
            return None
        raise RequestError(f"{model} does not reason before it answers.", param="reasoning")
    written = {} if effort is None else {"effort": fit_effort(model, effort)}
    if reasoning.show and written.get("effort") != "none":
        written["summary"] = "auto"
    return written or None


def _write_text(conversation: Conversation) -> dict[str, Any]:
    text: dict[str, Any] = {}
    if conversation.output is not None:
        text["format"] = _write_format(conversation.output)
    if conversation.verbosity is not None:
        text["verbosity"] = conversation.verbosity
    return text


def _write_format(output: OutputFormat) -> dict[str, Any]:
    if output.kind == "json_object":
        return {"type": "json_object"}
    written: dict[str, Any] = {"type": "json_schema", "name": output.name, "schema": output.schema}
    if output.description is not None:
        written["description"] = output.description
    if output.strict is not None:
        written["strict"] = output.strict
    return written


def _write_tools(conversation: Conversation) -> dict[str, Any]:
    check_choice(conversation)
    if not conversation.tools:
        return {}
    freeform = {tool.name for tool in conversation.tools if tool.freeform}
    return {
        "tools": [_write_tool(tool) for tool in conversation.tools],
        "tool_choice": _write_tool_choice(conversation.tool_choice, freeform),
        "parallel_tool_calls": conversation.parallel_tool_calls,
    }


def _write_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "custom" if tool.freeform else "function", "name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if not tool.freeform:
        # Here a tool is strict unless it says otherwise; elsewhere it is the other way round.
        return {**written, "parameters": tool.schema or _EMPTY_SCHEMA, "strict": bool(tool.strict)}
    if tool.grammar is not None:
        grammar = tool.grammar
        written["format"] = {"type": "grammar", "syntax": grammar.syntax, "definition": grammar.definition}
    return written


def _write_tool_choice(choice: ToolChoice | None, freeform: set[str]) -> str | dict[str, Any] | None:
    if choice is None:
        return None
    named = [{"type": "custom" if name in freeform else "function", "name": name} for name in choice.names]
    if choice.mode == "named" and len(named) == 1:
        return named[0]
    if not named or choice.mode == "none":
        return "required" if choice.mode == "named" else choice.mode
    mode = "auto" if choice.mode == "auto" else "required"
    return {"type": "allowed_tools", "mode": mode, "tools": named}
