"""What a choice among tools must be like in every dialect, and what it leaves of them."""

from __future__ import annotations

from ownkey.errors import RequestError
from ownkey.providers.conversation import Conversation, Tool


def check_choice(conversation: Conversation) -> None:
    """Raises RequestError where a tool is to be called and there is none: nothing would be left of the wish."""
    choice = conversation.tool_choice
    if choice is not None and choice.mode not in ("auto", "none") and not conversation.tools:
        raise RequestError("A tool is to be called, but there is none.", param="tool_choice")


def allowed_tools(conversation: Conversation) -> list[Tool]:
    """The tools that may be called, for a dialect that cannot be told to leave some of them alone.

    Raises RequestError for a choice of what is not there.
    """
    check_choice(conversation)
    tools, choice = conversation.tools, conversation.tool_choice
    if choice is None or not choice.names:
        return tools
    known, names = {tool.name for tool in tools}, set(choice.names)
    for name in choice.names:
        if name not in known:
            raise RequestError(f"There is no tool {name[:64]!r} to be called.", param="tool_choice")
    return tools if choice.mode == "named" else [tool for tool in tools if tool.name in names]
