"""A whole answer as a message."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome
from ownkey.providers.anthropic_messages.signatures import is_foreign, write_signature, write_thinking
from ownkey.providers.anthropic_messages.stop_reasons import STOP_REASONS
from ownkey.providers.anthropic_messages.usage import write_usage
from ownkey.providers.anthropic_messages.write_conversation import tool_id
from ownkey.providers.conversation import Answer, Citation, Finish, Media, Part, Refusal, Text, Thinking, ToolCall
from ownkey.providers.dialect import AnswerFailed
from ownkey.providers.freeform import wrap
from ownkey.providers.seals import PREFIX
from ownkey.providers.unreadable import UNREADABLE

_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, Raw])
_MEDIA: Final = {"image": "a picture", "document": "a document", "audio": "sound", "video": "a film"}

Block = dict[str, Any]


def write_answer(answer: Answer) -> bytes:
    """The message for an answer. Raises AnswerFailed for one with a picture or with sound."""
    refused = any(isinstance(part, Refusal) for part in answer.parts)
    return msgspec.json.encode(
        {
            "id": answer.id,
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [block for part in answer.parts for block in _write_part(part, answer)],
            **write_end(answer.finish, answer.stop_sequence, refused=refused),
            "usage": write_usage(answer.tokens),
        }
    )


def write_end(finish: Finish, stop_sequence: str | None, *, refused: bool) -> dict[str, Any]:
    """Why an answer ended. A model of another provider may refuse and call that an ordinary end."""
    reason = "refusal" if refused and finish == "stop" else STOP_REASONS[finish]
    end: dict[str, Any] = {"stop_reason": reason, "stop_sequence": stop_sequence}
    if reason == "refusal":
        end["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    return end


def write_citation(citation: Citation) -> dict[str, Any]:
    """A source on the web. What Claude itself would have sealed there says that it is not Claude's."""
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title or None,
        "cited_text": "",
        "encrypted_index": PREFIX,
    }


def _write_part(part: Part, answer: Answer) -> list[Block]:
    match part:
        case Text():
            block: Block = {"type": "text", "text": part.text}
            if part.citations:
                block["citations"] = [write_citation(citation) for citation in part.citations]
            return [block] if part.text else []
        case Refusal():
            return [{"type": "text", "text": part.text}]
        case Thinking():
            return [write_thinking(part)]
        case ToolCall():
            return _write_tool_call(part)
        case Media():
            message = f"The model answered with {_MEDIA[part.kind]}, for which Claude's clients have no place."
            failure = Failure(outcome=Outcome.CANNOT_CARRY, message=message)
            raise AnswerFailed(failure, answer.tokens, answer.raw_usage)
        case _:
            return []  # no model answers with the result of a tool


def _write_tool_call(call: ToolCall) -> list[Block]:
    identity = tool_id(call.id)
    block = {"type": "tool_use", "id": identity, "name": call.name, "input": _read_input(call)}
    if not is_foreign(call.seal):
        return [block]
    return [{"type": "thinking", "thinking": "", "signature": write_signature(call.seal, identity)}, block]


def _read_input(call: ToolCall) -> Any:
    """A call's arguments as an object; those that are none stay readable as text."""
    text = call.arguments.strip() or "{}"
    if not call.freeform:
        try:
            raw = text.encode()
            _ARGUMENTS.decode(raw)
            return Raw(raw)
        except UNREADABLE:
            pass
    return Raw(wrap(call.arguments).encode())
