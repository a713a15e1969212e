"""A conversation as the messages of a chat completion request.

Other dialects hold results of tools and the user's words in one turn, and calls of one answer in several; here every
result is a message of its own right after the message with its call. What is no text in a result follows in a
message of the user. Neighbours of one role are merged: the templates of many models want users and the assistant to
take turns.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from ownkey.errors import RequestError
from ownkey.providers.conversation import (
    Conversation,
    Media,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from ownkey.providers.freeform import wrap
from ownkey.providers.openai_chat.chat_seals import open_call, open_thinking
from ownkey.providers.openai_chat.model_rules import wants_answer_after_results, wants_thinking_with_calls
from ownkey.providers.openai_chat.write_content import Content, join_contents, write_content, write_mark

Message = dict[str, Any]

_TEXTS: Final = ("content", "reasoning_content", "reasoning")
_ELSEWHERE: Final = "The result follows in a message of the user."
_RECEIVED: Final = "I have the results."


class _Pieces(list[Content]):
    """What several turns of one role say. It becomes one value at the end: joined at every turn, it would cost the
    square of their number."""


def write_messages(conversation: Conversation, model: str, *, marks: bool) -> list[Message]:
    """The messages. `marks`: the provider takes `cache_control`. Raises RequestError for what has no form here."""
    writer = _MessageWriter(model, marks=marks)
    if conversation.instructions:
        content = write_content(conversation.instructions, marks=marks)
        writer.messages.append({"role": "system", "content": content})
    for turn in conversation.turns:
        writer.add(turn)
    writer.place_results()
    if not writer.messages:
        raise RequestError("There is no message with content.", param="messages")
    for message in writer.messages:
        _join_pieces(message)
    return _bridge(writer.messages) if wants_answer_after_results(model) else writer.messages


def _join_pieces(message: Message) -> None:
    for field in _TEXTS:
        pieces = message.get(field)
        if isinstance(pieces, _Pieces):
            message[field] = join_contents(pieces, "\n\n" if field == "content" else "")


def _bridge(messages: list[Message]) -> list[Message]:
    """The same with a word of the assistant wherever the user speaks right after a tool."""
    bridged = messages[:1]
    for before, message in pairwise(messages):
        if before["role"] == "tool" and message["role"] == "user":
            bridged.append({"role": "assistant", "content": _RECEIVED})
        bridged.append(message)
    return bridged


class _MessageWriter:
    """Collects messages. `_held` is what belongs to results of tools and has to wait for the last of them."""

    def __init__(self, model: str, *, marks: bool) -> None:
        self.messages: list[Message] = []
        self._model = model
        self._marks = marks
        self._held: list[Text | Media] = []

    def add(self, turn: Turn) -> None:
        """One turn more."""
        match turn.role:
            case "user":
                self._add_user(turn)
            case "assistant":
                self.place_results()
                self._add_assistant(turn)
            case "system":
                self.place_results()
                texts = [part for part in turn.parts if isinstance(part, Text)]
                if texts:
                    content = write_content(texts, marks=self._marks)
                    self.messages.append({"role": "system", "content": content})

    def place_results(self) -> None:
        """Write the message of what waited, if anything did."""
        if self._held:
            self._say(write_content(self._held, marks=False), None)
            self._held = []

    def _add_user(self, turn: Turn) -> None:
        for part in turn.parts:
            if isinstance(part, ToolResult):
                self.messages.append(self._tool_message(part))
        said = [part for part in turn.parts if isinstance(part, Text | Media)]
        if not said:
            return
        content = write_content([*self._held, *said], marks=self._marks)
        self._held = []
        self._say(content, turn.name)

    def _say(self, content: Content, name: str | None) -> None:
        """The user's word. What one says in a row is one message: not every model takes two."""
        last = self.messages[-1] if self.messages else {}
        if last.get("role") == "user" and last.get("name") == name:
            last["content"].append(content)
            return
        self.messages.append({"role": "user", "content": _Pieces([content]), **({"name": name} if name else {})})

    def _tool_message(self, result: ToolResult) -> Message:
        texts = [part for part in result.content if isinstance(part, Text)]
        others = [part for part in result.content if isinstance(part, Media)]
        said = "\n".join(part.text for part in texts)
        if others:
            said = said or _ELSEWHERE
            self._held += [Text(text=f"Result of {result.name or result.call_id}:"), *others]
        if result.is_error and not said.lower().startswith("error"):
            said = f"Error: {said}"
        ttl = result.cache_ttl or next((part.cache_ttl for part in reversed(result.content) if part.cache_ttl), None)
        content: Any = said
        if self._marks and ttl and said:
            content = [{"type": "text", "text": said, "cache_control": write_mark(ttl)}]
        return {"role": "tool", "tool_call_id": result.call_id, "content": content}

    def _add_assistant(self, turn: Turn) -> None:
        texts: list[Text] = []
        thoughts: list[Thinking] = []
        calls: list[Message] = []
        for part in turn.parts:
            match part:
                case Text():
                    texts.append(part)
                case Refusal():
                    texts.append(Text(text=part.text))
                case Thinking():
                    thoughts.append(part)
                case ToolCall():
                    calls.append(self._call(part))
                case _:
                    raise RequestError("An assistant's message holds text and calls only.", param="messages")
        fields = open_thinking(thoughts, self._model, has_calls=bool(calls))
        if texts or calls or fields:
            self._merge(texts, calls, fields, turn.name)

    def _merge(self, texts: list[Text], calls: list[Message], fields: Message, name: str | None) -> None:
        """An answer is one message, even where another dialect has an item for each of its parts."""
        last = self.messages[-1] if self.messages else {}
        if last.get("role") == "assistant" and last.get("name") == name:
            message = last
        else:
            message = {"role": "assistant", "content": None, **({"name": name} if name else {})}
            self.messages.append(message)
        if texts:
            message["content"] = message["content"] or _Pieces()
            message["content"].append("".join(text.text for text in texts))
        for field, value in fields.items():
            if isinstance(value, str):
                message.setdefault(field, _Pieces()).append(value)
            else:
                message.setdefault(field, []).extend(value)
        if calls:
            message.setdefault("tool_calls", []).extend(calls)
            if wants_thinking_with_calls(self._model):
                message.setdefault("reasoning_content", _Pieces())

    def _call(self, call: ToolCall) -> Message:
        arguments = wrap(call.arguments) if call.freeform else call.arguments or "{}"
        message: Message = {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        }
        extra = open_call(call, self._model)
        if extra is not None:
            message["extra_content"] = extra
        return message
