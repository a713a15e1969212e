"""A conversation as a chat completion request.

Many providers refuse fields that they do not know. So hints that change nothing in the answer (whose request it is,
what is worth caching) go only to those that are known to take them; a wish that does change the answer is refused
here by name where the provider would not take it.
"""

from __future__ import annotations

from typing import Any, Final

from ownkey.domain.provider import Provider, Quirk
from ownkey.errors import RequestError
from ownkey.providers.conversation import Conversation, OutputFormat, Tool
from ownkey.providers.dialect import Call
from ownkey.providers.freeform import SCHEMA, describe
from ownkey.providers.openai_chat.reasoning_effort import choose_effort
from ownkey.providers.openai_chat.write_content import write_mark
from ownkey.providers.openai_chat.write_messages import write_messages
from ownkey.providers.tool_choice import allowed_tools
from ownkey.providers.translation import refuse_foreign

_SIMPLE: Final = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "logit_bias")
_SERVICE_TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "on_demand", "performance"})


def write_request(provider: Provider, call: Call, conversation: Conversation) -> dict[str, Any]:
    """The body as a document. Raises RequestError, with the field's name, for what cannot be carried."""
    refuse_foreign(conversation, provider.label)
    if conversation.choices is not None and conversation.choices != 1:
        raise RequestError("Only one choice can be translated. Leave `n` out.", param="n")
    marks = Quirk.CACHE_CONTROL in provider.quirks
    body: dict[str, Any] = {
        "model": call.model,
        "messages": write_messages(conversation, call.model, marks=marks),
    }
    _write_tools(body, conversation, marks=marks)
    _write_sampling(body, conversation, provider)
    _write_reasoning(body, conversation, call.model)
    _write_hints(body, conversation, provider)
    if conversation.output is not None:
        body["response_format"] = _write_format(conversation.output)
    if call.stream:
        body["stream"] = True
        if Quirk.NO_STREAM_OPTIONS not in provider.quirks:
            body["stream_options"] = {"include_usage": True}
    return body


def _write_sampling(body: dict[str, Any], conversation: Conversation, provider: Provider) -> None:
    for name in _SIMPLE:
        value = getattr(conversation, name)
        if value is not None:
            body[name] = value
    if conversation.max_output_tokens is not None:
        older = Quirk.MAX_TOKENS_ONLY in provider.quirks
        body["max_tokens" if older else "max_completion_tokens"] = conversation.max_output_tokens
    if conversation.stop:
        body["stop"] = conversation.stop
    if conversation.top_k is not None:
        if Quirk.TOP_K not in provider.quirks:
            raise RequestError(f"{provider.label} has nothing like `top_k`. Leave it out.", param="top_k")
        body["top_k"] = conversation.top_k
    if conversation.logprobs is not None:
        body["logprobs"] = True
        if conversation.logprobs:
            body["top_logprobs"] = conversation.logprobs


def _write_reasoning(body: dict[str, Any], conversation: Conversation, model: str) -> None:
    if conversation.reasoning is None:
        return
    effort = choose_effort(conversation.reasoning, model)
    if effort is not None:
        body["reasoning_effort"] = effort
    elif conversation.reasoning.effort == "none" and model.rpartition("/")[2].startswith("deepseek"):
        body["thinking"] = {"type": "disabled"}  # DeepSeek thinks unless it is told not to


def _write_hints(body: dict[str, Any], conversation: Conversation, provider: Provider) -> None:
    knows_openai = Quirk.OPENAI_FIELDS in provider.quirks
    if knows_openai:
        if conversation.user is not None:
            body["user"] = conversation.user
        if conversation.prompt_cache_key is not None:
            body["prompt_cache_key"] = conversation.prompt_cache_key
    if conversation.verbosity not in (None, "medium"):
        if not knows_openai:
            raise RequestError(f"{provider.label} has nothing like `verbosity`. Leave it out.", param="verbosity")
        body["verbosity"] = conversation.verbosity
    tier = conversation.service_tier
    # `default` is what happens anyway where nobody asks for another tier.
    if tier is not None and (knows_openai or tier not in ("auto", "default")):
        if tier not in _SERVICE_TIERS:
            raise RequestError(f"{provider.label} has no service tier {tier[:40]!r}.", param="service_tier")
        body["service_tier"] = tier


def _write_format(output: OutputFormat) -> dict[str, Any]:
    if output.kind == "json_object":
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": output.name, "schema": output.schema}
    if output.description is not None:
        schema["description"] = output.description
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}


def _write_tools(body: dict[str, Any], conversation: Conversation, *, marks: bool) -> None:
    choice = conversation.tool_choice
    tools = allowed_tools(conversation)
    if not tools:
        return
    body["tools"] = [_write_tool(tool, marks=marks) for tool in tools]
    if choice is not None:
        named = choice.mode == "named" and choice.names
        body["tool_choice"] = {"type": "function", "function": {"name": choice.names[0]}} if named else choice.mode
    if conversation.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = conversation.parallel_tool_calls


def _write_tool(tool: Tool, *, marks: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    description = describe(tool) if tool.freeform else tool.description
    if description is not None:
        function["description"] = description
    schema = SCHEMA if tool.freeform else tool.schema
    if schema is not None:
        function["parameters"] = schema
    if tool.strict is not None and not tool.freeform:
        function["strict"] = tool.strict
    written: dict[str, Any] = {"type": "function", "function": function}
    if marks and tool.cache_ttl:
        written["cache_control"] = write_mark(tool.cache_ttl)
    return written
