"""From a chat completion request to a Messages request: everything but the conversation itself.

What Claude cannot do is refused by name, so that nothing a client relies on is dropped without a word. Fields
that only advise (`store`, `metadata`, `prediction`, cache hints) are left out: the answer is the same without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Raw

from ownkey.errors import RequestError
from ownkey.providers.anthropic_messages.chat_conversation import read_conversation
from ownkey.providers.anthropic_messages.models import default_max_tokens, read_version, takes_sampling
from ownkey.providers.counters import COUNT_LIMIT
from ownkey.providers.unreadable import UNREADABLE

# Thinking budgets for the models before adaptive thinking, in tokens. 1,024 is the least that is allowed.
_BUDGETS: Final = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}

_ADVICE: Final = frozenset(
    {
        "messages",
        "model",
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "stream_options",
    }
)
# Values that say what happens anyway.
_DEFAULTS: Final[dict[str, tuple[Any, ...]]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": (),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"], []),
    "n": (1,),
    "presence_penalty": (0,),
    "seed": (),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}


class _Builder:
    """Collects one Messages request; each method reads one field of the client's."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.request: dict[str, Any] = {"model": model}
        self.parallel_tool_calls = True
        self._own_budget = False  # the thinking budget is ours, from `reasoning_effort`

    def temperature(self, value: Any) -> None:
        number = _number(value, "temperature", 0, 2)
        if number > 1:
            raise RequestError("Claude takes a temperature from 0 to 1; OpenAI's range ends at 2.", param="temperature")
        self._sampling("temperature", number)

    def top_p(self, value: Any) -> None:
        self._sampling("top_p", _number(value, "top_p", 0, 1))

    def top_k(self, value: Any) -> None:
        self._sampling("top_k", _integer(value, "top_k"))

    def _sampling(self, name: str, value: float) -> None:
        if not takes_sampling(self.model):
            if name != "top_k" and value == 1:
                return
            raise RequestError(
                f"{self.model} does not take `{name}`: Claude 4.7 and later choose it themselves. Leave it out.",
                param=name,
            )
        self.request[name] = value

    def max_tokens(self, value: Any) -> None:
        self.request.setdefault("max_tokens", _integer(value, "max_tokens"))

    def max_completion_tokens(self, value: Any) -> None:
        self.request["max_tokens"] = _integer(value, "max_completion_tokens")

    def stop(self, value: Any) -> None:
        sequences = [value] if isinstance(value, str) else value
        if not isinstance(sequences, list) or not all(isinstance(text, str) for text in sequences):
            raise RequestError("`stop` must be a text or a list of texts.", param="stop")
        if sequences:
            self.request["stop_sequences"] = sequences

    def stream(self, value: Any) -> None:
        if value:
            self.request["stream"] = True

    def user(self, value: Any) -> None:
        if not isinstance(value, str):
            raise RequestError("`user` must be a text.", param="user")
        self.request["metadata"] = {"user_id": value}

    def thinking(self, value: Any) -> None:
        """Claude's own field, for clients that know whom they talk to."""
        self.request["thinking"], self._own_budget = value, False

    def tools(self, value: Any) -> None:
        if not isinstance(value, list):
            raise RequestError("`tools` must be a list.", param="tools")
        if value:
            self.request["tools"] = [_read_tool(tool, position) for position, tool in enumerate(value)]

    def parallel_tool_calls_field(self, value: Any) -> None:
        self.parallel_tool_calls = value is not False

    def tool_choice(self, value: Any) -> None:
        words = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
        if isinstance(value, str) and value in words:
            self.request["tool_choice"] = words[value]
            return
        if isinstance(value, dict) and value.get("type") == "function":
            function = value.get("function")
            name = function.get("name") if isinstance(function, dict) else None
            if isinstance(name, str):
                self.request["tool_choice"] = {"type": "tool", "name": name}
                return
        raise RequestError(
            "`tool_choice` must be auto, none, required or one function by name; Claude has no other.",
            param="tool_choice",
        )

    def response_format(self, value: Any) -> None:
        kind = value.get("type") if isinstance(value, dict) else None
        if kind == "text":
            return
        if kind == "json_schema":
            wrapper = value.get("json_schema")
            schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
            if isinstance(schema, dict):
                self._output_config()["format"] = {"type": "json_schema", "schema": schema}
                return
            raise RequestError("`response_format.json_schema` needs a `schema`.", param="response_format")
        raise RequestError(
            "Claude writes JSON by a schema only: use `json_schema` instead of `json_object`.", param="response_format"
        )

    def reasoning_effort(self, value: Any) -> None:
        version = read_version(self.model)
        if value == "none":
            # Before Claude 5 thinking is off unless asked for.
            if version is not None and version >= (5, 0):
                self.request.setdefault("thinking", {"type": "disabled"})
            return
        if not isinstance(value, str) or value not in _EFFORTS:
            raise RequestError(f"`reasoning_effort` must be one of {', '.join(_EFFORTS)} or none.", param=_EFFORT)
        if version is None or version < (3, 7):
            raise RequestError(f"{self.model} does not reason before it answers.", param=_EFFORT)
        if version < (4, 6):
            if "thinking" not in self.request:
                self.request["thinking"] = {"type": "enabled", "budget_tokens": _BUDGETS[value]}
                self._own_budget = True
        else:
            self.request.setdefault("thinking", {"type": "adaptive"})
            self._output_config()["effort"] = _EFFORTS[value]

    def _output_config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.request.setdefault("output_config", {})
        return config

    def finish(self, messages: Raw) -> dict[str, Any]:
        """The request, with what depends on several fields."""
        request = self.request
        request.setdefault("max_tokens", default_max_tokens(self.model))
        request["messages"], system, in_tool_loop = read_conversation(messages)
        if system:
            request["system"] = system
        if not self.parallel_tool_calls and "tools" in request:
            choice = request.get("tool_choice", {"type": "auto"})
            if choice["type"] != "none":
                request["tool_choice"] = {**choice, "disable_parallel_tool_use": True}
        self._fit_thinking(in_tool_loop)
        return request

    def _fit_thinking(self, in_tool_loop: bool) -> None:
        """A thinking budget has conditions that adaptive thinking has not."""
        thinking = self.request.get("thinking")
        if not isinstance(thinking, dict) or "budget_tokens" not in thinking or not self._own_budget:
            return
        if in_tool_loop:
            # The signed thinking of the turn before would have to come back, and this wire has no place for it.
            # Without it Claude refuses to think on; it goes on without thinking.
            del self.request["thinking"]
            return
        if self.request.get("tool_choice", {}).get("type") in ("any", "tool"):
            raise RequestError(f"{self.model} cannot reason and be forced to call a tool at once.", param="tool_choice")
        limit = self.request["max_tokens"]
        if limit <= _BUDGETS["minimal"]:
            raise RequestError(f"{self.model} needs more than 1024 tokens to reason.", param="max_completion_tokens")
        thinking["budget_tokens"] = min(thinking["budget_tokens"], limit - 1)


