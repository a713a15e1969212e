"""A client's Messages request in the neutral form: everything but the messages themselves.

What only Anthropic has (server tools, containers, MCP servers, context management) goes to `foreign`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from ownkey.errors import RequestError, ThreadUnsupported
from ownkey.providers.anthropic_messages.read_messages import read_messages, read_system, read_ttl
from ownkey.providers.conversation import (
    CacheTTL,
    Conversation,
    Media,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from ownkey.providers.counters import COUNT_LIMIT
from ownkey.providers.unreadable import UNREADABLE

# Read elsewhere (`model`, `stream`), or about how the answer is to be explained.
_LEFT_OUT: Final = frozenset({"model", "messages", "stream", "diagnostics", "cache_control"})
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_NULL: Final = Raw(b"null")
_BODY: Final = msgspec.json.Decoder(dict[str, Raw])


def read_request(body: bytes) -> Conversation:
    """The neutral form of a body of `/messages` or `/messages/count_tokens`. Raises RequestError with the field."""
    try:
        fields = _BODY.decode(body)
    except UNREADABLE:
        raise RequestError("The body is not a JSON object.") from None
    if bytes(fields.get("thread", _NULL)) != b"null":
        raise ThreadUnsupported(
            "Anthropic alone can go on with a conversation that it has stored. Send the whole conversation, without "
            "`thread`.",
            param="thread",
        )
    if "messages" not in fields:
        raise RequestError("`messages` is missing.", param="messages")
    reader = _Reader()
    for name, raw in fields.items():
        if name in _LEFT_OUT or bytes(raw) == b"null":
            continue
        value = _decode(raw, name)
        read = _FIELDS.get(name)
        if read is None:
            reader.conversation.foreign[name] = value
        else:
            read(reader, value)
    conversation = reader.finish()
    read_messages(fields["messages"], conversation)
    if "cache_control" in fields:
        _mark_last(conversation, read_ttl(_decode(fields["cache_control"], "cache_control"), "cache_control"))
    return conversation


def _decode(raw: Raw, name: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        raise RequestError(f"`{name[:60]}` cannot be read.", param=name[:60]) from None


def _mark_last(conversation: Conversation, ttl: CacheTTL | None) -> None:
    """The body's own cache_control marks the last block that can bear it."""
    for turn in reversed(conversation.turns):
        for part in reversed(turn.parts):
            if isinstance(part, Text | Media | ToolCall | ToolResult):
                part.cache_ttl = part.cache_ttl or ttl
                return


