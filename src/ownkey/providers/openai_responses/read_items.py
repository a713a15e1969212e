"""The input items of a request as turns.

Items are flat: a turn of the assistant is a run of reasoning, messages and calls, and its calls are answered by items
of their own. A second message begins a turn of its own unless calls wait for their outputs: nothing may come between.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import structs

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.conversation import Conversation, Media, Part, Text, Thinking, ToolCall, ToolResult, Turn
from ownkey.providers.openai_responses import fields
from ownkey.providers.openai_responses.ids import is_ours, refuse_reference
from ownkey.providers.openai_responses.namespaces import join
from ownkey.providers.openai_responses.read_content import read_content
from ownkey.providers.openai_responses.read_tools import read_tools
from ownkey.providers.openai_responses.sealed_items import sealed_call
from ownkey.providers.seals import read_seal

_ROLES: Final = frozenset({"user", "assistant", "system", "developer"})
# What OpenAI's own tools and its keeping of conversations leave in a history.
_HOSTED: Final = frozenset(
    {
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "file_search_call",
        "image_generation_call",
        "item_reference",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)


def read_input(value: Any, conversation: Conversation) -> None:
    """Add the turns of `input`, a text or a list of items. Raises RequestError with the place of what is wrong."""
    if isinstance(value, str):
        conversation.turns.append(Turn(role="user", parts=[Text(text=value)]))
        return
    reader = _ItemReader(conversation)
    for index, item in enumerate(fields.sequence(value, "input")):
        reader.read(fields.mapping(item, f"input[{index}]"), f"input[{index}]")


class _ItemReader:
    """Collects turns; each method reads one kind of item."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation, self._turns = conversation, conversation.turns
        self._calls: dict[str, ToolCall] = {}
        self._waiting: set[str] = set()  # calls of the present turn
        self._only_thoughts = False  # whether the present turn has said nothing yet
        self._tools: set[str] = set()

    def read(self, item: dict[str, Any], place: str) -> None:
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        match kind:
            case "message":
                self._message(item, place)
            case "reasoning":
                self._reasoning(item, place)
            case "function_call" | "custom_tool_call":
                self._call(item, place, freeform=kind == "custom_tool_call")
            case "function_call_output" | "custom_tool_call_output":
                self._output(item, place)
            case "image_generation_call" if is_ours(item.get("id")) and isinstance(item.get("result"), str):
                form = "png" if item.get("output_format") is None else item["output_format"]
                picture = Media(kind="image", media_type=f"image/{form}", data=item["result"])
                self._assistant(starts=True).parts.append(picture)
                self._only_thoughts = False
            case "additional_tools":
                read_tools(self._conversation, item.get("tools"), f"{place}.tools", self._tools)
            case "item_reference" if is_ours(item.get("id")):
                raise refuse_reference(place)
            case str() if kind in _HOSTED:
                self._conversation.foreign[place] = item
            case _:
                raise RequestError(f"There is no item of type {str(kind)[:40]!r}.", param=f"{place}.type")

    def _message(self, item: dict[str, Any], place: str) -> None:
        role = item.get("role")
        if role not in _ROLES:
            raise RequestError(f"There is no role {str(role)[:40]!r} in a conversation.", param=f"{place}.role")
        parts: list[Part] = [*read_content(item.get("content"), f"{place}.content", self._conversation.foreign)]
        if role == "assistant":
            self._assistant(starts=True).parts += parts
            self._only_thoughts = self._only_thoughts and not parts
        elif role == "user":
            if parts:
                self._turns.append(Turn(role="user", parts=parts))
        elif self._turns:
            self._turns.append(Turn(role="system", parts=parts))
        else:
            for part in parts:
                if not isinstance(part, Text):
                    raise RequestError("An instruction is text.", param=f"{place}.content")
                self._conversation.instructions.append(part)

    def _reasoning(self, item: dict[str, Any], place: str) -> None:
        texts = [
            text
            for name in ("summary", "content")
            if (text := "\n\n".join(_read_thoughts(item.get(name), f"{place}.{name}")))
        ]
        sealed = fields.optional_text(item.get("encrypted_content"), f"{place}.encrypted_content")
        seal = read_seal(sealed, Dialect.OPENAI_RESPONSES) if sealed else None
        thinking = Thinking(text=texts[0] if texts else "", seal=seal)
        if seal is not None and seal.dialect is Dialect.OPENAI_RESPONSES:
            thinking.seal = structs.replace(seal, id=fields.optional_text(item.get("id"), f"{place}.id") or seal.id)
        elif seal is not None and (call_id := sealed_call(seal)) is not None:
            if call_id in self._calls:
                self._calls[call_id].seal = structs.replace(seal, id=None)
            return
        elif seal is not None and not seal.data:
            thinking.seal = None
        if thinking.text or thinking.seal is not None:
            self._assistant(starts=True).parts.append(thinking)

    def _call(self, item: dict[str, Any], place: str, *, freeform: bool) -> None:
        self._keep_foreign(item, place, "caller", "async")
        name = fields.name(item.get("name"), f"{place}.name")
        namespace = fields.optional_text(item.get("namespace"), f"{place}.namespace")
        field = "input" if freeform else "arguments"
        call = ToolCall(
            id=fields.name(item.get("call_id"), f"{place}.call_id"),
            name=join(namespace, name) if namespace else name,
            arguments=fields.text(item.get(field), f"{place}.{field}"),
            freeform=freeform,
        )
        if not freeform and not call.arguments.strip():
            call.arguments = "{}"
        self._assistant().parts.append(call)
        self._only_thoughts = False
        self._calls[call.id] = call
        self._waiting.add(call.id)

    def _output(self, item: dict[str, Any], place: str) -> None:
        self._keep_foreign(item, place, "caller")
        call_id = fields.name(item.get("call_id"), f"{place}.call_id")
        content: list[Text | Media] = []
        for part in read_content(item.get("output"), f"{place}.output", self._conversation.foreign):
            if not isinstance(part, Text | Media):
                raise RequestError("A tool does not refuse: its output is text, pictures and files.", param=place)
            content.append(part)
        call = self._calls.get(call_id)
        result = ToolResult(call_id=call_id, content=content, name=call.name if call is not None else None)
        self._waiting.discard(call_id)
        last = self._turns[-1] if self._turns else None
        if last is not None and last.role == "user" and isinstance(last.parts[-1] if last.parts else None, ToolResult):
            last.parts.append(result)
        else:
            self._turns.append(Turn(role="user", parts=[result]))

    def _assistant(self, *, starts: bool = False) -> Turn:
        """The assistant's turn that goes on. `starts`: this item begins a new one unless something binds it."""
        last = self._turns[-1] if self._turns else None
        if last is not None and last.role == "assistant" and (not starts or self._waiting or self._only_thoughts):
            return last
        self._waiting.clear()
        self._only_thoughts = True
        turn = Turn(role="assistant", parts=[])
        self._turns.append(turn)
        return turn

    def _keep_foreign(self, item: dict[str, Any], place: str, *names: str) -> None:
        for name in names:
            value = item.get(name)
            if value and value != {"type": "direct"}:
                self._conversation.foreign[f"{place}.{name}"] = value


def _read_thoughts(value: Any, place: str) -> list[str]:
    if value is None:
        return []
    return [
        fields.text(fields.mapping(part, f"{place}[{index}]").get("text"), f"{place}[{index}].text")
        for index, part in enumerate(fields.sequence(value, place))
    ]
