"""A chat completion request in the neutral form: everything but the messages.

Fields that only advise, and values that say what happens anyway, are left out. Fields that nobody else knows go to
`Conversation.foreign`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Raw, Struct

from ownkey.errors import RequestError
from ownkey.providers.conversation import Conversation, Grammar, OutputFormat, Reasoning, Tool, ToolChoice
from ownkey.providers.openai_chat.read_messages import CacheControl, cache_ttl, read_messages
from ownkey.providers.peek import read_fields
from ownkey.providers.unreadable import UNREADABLE


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Grammar(Struct):
    definition: str
    syntax: str = ""


class _Format(Struct):
    type: str = "text"
    grammar: _Grammar | None = None


class _Custom(Struct):
    name: str
    description: str | None = None
    format: _Format | None = None


class _Tool(Struct):
    type: str
    function: _Function | None = None
    custom: _Custom | None = None
    cache_control: CacheControl | None = None


class _Named(Struct):
    name: str


class _Allowed(Struct):
    mode: str
    tools: list[_ToolName]


class _ToolName(Struct):
    type: str = "function"
    function: _Named | None = None
    custom: _Named | None = None


class _Choice(Struct):
    type: str
    function: _Named | None = None
    custom: _Named | None = None
    allowed_tools: _Allowed | None = None


class _JSONSchema(Struct):
    name: str = "answer"
    description: str | None = None
    schema: dict[str, Any] = {}
    strict: bool | None = None


class _ResponseFormat(Struct):
    type: str
    json_schema: _JSONSchema | None = None


class _Thinking(Struct):
    """Anthropic's field, for clients that know whom they talk to; DeepSeek and others took it over."""

    type: str
    budget_tokens: int | None = None


class _OpenRouterReasoning(Struct):
    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None
    enabled: bool | None = None


_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_BOOL: Final = msgspec.json.Decoder(bool)
_INT: Final = msgspec.json.Decoder(int)
_FLOAT: Final = msgspec.json.Decoder(float)
_STR: Final = msgspec.json.Decoder(str)
_STOP: Final = msgspec.json.Decoder(str | list[str])
_BIAS: Final = msgspec.json.Decoder(dict[str, float])
_TOOLS: Final = msgspec.json.Decoder(list[_Tool])
_CHOICE: Final = msgspec.json.Decoder(str | _Choice)
_FORMAT: Final = msgspec.json.Decoder(_ResponseFormat)
_THINKING: Final = msgspec.json.Decoder(_Thinking)
_REASONING: Final = msgspec.json.Decoder(_OpenRouterReasoning)

