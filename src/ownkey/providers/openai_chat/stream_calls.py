"""The tool calls of a stream, put together from pieces that providers mark in different ways."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.providers.openai_chat.answer_wire import WireCall, WireCustom, WireFunction, new_call_id
from ownkey.providers.openai_chat.chat_seals import seal_value
from ownkey.providers.openai_chat.read_answer import arguments_text
from ownkey.providers.stream_events import Delta, PartEnded, PartStarted, Sealed, StreamEvent
from ownkey.providers.unreadable import UNREADABLE

_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])


class _OpenCall(Struct):
    """A call under way. `part` is None until its name is known; what came before that is in `pieces`."""

    key: int | None
    id: str
    name: str = ""
    part: int | None = None
    freeform: bool = False
    pieces: list[str] = []
    extra: dict[str, Any] | None = None
    looked_at: bool = True  # whether it is known that its arguments are not whole yet


class CallCollector:
    """Collects the calls of one stream.

    `any` tells whether there was one, `open` whether one still goes on; `count` includes those without a name.
    """

    def __init__(self, model: str) -> None:
        self.any = False
        self.count = 0
        self._model = model
        self._calls: list[_OpenCall] = []
        self._ended: list[_OpenCall] = []

    @property
    def open(self) -> bool:
        """Whether a call has begun and not ended."""
        return bool(self._calls)

    def add(self, piece: WireCall, next_part: int, events: list[StreamEvent]) -> int:
        """Take one piece. `next_part` is the index for a new part; returned is the index after it."""
        call = self._find(piece)
        if call is None:
            if self._is_rest(piece):
                return next_part
            self.end_whole(events)
            self.count += 1
            call = _OpenCall(piece.index, piece.id or "")
            self._calls.append(call)
        if isinstance(piece.extra_content, dict):
            call.extra = piece.extra_content
        call.id = call.id or piece.id or ""
        name, text = _read(piece, call)
        call.name = call.name or name
        if call.part is None and call.name:
            next_part = self._start(call, next_part, events)
        if text:
            call.pieces.append(text)
            call.looked_at = False
            if call.part is not None:
                events.append(Delta(call.part, text))
        return next_part

    def end_whole(self, events: list[StreamEvent]) -> None:
        """End the calls whose arguments are a whole object: nothing can follow it."""
        for call in list(self._calls):
            if call.part is None or call.freeform or call.looked_at:
                continue
            call.looked_at = True
            if _is_whole(call.pieces):
                self._end(call, events)

    def end(self, next_part: int, events: list[StreamEvent]) -> int:
        """End all of them. One that never got a name is no call."""
        for call in list(self._calls):
            if call.part is not None:
                self._end(call, events)
        self._calls.clear()
        return next_part

    def _start(self, call: _OpenCall, part: int, events: list[StreamEvent]) -> int:
        self.any = True
        call.part = part
        call.id = call.id or new_call_id()
        events.append(PartStarted(part, "tool_call", call.id, call.name, call.freeform))
        events += [Delta(part, text) for text in call.pieces]
        return part + 1

    def _end(self, call: _OpenCall, events: list[StreamEvent]) -> None:
        self._calls.remove(call)
        self._ended.append(call)
        if call.part is None:
            return
        if call.extra:
            events.append(Sealed(call.part, seal_value(call.extra, self._model)))
        events.append(PartEnded(call.part))

    def _find(self, piece: WireCall) -> _OpenCall | None:
        """The call that a piece belongs to. Without an index it is the last one, unless the id is new."""
        for call in reversed(self._calls):
            if piece.index is None or call.key is None or piece.index == call.key:
                return None if _is_new(piece, call) else call
        return None

    def _is_rest(self, piece: WireCall) -> bool:
        """Whether this is an empty piece of a call that has ended already."""
        for call in reversed(self._ended):
            if (piece.index is None or piece.index == call.key) and not _is_new(piece, call):
                return not _name(piece)
        return False


def _name(piece: WireCall) -> str:
    return (piece.function.name if piece.function else None) or (piece.custom.name if piece.custom else None) or ""


def _is_new(piece: WireCall, call: _OpenCall) -> bool:
    """Whether a piece begins another call: Gemini gives all parallel calls the index 0, each with its id and name."""
    return bool(piece.id and call.id and piece.id != call.id and _name(piece))


def _read(piece: WireCall, call: _OpenCall) -> tuple[str, str]:
    """The name and the text of a piece."""
    custom = piece.custom or WireCustom()
    if custom.name or custom.input:
        call.freeform = True
        return custom.name or "", custom.input or ""
    function = piece.function or WireFunction()
    return function.name or "", arguments_text(function.arguments)


def _is_whole(pieces: list[str]) -> bool:
    last = next((piece for piece in reversed(pieces) if not piece.isspace()), "")
    if not last.rstrip().endswith("}"):
        return False
    text = "".join(pieces)
    try:
        _OBJECT.decode(text)
    except UNREADABLE:
        return False
    return True
