"""A client's `contents` as turns.

What only Google's API can do with a part is collected in `foreign`, under the part's place.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, Final, Literal

import msgspec

from ownkey.errors import RequestError
from ownkey.providers.conversation import Media, Text, Thinking, ToolCall, ToolResult, Turn
from ownkey.providers.gemini.fields import (
    read_flag,
    read_list,
    read_object,
    read_text,
    read_word,
    standard_base64,
)
from ownkey.providers.gemini.media_urls import is_held, is_youtube
from ownkey.providers.gemini.signatures import read_signature

Fields = dict[str, Any]
MediaKind = Literal["image", "document", "audio", "video"]
Role = Literal["user", "assistant"]

_DATA: Final = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_ROLES: Final[dict[str, Role]] = {
    "": "user",
    "user": "user",
    "function": "user",  # the name of the role that answers calls, in the first versions
    "tool": "user",
    "model": "assistant",
}
_DETAILS: Final = {
    "MEDIA_RESOLUTION_LOW": "low",
    "MEDIA_RESOLUTION_HIGH": "high",
    "MEDIA_RESOLUTION_ULTRA_HIGH": "high",
}
# A function's answer may be wrapped in one of these alone.
_WRAPPERS: Final = ("output", "result")
_encode: Final = msgspec.json.Encoder().encode


class ContentsReader:
    """Reads contents one after the other: which call a response answers is known from the calls before it."""

    def __init__(self, foreign: Fields) -> None:
        self.turns: list[Turn] = []
        self._foreign = foreign
        self._waiting = _WaitingCalls()  # of the model's last turn
        self._growing: Text | Thinking | None = None  # the text that goes on, and its pieces
        self._pieces: list[str] = []
        self._last_role: Role | None = None
        self._count = 0

    def read(self, value: Any, place: str) -> None:
        """Read all contents. Raises RequestError with the place of what cannot be read."""
        for position, content in enumerate(read_list(value)):
            self._read_content(content, f"{place}[{position}]")
        self._settle()

    def _read_content(self, value: Any, place: str) -> None:
        fields = read_object(value, place)
        word = read_text(fields.pop("role", ""), f"{place}.role").lower()
        role = _ROLES.get(word)
        if role is None:
            raise RequestError(f"There is no role {word[:40]!r}: a content is of `user` or of `model`.", param=place)
        # A client gives a stream back piece by piece, each in a content of its own: together they are one turn.
        goes_on = role == "assistant" and self._last_role == role
        turn = self.turns[-1] if goes_on and self.turns else Turn(role=role, parts=[])
        if role == "assistant" and not goes_on:
            self._waiting = _WaitingCalls()
        self._last_role = role
        for position, part in enumerate(read_list(fields.pop("parts", []))):
            self._read_part(turn, part, f"{place}.parts[{position}]")
        self._leave(fields, place)
        if turn.parts and not (self.turns and self.turns[-1] is turn):
            self.turns.append(turn)

    def _read_part(self, turn: Turn, value: Any, place: str) -> None:
        fields = read_object(value, place)
        given = [name for name in _DATA if name in fields]
        thought = read_flag(fields.pop("thought", False), f"{place}.thought")
        signature = fields.pop("thoughtSignature", None)
        seal = read_signature(read_text(signature, f"{place}.thoughtSignature")) if signature is not None else None
        detail = _read_detail(fields.pop("mediaResolution", None), f"{place}.mediaResolution")
        fields.pop("partMetadata", None)  # the client's own notes
        if len(given) > 1:
            raise RequestError(f"A part is one thing, not {' and '.join(given)}.", param=place)
        name = given[0] if given else None
        data = fields.pop(name) if name is not None else None
        if name is None and not fields and signature is None:
            raise RequestError("A part must hold something, such as a `text`.", param=place)
        self._leave(fields, place)
        if name == "text":
            self._add_text(turn, read_text(data, f"{place}.text"), thought)
        elif name == "inlineData":
            turn.parts.append(self._read_blob(data, f"{place}.inlineData", detail))
        elif name == "fileData":
            self._read_file(turn, data, f"{place}.fileData", detail)
        elif name == "functionCall":
            self._read_call(turn, data, f"{place}.functionCall")
        elif name == "functionResponse":
            self._read_response(turn, data, f"{place}.functionResponse")
        if seal is not None and turn.role == "assistant":
            last = turn.parts[-1] if turn.parts else None
            if name == "functionCall" or (thought and name == "text"):
                assert isinstance(last, ToolCall | Thinking)  # noqa: S101 - it was read just now
                last.seal = seal
            else:
                turn.parts.append(Thinking(seal=seal))

    def _add_text(self, turn: Turn, text: str, thought: bool) -> None:
        last = turn.parts[-1] if turn.parts else None
        if thought and turn.role == "assistant":
            # A client gives back the pieces of a stream as they came; the last of them has the signature.
            if isinstance(last, Thinking) and last.seal is None:
                self._grow(last, text)
            else:
                turn.parts.append(Thinking(text=text))
        elif isinstance(last, Text) and turn.role == "assistant":
            self._grow(last, text)
        elif text:
            turn.parts.append(Text(text=text))

    def _grow(self, part: Text | Thinking, text: str) -> None:
        """More of a text. It is put together once, at its end: piece by piece it would cost the square of them."""
        if part is not self._growing:
            self._settle()
            self._growing, self._pieces = part, [part.text]
        self._pieces.append(text)

    def _settle(self) -> None:
        if self._growing is not None:
            self._growing.text = "".join(self._pieces)
            self._growing = None

    def _read_blob(self, value: Any, place: str, detail: str | None = None) -> Media:
        fields = read_object(value, place)
        media_type = read_text(fields.pop("mimeType", ""), f"{place}.mimeType")
        data = read_text(fields.pop("data", ""), f"{place}.data")
        name = fields.pop("displayName", None)
        self._leave(fields, place)
        if not media_type or not data:
            raise RequestError(f"`{place}` needs `mimeType` and `data`.", param=place)
        return Media(
            kind=_media_kind(media_type),
            media_type=media_type,
            data=standard_base64(data),
            name=read_text(name, f"{place}.displayName") if name is not None else None,
            detail=detail,
        )

    def _read_file(self, turn: Turn, value: Any, place: str, detail: str | None) -> None:
        fields = read_object(value, place)
        url = read_text(fields.pop("fileUri", ""), f"{place}.fileUri")
        media_type = read_text(fields.pop("mimeType", ""), f"{place}.mimeType") or None
        name = fields.pop("displayName", None)
        self._leave(fields, place)
        if not url:
            raise RequestError(f"`{place}` needs `fileUri`.", param=place)
        if is_held(url):
            self._foreign[f"{place}.fileUri"] = url
            return
        kind = _media_kind(media_type) if media_type else ("video" if is_youtube(url) else "document")
        turn.parts.append(
            Media(
                kind=kind,
                media_type=media_type,
                url=url,
                name=read_text(name, f"{place}.displayName") if name is not None else None,
                detail=detail,
            )
        )

    def _read_call(self, turn: Turn, value: Any, place: str) -> None:
        if turn.role != "assistant":
            raise RequestError("A function's call is the model's.", param=place)
        fields = read_object(value, place)
        name = read_text(fields.pop("name", ""), f"{place}.name")
        if not name:
            raise RequestError(f"`{place}` needs `name`.", param=place)
        self._count += 1
        # The same in every request of a conversation, so that caches hold.
        call_id = read_text(fields.pop("id", ""), f"{place}.id") or f"call_{self._count}"
        arguments = fields.pop("args", {})
        self._leave(fields, place)
        if not isinstance(arguments, dict):
            raise RequestError(f"`{place}.args` must be an object.", param=f"{place}.args")
        call = ToolCall(id=call_id, name=name, arguments=_encode(arguments).decode())
        turn.parts.append(call)
        self._waiting.add(call)

    def _read_response(self, turn: Turn, value: Any, place: str) -> None:
        if turn.role != "user":
            raise RequestError("A function's response is the user's.", param=place)
        fields = read_object(value, place)
        name = read_text(fields.pop("name", ""), f"{place}.name")
        call = self._take_call(read_text(fields.pop("id", ""), f"{place}.id"), name, place)
        response = fields.pop("response", {})
        if not isinstance(response, dict):
            raise RequestError(f"`{place}.response` must be an object.", param=f"{place}.response")
        media = fields.pop("parts", [])
        self._leave(fields, place)
        text, is_error = _read_output(response)
        result = ToolResult(
            call_id=call.id, content=[Text(text=text)] if text else [], name=name or call.name, is_error=is_error
        )
        for position, part in enumerate(read_list(media)):
            where = f"{place}.parts[{position}]"
            inner = read_object(part, where)
            blob = inner.pop("inlineData", None)
            self._leave(inner, where)
            if blob is not None:
                result.content.append(self._read_blob(blob, f"{where}.inlineData"))
        turn.parts.append(result)

    def _take_call(self, call_id: str, name: str, place: str) -> ToolCall:
        """The call that is answered: the one of that id, or the first unanswered one of that name."""
        call = self._waiting.take(call_id, name)
        if call is not None:
            return call
        if call_id:
            return ToolCall(id=call_id, name=name)
        raise RequestError(f"No call of `{name[:80]}` before it is unanswered.", param=place)

    def _leave(self, fields: Fields, place: str) -> None:
        for name, value in fields.items():
            self._foreign[f"{place}.{name}"] = value


class _WaitingCalls:
    """Calls that are not answered yet, in their order."""

    def __init__(self) -> None:
        self._by_id: dict[str, deque[ToolCall]] = defaultdict(deque)
        self._by_name: dict[str, deque[ToolCall]] = defaultdict(deque)
        self._answered: set[int] = set()  # by identity: each call is in two queues

    def add(self, call: ToolCall) -> None:
        self._by_id[call.id].append(call)
        self._by_name[call.name].append(call)

    def take(self, call_id: str, name: str) -> ToolCall | None:
        """The first call of this id or, without one, of this name."""
        queue = self._by_id.get(call_id) if call_id else self._by_name.get(name)
        while queue:
            call = queue.popleft()
            if id(call) not in self._answered:
                self._answered.add(id(call))
                return call
        return None


def read_instruction(value: Any, place: str, foreign: Fields) -> list[Text]:
    """`systemInstruction`."""
    fields = read_object(value, place)
    fields.pop("role", None)
    texts = []
    for position, part in enumerate(read_list(fields.pop("parts", []))):
        where = f"{place}.parts[{position}]"
        inner = read_object(part, where)
        text = inner.pop("text", None)
        if text is not None and read_text(text, f"{where}.text"):
            texts.append(Text(text=text))
        foreign.update((f"{where}.{name}", given) for name, given in inner.items())
    foreign.update((f"{place}.{name}", given) for name, given in fields.items())
    return texts


def _read_output(response: Fields) -> tuple[str, bool]:
    """What a function answered, as text, and whether that is an error."""
    if len(response) == 1:
        ((name, value),) = response.items()
        if name == "error" or name in _WRAPPERS:
            return value if isinstance(value, str) else _encode(value).decode(), name == "error"
    return (_encode(response).decode() if response else ""), False


def _media_kind(media_type: str) -> MediaKind:
    match media_type.partition("/")[0].lower():
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "video"
    return "document"


def _read_detail(value: Any, place: str) -> str | None:
    """Only advice on how closely to look."""
    if value is None:
        return None
    level = read_object(value, place).get("level") if isinstance(value, dict) else value
    return _DETAILS.get(read_word(level, place)) if level is not None else None
