"""A conversation as a Messages request.

What Claude cannot do is refused by name, so that nothing a client relies on is dropped without a word.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.models import default_max_tokens, takes_forced_tools, takes_sampling
from ownkey.providers.anthropic_messages.thinking import add_thinking
from ownkey.providers.anthropic_messages.write_conversation import write_conversation
from ownkey.providers.conversation import Conversation, Tool, ToolChoice
from ownkey.providers.counters import COUNT_LIMIT
from ownkey.providers.freeform import SCHEMA, describe
from ownkey.providers.tool_choice import allowed_tools
from ownkey.providers.translation import refuse_foreign

_API: Final = "Claude's API"
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
# What models that choose their sampling themselves do anyway; 0.99 is Claude's default for top_p, 1 is OpenAI's.
_UNSET: Final = {"temperature": (1,), "top_p": (0.99, 1)}
_NO_ARGUMENTS: Final[dict[str, Any]] = {"type": "object", "properties": {}}

Request = dict[str, Any]


def build_request(conversation: Conversation, model: str, *, stream: bool = False) -> Request:
    """The Messages request for a conversation. Raises RequestError that names the field."""
    refuse_foreign(conversation, _API)
    _refuse_unknown(conversation)
    request: Request = {"model": model, "max_tokens": _limit(conversation, model)}
    _add_sampling(request, conversation, model)
    _add_stop(request, conversation.stop)
    if stream:
        request["stream"] = True
    if conversation.user is not None:
        request["metadata"] = {"user_id": conversation.user}
    if conversation.service_tier == "default":
        request["service_tier"] = "standard_only"
    _add_tools(request, conversation, model)
    _add_format(request, conversation)
    written = write_conversation(conversation, model)
    if written.system:
        request["system"] = written.system
    request["messages"] = written.messages
    if conversation.reasoning is not None:
        add_thinking(request, conversation.reasoning, model, may_budget=written.may_budget)
    return request


def _limit(conversation: Conversation, model: str) -> int:
    limit = conversation.max_output_tokens
    if limit is None:
        return default_max_tokens(model)
    if not 1 <= limit <= COUNT_LIMIT:
        raise RequestError("The limit of output tokens must be a positive integer.", param="max_completion_tokens")
    return limit


def _refuse_unknown(conversation: Conversation) -> None:
    """What Claude has not, unless it says what happens anyway."""
    said = {
        "n": conversation.choices not in (None, 1),
        "logprobs": conversation.logprobs is not None,
        "logit_bias": bool(conversation.logit_bias),
        "frequency_penalty": bool(conversation.frequency_penalty),
        "presence_penalty": bool(conversation.presence_penalty),
        "seed": conversation.seed is not None,
        "verbosity": conversation.verbosity not in (None, "medium"),
        "service_tier": conversation.service_tier not in (None, "auto", "default"),
    }
    for name, given in said.items():
        if given:
            _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise RequestError(f"{_API} has nothing like `{name}`. Leave it out or choose another model.", param=name)


def _add_sampling(request: Request, conversation: Conversation, model: str) -> None:
    temperature = conversation.temperature
    if temperature is not None and not 0 <= temperature <= 1:
        raise RequestError("Claude takes a temperature from 0 to 1; OpenAI's range ends at 2.", param="temperature")
    if conversation.top_p is not None and not 0 <= conversation.top_p <= 1:
        raise RequestError("`top_p` must be a number from 0 to 1.", param="top_p")
    if conversation.top_k is not None and not 1 <= conversation.top_k <= COUNT_LIMIT:
        raise RequestError("`top_k` must be a positive integer.", param="top_k")
    given = (("temperature", temperature), ("top_p", conversation.top_p), ("top_k", conversation.top_k))
    for name, value in given:
        if value is None:
            continue
        if takes_sampling(model):
            request[name] = value
        elif name == "top_k" or value not in _UNSET[name]:
            raise RequestError(
                f"{model} does not take `{name}`: Claude 4.7 and later choose it themselves. Leave it out.", param=name
            )


def _add_stop(request: Request, sequences: list[str]) -> None:
    if any(not text.strip() for text in sequences):
        raise RequestError("Claude stops at no sequence of white space alone.", param="stop")
    if sequences:
        request["stop_sequences"] = sequences


def _add_tools(request: Request, conversation: Conversation, model: str) -> None:
    choice = conversation.tool_choice
    # Claude has no list of allowed tools beside the tools themselves.
    tools = allowed_tools(conversation)
    if tools:
        request["tools"] = [_write_tool(tool) for tool in tools]
    if choice is not None and tools:
        request["tool_choice"] = _write_choice(choice, model)
    if conversation.parallel_tool_calls is False and tools:
        written = request.get("tool_choice", {"type": "auto"})
        if written["type"] != "none":
            request["tool_choice"] = {**written, "disable_parallel_tool_use": True}


def _write_tool(tool: Tool) -> dict[str, Any]:
    schema = SCHEMA if tool.freeform else tool.schema or _NO_ARGUMENTS
    # Claude insists on the type, OpenAI and Gemini do without.
    written: dict[str, Any] = {"name": tool.name, "input_schema": {"type": "object", **schema}}
    description = describe(tool)
    if description:
        written["description"] = description
    if tool.strict:
        written["strict"] = True
    if tool.cache_ttl is not None:
        written["cache_control"] = {"type": "ephemeral", **({"ttl": "1h"} if tool.cache_ttl == "1h" else {})}
    return written


def _write_choice(choice: ToolChoice, model: str) -> dict[str, Any]:
    if choice.mode in ("required", "named") and not takes_forced_tools(model):
        raise RequestError(f"{model} cannot be made to call a tool. Use `auto`.", param="tool_choice")
    written: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode == "named":
        if len(choice.names) != 1:
            raise RequestError("`tool_choice` must name one tool.", param="tool_choice")
        written["name"] = choice.names[0]
    return written


def _add_format(request: Request, conversation: Conversation) -> None:
    wanted = conversation.output
    if wanted is None:
        return
    if wanted.kind == "json_object":
        raise RequestError(
            "Claude writes JSON by a schema only: use `json_schema` instead of `json_object`.", param="response_format"
        )
    request["output_config"] = {"format": {"type": "json_schema", "schema": wanted.schema}}