# What is read elsewhere (`call`), and what only advises: the answer is the same without.
_LEFT_OUT: Final = frozenset(
    {
        "messages",
        "metadata",
        "model",
        "prediction",
        "prompt_cache_options",
        "prompt_cache_retention",
        "store",
        "stream",
        "stream_options",
    }
)
# Values that say what happens anyway.
_DEFAULTS: Final[dict[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"], []),
    "n": (1,),
    "presence_penalty": (0,),
    "service_tier": ("auto",),
    "tools": ([],),
    "verbosity": ("medium",),
}


def read_request(body: bytes) -> Conversation:
    """The neutral form of a body of `/chat/completions`. Raises RequestError that names the field."""
    try:
        fields = _BODY.decode(body)
    except UNREADABLE:
        raise RequestError("The body is not a JSON object.") from None
    if "messages" not in fields:
        raise RequestError("`messages` is missing.", param="messages")
    conversation = Conversation()
    for name, raw in fields.items():
        if name in _LEFT_OUT or bytes(raw) == b"null" or _is_default(name, raw):
            continue
        read = _READERS.get(name)
        if read is None:
            conversation.foreign[name] = _decode(raw, name)
        else:
            read(conversation, raw)
    _read_logprobs(conversation, fields)
    read_messages(fields["messages"], conversation)
    return conversation


def _decode(raw: Raw, name: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        raise RequestError(f"`{name[:60]}` cannot be read.", param=name[:60]) from None


def _is_default(name: str, raw: Raw) -> bool:
    return name in _DEFAULTS and _decode(raw, name) in _DEFAULTS[name]


def _simple(
    field: str, attribute: str, decoder: msgspec.json.Decoder[Any]
) -> tuple[str, Callable[[Conversation, Raw], None]]:
    def read(conversation: Conversation, raw: Raw) -> None:
        setattr(conversation, attribute, read_fields(decoder, bytes(raw), field))

    return field, read


def _read_max_tokens(conversation: Conversation, raw: Raw) -> None:
    """The older field; `max_completion_tokens` goes before it."""
    limit = read_fields(_INT, bytes(raw), "max_tokens")
    if conversation.max_output_tokens is None:
        conversation.max_output_tokens = limit


def _read_stop(conversation: Conversation, raw: Raw) -> None:
    stop = read_fields(_STOP, bytes(raw), "stop")
    conversation.stop = [stop] if isinstance(stop, str) else stop


def _read_user(conversation: Conversation, raw: Raw) -> None:
    """`safety_identifier` is the newer name of `user`."""
    conversation.user = conversation.user or read_fields(_STR, bytes(raw), "user")


def _read_logprobs(conversation: Conversation, fields: dict[str, Raw]) -> None:
    raw, alternatives = fields.get("logprobs"), fields.get("top_logprobs")
    wanted = raw is not None and bytes(raw) != b"null" and read_fields(_BOOL, bytes(raw), "logprobs")
    count = 0
    if alternatives is not None and bytes(alternatives) != b"null":
        count = read_fields(_INT, bytes(alternatives), "top_logprobs")
    if wanted:
        conversation.logprobs = count
    elif count:
        raise RequestError("`top_logprobs` needs `logprobs` to be true.", param="top_logprobs")


def _skip(conversation: Conversation, raw: Raw) -> None:
    """Read together with another field."""


def _read_tools(conversation: Conversation, raw: Raw) -> None:
    tools: list[_Tool] = read_fields(_TOOLS, bytes(raw), "tools")
    for position, tool in enumerate(tools):
        place = f"tools[{position}]"
        ttl = cache_ttl(tool.cache_control)
        if tool.type == "function" and tool.function is not None:
            function = tool.function
            conversation.tools.append(
                Tool(
                    name=function.name,
                    description=function.description,
                    schema=function.parameters,
                    strict=function.strict,
                    cache_ttl=ttl,
                )
            )
        elif tool.type == "custom" and tool.custom is not None:
            custom = tool.custom
            grammar = _read_grammar(custom.format, f"{place}.custom.format")
            conversation.tools.append(
                Tool(name=custom.name, description=custom.description, freeform=True, grammar=grammar, cache_ttl=ttl)
            )
        elif tool.type in ("function", "custom"):
            raise RequestError(f"A tool of type {tool.type!r} needs `{tool.type}`.", param=place)
        else:
            conversation.foreign[place] = tool.type


def _read_grammar(given: _Format | None, place: str) -> Grammar | None:
    if given is None or given.type == "text":
        return None
    grammar = given.grammar
    if given.type == "grammar" and grammar is not None:
        match grammar.syntax:
            case "lark" | "regex" as syntax:
                return Grammar(syntax, grammar.definition)
    raise RequestError("A custom tool's format is text, or a grammar in lark or regex.", param=place)


def _read_tool_choice(conversation: Conversation, raw: Raw) -> None:
    value = read_fields(_CHOICE, bytes(raw), "tool_choice")
    conversation.tool_choice = _tool_choice(value)


def _tool_choice(value: str | _Choice) -> ToolChoice:
    if isinstance(value, str):
        match value:
            case "auto" | "none" | "required" as mode:
                return ToolChoice(mode=mode)
            case "any":  # Mistral's word
                return ToolChoice(mode="required")
        _refuse_choice()
    allowed = value.allowed_tools
    if value.type == "allowed_tools" and allowed is not None:
        names = tuple(named.name for tool in allowed.tools if (named := tool.function or tool.custom) is not None)
        if len(names) == len(allowed.tools):
            match allowed.mode:
                case "auto" | "required" as mode:
                    return ToolChoice(mode=mode, names=names)
    named = value.function if value.type == "function" else value.custom if value.type == "custom" else None
    if named is None:
        _refuse_choice()
    return ToolChoice(mode="named", names=(named.name,))


def _refuse_choice() -> NoReturn:
    raise RequestError(
        "`tool_choice` must be auto, none, required, one tool by name, or allowed_tools.", param="tool_choice"
    )


def _read_format(conversation: Conversation, raw: Raw) -> None:
    given = read_fields(_FORMAT, bytes(raw), "response_format")
    schema = given.json_schema
    if given.type == "json_object":
        conversation.output = OutputFormat(kind="json_object")
    elif given.type == "json_schema" and schema is not None:
        conversation.output = OutputFormat(
            kind="json_schema",
            name=schema.name,
            description=schema.description,
            schema=schema.schema,
            strict=schema.strict,
        )
    elif given.type != "text":
        raise RequestError(
            "`response_format` is text, json_object, or json_schema with a `json_schema`.", param="response_format"
        )


def _read_effort(conversation: Conversation, raw: Raw) -> None:
    effort = read_fields(_STR, bytes(raw), "reasoning_effort")
    _add_reasoning(conversation, effort=effort)


def _read_thinking(conversation: Conversation, raw: Raw) -> None:
    thinking = read_fields(_THINKING, bytes(raw), "thinking")
    match thinking.type:
        case "enabled":
            _add_reasoning(conversation, budget_tokens=thinking.budget_tokens, adaptive=thinking.budget_tokens is None)
        case "adaptive":
            _add_reasoning(conversation, adaptive=True)
        case "disabled":
            _add_reasoning(conversation, effort="none")
        case _:
            raise RequestError("`thinking.type` is enabled, adaptive or disabled.", param="thinking.type")


def _read_reasoning(conversation: Conversation, raw: Raw) -> None:
    given = read_fields(_REASONING, bytes(raw), "reasoning")
    _add_reasoning(
        conversation,
        effort="none" if given.enabled is False else given.effort,
        budget_tokens=given.max_tokens,
        show=None if given.exclude is None else not given.exclude,
    )


def _read_include_reasoning(conversation: Conversation, raw: Raw) -> None:
    _add_reasoning(conversation, show=read_fields(_BOOL, bytes(raw), "include_reasoning"))


def _add_reasoning(conversation: Conversation, **given: Any) -> None:
    """Several fields may speak of reasoning; each adds what it says."""
    said = {name: value for name, value in given.items() if value}
    if "show" in given and given["show"] is not None:
        said["show"] = given["show"]
    conversation.reasoning = msgspec.structs.replace(conversation.reasoning or Reasoning(), **said)


def _refuse_functions(conversation: Conversation, raw: Raw) -> None:
    raise RequestError("`functions` is not translated. Use `tools` and `tool_choice`.", param="functions")


def _refuse_function_call(conversation: Conversation, raw: Raw) -> None:
    raise RequestError("`function_call` is not translated. Use `tools` and `tool_choice`.", param="function_call")


_READERS: Final[dict[str, Callable[[Conversation, Raw], None]]] = dict(
    (
        _simple("frequency_penalty", "frequency_penalty", _FLOAT),
        ("function_call", _refuse_function_call),
        ("functions", _refuse_functions),
        ("include_reasoning", _read_include_reasoning),
        _simple("logit_bias", "logit_bias", _BIAS),
        ("logprobs", _skip),
        _simple("max_completion_tokens", "max_output_tokens", _INT),
        ("max_tokens", _read_max_tokens),
        _simple("n", "choices", _INT),
        _simple("parallel_tool_calls", "parallel_tool_calls", _BOOL),
        _simple("presence_penalty", "presence_penalty", _FLOAT),
        _simple("prompt_cache_key", "prompt_cache_key", _STR),
        ("reasoning", _read_reasoning),
        ("reasoning_effort", _read_effort),
        ("response_format", _read_format),
        ("safety_identifier", _read_user),
        _simple("seed", "seed", _INT),
        _simple("service_tier", "service_tier", _STR),
        ("stop", _read_stop),
        _simple("temperature", "temperature", _FLOAT),
        ("thinking", _read_thinking),
        ("tool_choice", _read_tool_choice),
        ("tools", _read_tools),
        _simple("top_k", "top_k", _INT),
        ("top_logprobs", _skip),
        _simple("top_p", "top_p", _FLOAT),
        _simple("user", "user", _STR),
        _simple("verbosity", "verbosity", _STR),
    )
)
