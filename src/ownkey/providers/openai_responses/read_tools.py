"""The tools of a request and the choice among them. Hosted tools are OpenAI's own: they are foreign elsewhere.

A namespace (Codex has its sub-agents and MCP servers in them) is a group of tools that a call names beside the tool.
Elsewhere tools have one name, so a namespaced one has both in it.
"""

from __future__ import annotations

from typing import Any, Final

from ownkey.providers.conversation import Conversation, Grammar, Tool, ToolChoice
from ownkey.providers.openai_responses import fields
from ownkey.providers.openai_responses.namespaces import join

_MODES: Final = frozenset({"auto", "none", "required"})


def read_tools(conversation: Conversation, value: Any, place: str = "tools", known: set[str] | None = None) -> None:
    """Add the tools of a list. A name that is there already is not added again: a later list may repeat it.

    `known` are the names that are there, where the caller keeps them; those of this list are added to it.
    """
    if known is None:
        known = {tool.name for tool in conversation.tools}
    added: list[Tool] = []
    for index, one in enumerate(fields.sequence(value, place)):
        here = f"{place}[{index}]"
        tool = fields.mapping(one, here)
        if tool.get("type") == "namespace":
            found = _read_namespace(conversation, tool, here)
        else:
            found = _read_tool(conversation, tool, here)
        added += [tool for tool in found if tool.name not in known]
    conversation.tools += added
    known.update(tool.name for tool in added)


def _read_namespace(conversation: Conversation, group: dict[str, Any], place: str) -> list[Tool]:
    namespace = fields.name(group.get("name"), f"{place}.name")
    about = fields.optional_text(group.get("description"), f"{place}.description")
    tools: list[Tool] = []
    for index, one in enumerate(fields.sequence(group.get("tools"), f"{place}.tools")):
        here = f"{place}.tools[{index}]"
        tools += _read_tool(conversation, fields.mapping(one, here), here)
    for tool in tools:
        tool.name = join(namespace, tool.name)
    if about and tools:
        # What is said of the group is said with its first tool.
        tools[0].description = f"{about}\n\n{tools[0].description or ''}".rstrip()
    return tools


def _read_tool(conversation: Conversation, tool: dict[str, Any], place: str) -> list[Tool]:
    if tool.get("type") not in ("function", "custom"):
        conversation.foreign[place] = tool
        return []
    for name in ("async", "defer_loading"):
        if tool.get(name):
            conversation.foreign[f"{place}.{name}"] = tool[name]
    if "direct" not in (tool.get("allowed_callers") or ["direct"]):
        conversation.foreign[f"{place}.allowed_callers"] = tool["allowed_callers"]
    return [_read_function(tool, place) if tool["type"] == "function" else _read_custom(tool, place)]


def _read_function(tool: dict[str, Any], place: str) -> Tool:
    schema, strict = tool.get("parameters"), tool.get("strict")
    return Tool(
        name=fields.name(tool.get("name"), f"{place}.name"),
        description=fields.optional_text(tool.get("description"), f"{place}.description"),
        schema=None if schema is None else fields.mapping(schema, f"{place}.parameters"),
        strict=None if strict is None else fields.flag(strict, f"{place}.strict"),
    )


def _read_custom(tool: dict[str, Any], place: str) -> Tool:
    grammar = None
    form = fields.mapping(tool.get("format") or {"type": "text"}, f"{place}.format")
    if form.get("type") == "grammar":
        syntax = form.get("syntax")
        if syntax not in ("lark", "regex"):
            raise fields.wrong(f"{place}.format.syntax", "lark or regex")
        grammar = Grammar(syntax, fields.text(form.get("definition"), f"{place}.format.definition"))
    elif form.get("type") != "text":
        raise fields.wrong(f"{place}.format.type", "text or grammar")
    return Tool(
        name=fields.name(tool.get("name"), f"{place}.name"),
        description=fields.optional_text(tool.get("description"), f"{place}.description"),
        freeform=True,
        grammar=grammar,
    )


def read_tool_choice(conversation: Conversation, value: Any) -> None:
    if isinstance(value, str):
        if value not in _MODES:
            raise fields.wrong("tool_choice", "auto, none, required or an object")
        conversation.tool_choice = ToolChoice(mode=value)  # type: ignore[arg-type]  # one of _MODES
        return
    choice = fields.mapping(value, "tool_choice")
    kind = choice.get("type")
    if kind in ("function", "custom"):
        names = (fields.name(choice.get("name"), "tool_choice.name"),)
        conversation.tool_choice = ToolChoice(mode="named", names=names)
    elif kind == "allowed_tools":
        _read_allowed_tools(conversation, choice)
    else:
        conversation.foreign["tool_choice"] = choice


def _read_allowed_tools(conversation: Conversation, choice: dict[str, Any]) -> None:
    mode = choice.get("mode")
    if mode not in ("auto", "required"):
        raise fields.wrong("tool_choice.mode", "auto or required")
    names = []
    for index, one in enumerate(fields.sequence(choice.get("tools"), "tool_choice.tools")):
        place = f"tool_choice.tools[{index}]"
        tool = fields.mapping(one, place)
        if tool.get("type") in ("function", "custom"):
            names.append(fields.name(tool.get("name"), f"{place}.name"))
        else:
            conversation.foreign[place] = tool
    conversation.tool_choice = ToolChoice(mode=mode, names=tuple(names))
