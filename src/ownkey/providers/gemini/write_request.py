"""A `GenerateContentRequest`. What Gemini cannot do is refused by name.

Left out is what only advises: a user's name, cache hints (Gemini caches by itself), a format's name.
"""

from __future__ import annotations

from typing import Any, Final

from ownkey.errors import RequestError
from ownkey.providers import freeform
from ownkey.providers.conversation import Conversation, OutputFormat, Tool, ToolChoice
from ownkey.providers.gemini.models import is_before
from ownkey.providers.gemini.thinking import write_thinking
from ownkey.providers.gemini.write_contents import write_contents, write_instructions
from ownkey.providers.tool_choice import check_choice
from ownkey.providers.translation import refuse_foreign, refuse_speakers

LABEL: Final = "Gemini's API"
_MOST_STOPS: Final = 5
_MOST_LOGPROBS: Final = 20
_SEED_LIMIT: Final = 2**31
_TIERS: Final = {"auto": None, "default": "standard", "flex": "flex", "priority": "priority", "standard": "standard"}

Fields = dict[str, Any]


def build_request(conversation: Conversation, model: str) -> Fields:
    """The request's fields. Raises RequestError with the name of what Gemini cannot be told."""
    refuse_foreign(conversation, LABEL)
    _refuse_unknown(conversation)
    request: Fields = {"contents": write_contents(conversation, model)}
    instructions = write_instructions(conversation)
    if instructions is not None:
        request["systemInstruction"] = instructions
    check_choice(conversation)
    if conversation.tools:
        request["tools"] = [{"functionDeclarations": [_write_tool(tool) for tool in conversation.tools]}]
        calling = _write_choice(conversation.tool_choice or ToolChoice(), conversation.tools, model)
        if calling is not None:
            request["toolConfig"] = {"functionCallingConfig": calling}
    config = _write_config(conversation, model)
    if config:
        request["generationConfig"] = config
    tier = _write_tier(conversation.service_tier)
    if tier is not None:
        request["serviceTier"] = tier
    return request


def _refuse_unknown(conversation: Conversation) -> None:
    if conversation.logit_bias:
        raise RequestError(f"{LABEL} has nothing like `logit_bias`.", param="logit_bias")
    if conversation.choices is not None and conversation.choices > 1:
        raise RequestError("Only one answer to a request can be translated from Gemini.", param="n")
    if conversation.verbosity not in (None, "medium"):
        raise RequestError(f"{LABEL} has nothing like `verbosity`.", param="verbosity")
    refuse_speakers(conversation.turns, LABEL)


def _write_tool(tool: Tool) -> Fields:
    schema, description = tool.schema, tool.description
    if tool.freeform:
        schema, description = freeform.SCHEMA, freeform.describe(tool)
    written: Fields = {"name": tool.name}
    if description:
        written["description"] = description
    if schema:
        written["parametersJsonSchema"] = schema
    return written


def _write_choice(choice: ToolChoice, tools: list[Tool], model: str) -> Fields | None:
    """`functionCallingConfig`, None for what happens anyway."""
    if choice.mode == "none":
        return {"mode": "NONE"}
    if choice.mode == "auto":
        # Only this mode keeps to the schemas without demanding a call, and to some of the tools.
        strict = any(tool.strict for tool in tools) and not is_before(model, 3)
        if not choice.names and not strict:
            return None
        return {"mode": "VALIDATED", **_allow(choice.names)}
    return {"mode": "ANY", **_allow(choice.names)}


def _allow(names: tuple[str, ...]) -> Fields:
    return {"allowedFunctionNames": list(names)} if names else {}


def _write_config(conversation: Conversation, model: str) -> Fields:
    config: Fields = {}
    for name, value in (
        ("maxOutputTokens", conversation.max_output_tokens),
        ("temperature", _ranged(conversation.temperature, "temperature", 0, 2)),
        ("topP", _ranged(conversation.top_p, "top_p", 0, 1)),
        ("topK", conversation.top_k),
        ("seed", _read_seed(conversation.seed)),
        # Most models have no penalties and refuse even one of 0, which is none.
        ("frequencyPenalty", _ranged(conversation.frequency_penalty, "frequency_penalty", -2, 2) or None),
        ("presencePenalty", _ranged(conversation.presence_penalty, "presence_penalty", -2, 2) or None),
    ):
        if value is not None:
            config[name] = value
    if conversation.stop:
        if len(conversation.stop) > _MOST_STOPS:
            raise RequestError(f"Gemini takes at most {_MOST_STOPS} stop sequences.", param="stop")
        config["stopSequences"] = conversation.stop
    if conversation.logprobs is not None:
        if conversation.logprobs > _MOST_LOGPROBS:
            raise RequestError(f"Gemini tells at most {_MOST_LOGPROBS} alternatives.", param="top_logprobs")
        config["responseLogprobs"] = True
        if conversation.logprobs:
            config["logprobs"] = conversation.logprobs
    if conversation.output is not None:
        config.update(_write_output(conversation.output))
    if conversation.reasoning is not None:
        thinking = write_thinking(model, conversation.reasoning)
        if thinking:
            config["thinkingConfig"] = thinking
    return config


def _write_output(output: OutputFormat) -> Fields:
    written: Fields = {"responseMimeType": "application/json"}
    if output.kind == "json_schema":
        written["responseJsonSchema"] = output.schema
    return written


def _write_tier(tier: str | None) -> str | None:
    if tier is None:
        return None
    if tier not in _TIERS:
        raise RequestError(f"Gemini has no service tier {tier[:40]!r}.", param="service_tier")
    return _TIERS[tier]


def _ranged(value: float | None, name: str, low: float, high: float) -> float | None:
    if value is not None and not low <= value <= high:
        raise RequestError(f"Gemini takes a `{name}` from {low} to {high}.", param=name)
    return value


def _read_seed(seed: int | None) -> int | None:
    if seed is not None and not -_SEED_LIMIT <= seed < _SEED_LIMIT:
        raise RequestError("Gemini takes a `seed` of 32 bits.", param="seed")
    return seed
