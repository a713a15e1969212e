"""How each dialect says a reply. Written apart from the gateway's own writers, so that one can judge the other."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

from ownkey.domain.provider import Dialect
from ownkey.testing.replies import Call, Reply
from ownkey.testing.speakers import anthropic_messages, gemini, openai_chat, openai_responses

_SPEAKERS: Final[dict[Dialect, ModuleType]] = {
    Dialect.OPENAI_CHAT: openai_chat,
    Dialect.OPENAI_RESPONSES: openai_responses,
    Dialect.ANTHROPIC_MESSAGES: anthropic_messages,
    Dialect.GEMINI: gemini,
}


def speaker_of(dialect: Dialect) -> ModuleType:
    """A module with `speak(reply, request, model)`, `stream(reply, request, model)` and `usage(reply)`."""
    return _SPEAKERS[dialect]


def dialect_of(rest: str) -> Dialect | None:
    """The dialect of a path below a provider's base URL; None where it is no text generation."""
    if rest == "/chat/completions":
        return Dialect.OPENAI_CHAT
    if rest == "/responses":
        return Dialect.OPENAI_RESPONSES
    if rest == "/messages":
        return Dialect.ANTHROPIC_MESSAGES
    if rest.endswith((":generateContent", ":streamGenerateContent")):
        return Dialect.GEMINI
    return None


def default_reply(provider: str, request: Any) -> Reply:
    """The answer to a request that nobody scripted: a text, or a call of the first tool that was offered."""
    call = _first_call(request if isinstance(request, dict) else {})
    size = len(str(request)) // 4
    if call is not None:
        return Reply(text=None, calls=(call,), input_uncached=size)
    return Reply(text=f"A simulated answer of {provider}.", input_uncached=size)


def _first_call(request: dict[str, Any]) -> Call | None:
    turns = request.get("input") or request.get("contents") or request.get("messages")
    last = turns[-1] if isinstance(turns, list) and turns else {}
    if "function_call_output" in str(last) or "functionResponse" in str(last) or "tool_result" in str(last):
        return None
    for tool in request.get("tools") or ():
        functions = tool.get("functionDeclarations") or [tool.get("function") or tool]
        if isinstance(functions[0], dict) and isinstance(functions[0].get("name"), str):
            schema = functions[0].get("parameters") or functions[0].get("parametersJsonSchema") or {}
            schema = functions[0].get("input_schema") or schema
            return Call(name=functions[0]["name"], arguments=_sample(schema))
    return None


def _sample(schema: Any) -> Any:
    """The least value that fits a JSON schema of the simple kinds."""
    kind = str(schema.get("type", "object")).lower()
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: _sample(properties[name]) for name in schema.get("required", ()) if name in properties}
    if kind == "array":
        return []
    return {"integer": 1, "number": 1.5, "boolean": True}.get(kind, "example")
