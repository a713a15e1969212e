"""A client's Responses request in the neutral form.

What only OpenAI can do (its hosted tools, its keeping of conversations, its prompts) goes to `foreign`, so that
another provider refuses it by name. What merely advises is left out: `metadata`, cache options, `max_tool_calls`
(it limits hosted tools), and `store`, since the answer says that nothing was stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from ownkey.errors import RequestError
from ownkey.providers.conversation import Conversation, OutputFormat, Reasoning, Text
from ownkey.providers.openai_responses import fields
from ownkey.providers.openai_responses.read_items import read_input
from ownkey.providers.openai_responses.read_tools import read_tool_choice, read_tools
from ownkey.providers.unreadable import UNREADABLE

_ADVICE: Final = frozenset(
    {
        "background_options",
        "client_metadata",
        "input",
        "instructions",
        "max_tool_calls",
        "metadata",
        "model",
        "prompt_cache_retention",
        "store",
        "stream",
        "stream_options",
    }
)
# Values that say what happens anyway.
_DEFAULTS: Final[dict[str, tuple[Any, ...]]] = {
    "background": (False,),
    "context_management": ([],),
    "truncation": ("disabled",),
}
_EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
_BODY: Final = msgspec.json.Decoder(dict[str, Raw])

_Read = Callable[[Conversation, Any], None]


def read_request(body: bytes) -> Conversation:
    """The neutral form of a body. Raises RequestError that names the faulty field."""
    try:
        given = {name: raw for name, raw in _BODY.decode(body).items() if bytes(raw) != b"null"}
    except UNREADABLE:
        raise RequestError("The body is not a JSON object.") from None
    conversation = Conversation()
    if "instructions" in given:
        instructions = fields.text(_decode("instructions", given["instructions"]), "instructions")
        if instructions:
            conversation.instructions.append(Text(text=instructions))
    if "input" in given:
        read_input(_decode("input", given["input"]), conversation)
    elif "prompt" not in given:
        raise RequestError("`input` is missing.", param="input")
    for name, raw in given.items():
        if name in _ADVICE:
            continue
        value = _decode(name, raw)
        read = _FIELDS.get(name)
        if read is not None:
            read(conversation, value)
        elif value not in _DEFAULTS.get(name, ()):
            conversation.foreign[name] = value
    return conversation


def _decode(name: str, raw: Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        raise RequestError(f"`{name[:60]}` cannot be read.", param=name[:60]) from None


def _read_max_output_tokens(conversation: Conversation, value: Any) -> None:
    conversation.max_output_tokens = fields.integer(value, "max_output_tokens", 1)


def _read_temperature(conversation: Conversation, value: Any) -> None:
    conversation.temperature = fields.number(value, "temperature", 0, 2)


def _read_top_p(conversation: Conversation, value: Any) -> None:
    conversation.top_p = fields.number(value, "top_p", 0, 1)


def _read_top_logprobs(conversation: Conversation, value: Any) -> None:
    count = fields.integer(value, "top_logprobs", 0, 20)
    if count or conversation.logprobs is not None:
        conversation.logprobs = count


def _read_parallel(conversation: Conversation, value: Any) -> None:
    conversation.parallel_tool_calls = fields.flag(value, "parallel_tool_calls")


def _read_user(conversation: Conversation, value: Any) -> None:
    if conversation.user is None:
        conversation.user = fields.text(value, "user")


def _read_safety_identifier(conversation: Conversation, value: Any) -> None:
    conversation.user = fields.text(value, "safety_identifier")


def _read_prompt_cache_key(conversation: Conversation, value: Any) -> None:
    conversation.prompt_cache_key = fields.text(value, "prompt_cache_key")


def _read_prompt_cache_options(conversation: Conversation, value: Any) -> None:
    if fields.mapping(value, "prompt_cache_options").get("prewarm"):
        conversation.foreign["prompt_cache_options.prewarm"] = True


def _read_service_tier(conversation: Conversation, value: Any) -> None:
    tier = fields.text(value, "service_tier")
    if tier not in ("auto", "default"):
        conversation.service_tier = tier


def _read_include(conversation: Conversation, value: Any) -> None:
    for index, word in enumerate(fields.sequence(value, "include")):
        if word == "message.output_text.logprobs":
            conversation.logprobs = conversation.logprobs or 0
        elif word != "reasoning.encrypted_content":
            conversation.foreign[f"include[{index}]"] = word


def _read_reasoning(conversation: Conversation, value: Any) -> None:
    given = {name: one for name, one in fields.mapping(value, "reasoning").items() if one is not None}
    effort = given.pop("effort", None)
    if effort is not None and (not isinstance(effort, str) or effort not in _EFFORTS):
        raise fields.wrong("reasoning.effort", f"one of {', '.join(sorted(_EFFORTS))}")
    older = given.pop("generate_summary", None)
    summary = fields.optional_text(given.pop("summary", older), "reasoning.summary")
    # Which of its own reasoning OpenAI shows its model again. Nobody else gets that anyway.
    if given.get("context") in ("auto", "current_turn", "all_turns"):
        del given["context"]
    if given.get("mode") == "standard":
        del given["mode"]
    conversation.foreign.update((f"reasoning.{name}", one) for name, one in given.items())
    if effort is not None or summary is not None:
        conversation.reasoning = Reasoning(effort=effort, show=True if summary is not None else None)


def _read_text(conversation: Conversation, value: Any) -> None:
    for name, one in fields.mapping(value, "text").items():
        if one is None:
            continue
        if name == "verbosity":
            conversation.verbosity = fields.text(one, "text.verbosity")
        elif name == "format":
            conversation.output = _read_format(fields.mapping(one, "text.format"))
        else:
            conversation.foreign[f"text.{name}"] = one


def _read_format(form: dict[str, Any]) -> OutputFormat | None:
    match form.get("type"):
        case "text":
            return None
        case "json_object":
            return OutputFormat(kind="json_object")
        case "json_schema":
            strict = form.get("strict")
            return OutputFormat(
                kind="json_schema",
                name=fields.name(form.get("name"), "text.format.name"),
                description=fields.optional_text(form.get("description"), "text.format.description"),
                schema=fields.mapping(form.get("schema"), "text.format.schema"),
                strict=None if strict is None else fields.flag(strict, "text.format.strict"),
            )
        case _:
            raise fields.wrong("text.format.type", "text, json_object or json_schema")


_FIELDS: Final[dict[str, _Read]] = {
    "include": _read_include,
    "max_output_tokens": _read_max_output_tokens,
    "parallel_tool_calls": _read_parallel,
    "prompt_cache_key": _read_prompt_cache_key,
    "prompt_cache_options": _read_prompt_cache_options,
    "reasoning": _read_reasoning,
    "safety_identifier": _read_safety_identifier,
    "service_tier": _read_service_tier,
    "temperature": _read_temperature,
    "text": _read_text,
    "tool_choice": read_tool_choice,
    "tools": read_tools,
    "top_logprobs": _read_top_logprobs,
    "top_p": _read_top_p,
    "user": _read_user,
}
