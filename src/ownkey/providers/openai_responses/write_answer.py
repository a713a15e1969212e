"""A whole answer as a Response."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import structs

from ownkey.providers import freeform
from ownkey.providers.conversation import Answer, Conversation, Media, Part, Refusal, Text, Thinking, ToolCall
from ownkey.providers.dialect import Call
from ownkey.providers.openai_responses.ids import answer_base, item_id, response_id
from ownkey.providers.openai_responses.output_items import (
    CallNames,
    read_call_names,
    write_call,
    write_message,
    write_picture,
    write_refusal,
    write_text,
)
from ownkey.providers.openai_responses.response_frame import ResponseFrame, cut_reason
from ownkey.providers.openai_responses.sealed_items import write_call_seal, write_reasoning

_encode: Final = msgspec.json.Encoder().encode


def write_answer(answer: Answer, call: Call, conversation: Conversation) -> bytes:
    """The Response for a client's request."""
    base = answer_base(answer.id)
    output = _Output(base, read_call_names(call, conversation))
    for part in answer.parts:
        output.add(part)
    if answer.logprobs and output.texts:
        output.texts[0]["logprobs"] = write_text("", logprobs=answer.logprobs)["logprobs"]
    refused = any(isinstance(part, Refusal) for part in answer.parts)
    if cut_reason(answer.finish, refused) is not None and output.items and output.items[-1]["type"] == "message":
        output.items[-1]["status"] = "incomplete"
    frame = ResponseFrame(call, response_id(base), answer.model, answer.created, conversation.service_tier)
    return frame.write_ended(answer.finish, refused, [_encode(item) for item in output.items], answer.tokens)


class _Output:
    """Collects output items. Neighbouring texts and refusals are one message."""

    def __init__(self, base: str, names: CallNames) -> None:
        self.items: list[dict[str, Any]] = []
        self.texts: list[dict[str, Any]] = []
        self._base, self._names = base, names

    def add(self, part: Part) -> None:
        match part:
            case Text():
                if part.text:
                    self.texts.append(write_text(part.text, part.citations))
                    self._content(self.texts[-1])
            case Refusal():
                self._content(write_refusal(part.text))
            case Thinking():
                if part.text or part.seal is not None:
                    self.items.append(write_reasoning(part.text, part.seal, self._base, len(self.items)))
            case ToolCall():
                self._call(part)
            case Media(kind="image", data=str(data)):
                identifier = item_id("ig", self._base, len(self.items))
                self.items.append(write_picture(identifier, data, part.media_type))

    def _content(self, content: dict[str, Any]) -> None:
        if self.items and self.items[-1]["type"] == "message":
            self.items[-1]["content"].append(content)
        else:
            identifier = item_id("msg", self._base, len(self.items))
            self.items.append(write_message(identifier, "completed", [content]))

    def _call(self, call: ToolCall) -> None:
        if not call.freeform and call.name in self._names.freeform:
            call = structs.replace(call, arguments=freeform.unwrap(call.arguments), freeform=True)
        identifier = item_id("ctc" if call.freeform else "fc", self._base, len(self.items))
        self.items.append(write_call(identifier, "completed", call, self._names))
        if call.seal is not None:
            self.items.append(write_call_seal(call.seal, call.id, self._base, len(self.items)))