_EFFORT: Final = "reasoning_effort"
_FIELDS: Final[dict[str, Callable[[_Builder, Any], None]]] = {
    "max_completion_tokens": _Builder.max_completion_tokens,
    "max_tokens": _Builder.max_tokens,
    "parallel_tool_calls": _Builder.parallel_tool_calls_field,
    "reasoning_effort": _Builder.reasoning_effort,
    "response_format": _Builder.response_format,
    "stop": _Builder.stop,
    "stream": _Builder.stream,
    "temperature": _Builder.temperature,
    "thinking": _Builder.thinking,
    "tool_choice": _Builder.tool_choice,
    "tools": _Builder.tools,
    "top_k": _Builder.top_k,
    "top_p": _Builder.top_p,
    "user": _Builder.user,
}
_BODY: Final = msgspec.json.Decoder(dict[str, Raw])


def build_request(body: bytes, model: str) -> dict[str, Any]:
    """The Messages request for a chat completion request. Raises RequestError that names the field."""
    try:
        fields = _BODY.decode(body)
    except UNREADABLE:
        raise RequestError("The body is not a JSON object.") from None
    if "messages" not in fields:
        raise RequestError("`messages` is missing.", param="messages")
    builder = _Builder(model)
    for name, raw in fields.items():
        if name in _ADVICE or bytes(raw) == b"null":
            continue
        value = _decode_value(name, raw)
        read = _FIELDS.get(name)
        if read is not None:
            read(builder, value)
        elif name not in _DEFAULTS or value not in _DEFAULTS[name]:
            _refuse(name)
    return builder.finish(fields["messages"])


def _decode_value(name: str, raw: Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        raise RequestError(f"`{name[:60]}` cannot be read.", param=name[:60]) from None


def _refuse(name: str) -> NoReturn:
    if name in ("functions", "function_call"):
        raise RequestError(f"`{name}` is not translated for Claude. Use `tools` and `tool_choice`.", param=name)
    raise RequestError(
        f"Claude's API has nothing like `{name[:60]}`. Leave it out or choose another model.", param=name
    )


def _read_tool(tool: Any, position: int) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise RequestError("Claude takes function tools only, each with a name.", param=f"tools[{position}]")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    read: dict[str, Any] = {"name": name, "input_schema": schema}
    if function.get("description"):
        read["description"] = function["description"]
    if function.get("strict"):
        read["strict"] = True
    if isinstance(tool.get("cache_control"), dict):
        read["cache_control"] = tool["cache_control"]
    return read


def _number(value: Any, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RequestError(f"`{name}` must be a number from {low} to {high}.", param=name)
    return value


def _integer(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= COUNT_LIMIT:
        raise RequestError(f"`{name}` must be a positive integer.", param=name)
    return value