class _Reader:
    """Collects one conversation; each method reads one field."""

    def __init__(self) -> None:
        self.conversation = Conversation(foreign={})
        self._effort: str | None = None
        self._thinking = Reasoning()

    def finish(self) -> Conversation:
        """The conversation, with what several fields say together."""
        thinking, effort = self._thinking, self._effort
        if thinking.effort is None and effort is not None:
            thinking = Reasoning(
                effort=effort,
                budget_tokens=thinking.budget_tokens,
                adaptive=thinking.adaptive,
                show=thinking.show,
            )
        if thinking != Reasoning():
            self.conversation.reasoning = thinking
        return self.conversation

    def system(self, value: Any) -> None:
        self.conversation.instructions = read_system(value, "system", self.conversation.foreign)

    def max_tokens(self, value: Any) -> None:
        if value == 0 and not isinstance(value, bool):
            # Fills the prompt cache without an answer.
            self.conversation.foreign["max_tokens"] = value
        else:
            self.conversation.max_output_tokens = _integer(value, "max_tokens")

    def temperature(self, value: Any) -> None:
        self.conversation.temperature = _number(value, "temperature")

    def top_p(self, value: Any) -> None:
        self.conversation.top_p = _number(value, "top_p")

    def top_k(self, value: Any) -> None:
        self.conversation.top_k = _integer(value, "top_k")

    def stop_sequences(self, value: Any) -> None:
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise RequestError("`stop_sequences` must be a list of texts.", param="stop_sequences")
        self.conversation.stop = value

    def metadata(self, value: Any) -> None:
        user = _object(value, "metadata").get("user_id")
        if user is not None and not isinstance(user, str):
            raise RequestError("`metadata.user_id` must be a text.", param="metadata.user_id")
        self.conversation.user = user

    def service_tier(self, value: Any) -> None:
        if value == "standard_only":
            self.conversation.service_tier = "default"
        elif value != "auto":
            raise RequestError("`service_tier` is either `auto` or `standard_only`.", param="service_tier")

    def speed(self, value: Any) -> None:
        if value != "standard":
            self.conversation.foreign["speed"] = value

    def context_management(self, value: Any) -> None:
        """Clearing old thinking leaves out what no other provider gets anyway; all else changes the conversation."""
        edits = _object(value, "context_management").get("edits") or []
        if not isinstance(edits, list):
            raise RequestError("`context_management.edits` must be a list.", param="context_management.edits")
        for edit in edits:
            kind = edit.get("type") if isinstance(edit, dict) else None
            if not isinstance(kind, str) or not kind.startswith("clear_thinking_"):
                self.conversation.foreign["context_management"] = value

    def thinking(self, value: Any) -> None:
        config = _object(value, "thinking")
        # `updates` are notes between tool calls, which nobody else writes; `block_binding` is about Claude's seals.
        display = config.get("display")
        show = None if display is None else display == "summarized"
        match config.get("type"):
            case "enabled":
                budget = _integer(config.get("budget_tokens"), "thinking.budget_tokens")
                # Models with a budget show their thinking unless told otherwise.
                self._thinking = Reasoning(budget_tokens=budget, show=True if show is None else show)
            case "adaptive":
                self._thinking = Reasoning(adaptive=True, show=show)
            case "disabled" | "between_tools":
                self._thinking = Reasoning(effort="none")
            case _:
                raise RequestError(
                    "`thinking.type` must be enabled, adaptive, disabled or between_tools.", param="thinking.type"
                )

    def output_config(self, value: Any) -> None:
        for name, setting in _object(value, "output_config").items():
            if setting is None:
                continue
            match name:
                case "effort":
                    if setting not in _EFFORTS:
                        raise RequestError(
                            f"`output_config.effort` must be one of {', '.join(_EFFORTS)}.",
                            param="output_config.effort",
                        )
                    self._effort = setting
                case "format":
                    self._read_format(setting, "output_config.format")
                case _:
                    self.conversation.foreign[f"output_config.{name}"] = setting

    def output_format(self, value: Any) -> None:
        self._read_format(value, "output_format")

    def _read_format(self, value: Any, place: str) -> None:
        wanted = _object(value, place)
        schema = wanted.get("schema")
        if wanted.get("type") != "json_schema" or not isinstance(schema, dict):
            raise RequestError(f"`{place}` must be of type json_schema and have a `schema`.", param=place)
        # Claude keeps to a schema strictly; nothing weaker can be asked for.
        self.conversation.output = OutputFormat(kind="json_schema", schema=schema, strict=True)

    def tools(self, value: Any) -> None:
        if not isinstance(value, list):
            raise RequestError("`tools` must be a list.", param="tools")
        for position, tool in enumerate(value):
            read = _read_tool(tool, f"tools[{position}]", self.conversation.foreign)
            if read is not None:
                self.conversation.tools.append(read)

    def tool_choice(self, value: Any) -> None:
        choice = _object(value, "tool_choice")
        if choice.get("disable_parallel_tool_use") is True:
            self.conversation.parallel_tool_calls = False
        match choice.get("type"):
            case "auto":
                self.conversation.tool_choice = ToolChoice(mode="auto")
            case "any":
                self.conversation.tool_choice = ToolChoice(mode="required")
            case "none":
                self.conversation.tool_choice = ToolChoice(mode="none")
            case "tool" if isinstance(choice.get("name"), str):
                self.conversation.tool_choice = ToolChoice(mode="named", names=(choice["name"],))
            case _:
                raise RequestError(
                    "`tool_choice` must be of type auto, any, none, or tool with a `name`.", param="tool_choice"
                )


_FIELDS: Final[dict[str, Callable[[_Reader, Any], None]]] = {
    "context_management": _Reader.context_management,
    "max_tokens": _Reader.max_tokens,
    "metadata": _Reader.metadata,
    "output_config": _Reader.output_config,
    "output_format": _Reader.output_format,
    "service_tier": _Reader.service_tier,
    "speed": _Reader.speed,
    "stop_sequences": _Reader.stop_sequences,
    "system": _Reader.system,
    "temperature": _Reader.temperature,
    "thinking": _Reader.thinking,
    "tool_choice": _Reader.tool_choice,
    "tools": _Reader.tools,
    "top_k": _Reader.top_k,
    "top_p": _Reader.top_p,
}


def _read_tool(value: Any, place: str, foreign: dict[str, Any]) -> Tool | None:
    """One tool, None for one that Anthropic defines or runs itself."""
    tool = _object(value, place)
    kind = tool.get("type")
    if kind not in (None, "custom"):
        foreign[place] = value
        return None
    name, schema, description = tool.get("name"), tool.get("input_schema"), tool.get("description")
    if not isinstance(name, str):
        raise RequestError("A tool needs a `name`.", param=f"{place}.name")
    if not isinstance(schema, dict):
        raise RequestError("A tool needs an `input_schema`.", param=f"{place}.input_schema")
    if description is not None and not isinstance(description, str):
        raise RequestError("A tool's `description` must be a text.", param=f"{place}.description")
    if tool.get("allowed_callers") not in (None, [], ["direct"]):
        foreign[f"{place}.allowed_callers"] = tool["allowed_callers"]
    # `defer_loading` saves room until a search has found the tool; it is there at once elsewhere.
    if tool.get("input_examples"):
        foreign[f"{place}.input_examples"] = tool["input_examples"]
    return Tool(
        name=name,
        description=description,
        schema=schema,
        strict=True if tool.get("strict") is True else None,
        cache_ttl=read_ttl(tool.get("cache_control"), f"{place}.cache_control"),
    )


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"`{place}` must be an object.", param=place)
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise RequestError(f"`{name}` must be a number from 0 to 1.", param=name)
    return value


def _integer(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= COUNT_LIMIT:
        raise RequestError(f"`{name}` must be a positive integer.", param=name)
    return value
