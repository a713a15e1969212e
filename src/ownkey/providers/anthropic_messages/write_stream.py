"""A stream as Claude's clients read it: one block is open at a time.

Parallel tool calls may arrive interleaved; the later ones are held back until the earlier one is complete. Why the
answer ended is told at the very end, together with the usage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Tokens
from ownkey.providers.anthropic_messages.error_event import write_error_event
from ownkey.providers.anthropic_messages.signatures import is_foreign, is_redacted, write_signature
from ownkey.providers.anthropic_messages.usage import write_usage
from ownkey.providers.anthropic_messages.write_answer import write_citation, write_end
from ownkey.providers.anthropic_messages.write_conversation import tool_id
from ownkey.providers.conversation import Citation, Seal
from ownkey.providers.stream_events import (
    Cited,
    Delta,
    Ended,
    KeepAlive,
    PartEnded,
    PartKind,
    PartStarted,
    Sealed,
    Started,
    StreamEvent,
)

_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{%b%b}}\n\n'
_DELTAS: Final[dict[PartKind, bytes]] = {
    "text": b'"type":"text_delta","text":',
    "refusal": b'"type":"text_delta","text":',
    "thinking": b'"type":"thinking_delta","thinking":',
    "tool_call": b'"type":"input_json_delta","partial_json":',
}
_SIGNATURE: Final = b'"type":"signature_delta","signature":'
_CITATION: Final = b'"type":"citations_delta","citation":'
_encode: Final = msgspec.json.Encoder().encode


class _OpenPart(Struct):
    """The part whose block is open. A thought's block begins with its first words: it may turn out to be hidden."""

    index: int
    kind: PartKind
    call_id: str = ""
    begun: bool = False
    sealed: bool = False
    late_seal: Seal | None = None


class AnthropicStreamWriter:
    """Writes one client's stream. See `StreamWriter` for the methods."""

    def __init__(self) -> None:
        self._block = 0  # the number of the block that is open, or else of the next one
        self._part: _OpenPart | None = None
        self._held: dict[int, list[StreamEvent]] = {}
        self._end = Ended("stop")
        self._started = self._refused = self._finished = False

    def write(self, events: Sequence[StreamEvent], tokens: Tokens | None) -> bytes:
        """The client's bytes for these events."""
        output: list[bytes] = []
        self._run(events, tokens, output)
        return b"".join(output)

    def finish(self, tokens: Tokens | None) -> bytes:
        """Why it ended, the usage, and the end."""
        if self._finished:
            return b""
        self._finished = True
        output: list[bytes] = []
        self._start(Started("", "", 0), tokens, output)
        self._close(output)
        end = write_end(self._end.finish, self._end.stop_sequence, refused=self._refused)
        event = {"type": "message_delta", "delta": end, "usage": write_usage(tokens)}
        output += (b"event: message_delta\ndata: ", _encode(event), b"\n\n", _STOP)
        return b"".join(output)

    def break_off(self, failure: Failure) -> bytes:
        """The error event."""
        return write_error_event(failure)

    def _run(self, events: Sequence[StreamEvent], tokens: Tokens | None, output: list[bytes]) -> None:
        for position, event in enumerate(events):
            match event:
                case Delta() | Cited() | Sealed():
                    self._continue(event, output)
                case PartStarted():
                    self._start_part(event, events, position, output)
                case PartEnded():
                    self._end_part(event, tokens, output)
                case Started():
                    self._start(event, tokens, output)
                case KeepAlive():
                    output.append(_PING)
                case Ended():
                    self._end = event

    def _start(self, event: Started, tokens: Tokens | None, output: list[bytes]) -> None:
        if self._started:
            return
        self._started = True
        message: dict[str, Any] = {
            "id": event.id,
            "type": "message",
            "role": "assistant",
            "model": event.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(event.tokens or tokens),
        }
        output += (b"event: message_start\ndata: ", _encode({"type": "message_start", "message": message}), b"\n\n")

    def _start_part(
        self, event: PartStarted, events: Sequence[StreamEvent], position: int, output: list[bytes]
    ) -> None:
        if self._part is not None:
            self._held[event.index] = [event]
            return
        self._part = part = _OpenPart(event.index, event.kind, tool_id(event.call_id))
        match event.kind:
            case "text" | "refusal":
                self._refused = self._refused or event.kind == "refusal"
                self._begin({"type": "text", "text": ""}, output)
            case "tool_call":
                seal = _find_seal(events, position)
                if is_foreign(seal):
                    # It is known already: a client may not keep a thought that comes after its call.
                    self._write_seal(seal, part.call_id, output)
                    part.sealed = True
                self._begin({"type": "tool_use", "id": part.call_id, "name": event.name, "input": {}}, output)

    def _continue(self, event: Delta | Cited | Sealed, output: list[bytes]) -> None:
        part = self._part
        if part is None or part.index != event.index:
            held = self._held.get(event.index)
            if held is not None:
                held.append(event)
            return
        match event:
            case Delta() if event.text:
                self._begin_thought(part, output)
                output.append(_DELTA % (self._block, _DELTAS[part.kind], _encode(event.text)))
            case Cited() if part.kind == "text":
                output.append(self._cite(event.citation))
            case Sealed():
                self._seal(part, event.seal, output)

    def _cite(self, citation: Citation) -> bytes:
        return _DELTA % (self._block, _CITATION, _encode(write_citation(citation)))

    def _seal(self, part: _OpenPart, seal: Seal, output: list[bytes]) -> None:
        if part.kind == "thinking":
            if is_redacted(seal) and not part.begun:
                self._begin({"type": "redacted_thinking", "data": seal.data}, output)
                part.begun = True
                return
            self._begin_thought(part, output)
            output.append(_DELTA % (self._block, _SIGNATURE, _encode(write_signature(seal))))
        elif part.kind == "tool_call" and is_foreign(seal) and not part.sealed:
            part.late_seal = seal

    def _begin_thought(self, part: _OpenPart, output: list[bytes]) -> None:
        if part.kind == "thinking" and not part.begun:
            part.begun = True
            self._begin({"type": "thinking", "thinking": "", "signature": ""}, output)

    def _end_part(self, event: PartEnded, tokens: Tokens | None, output: list[bytes]) -> None:
        part = self._part
        if part is None or part.index != event.index:
            held = self._held.get(event.index)
            if held is not None:
                held.append(event)
            return
        self._close_part(part, output)
        if self._held:
            self._run(self._held.pop(next(iter(self._held))), tokens, output)

    def _close_part(self, part: _OpenPart, output: list[bytes]) -> None:
        self._part = None
        if part.kind != "thinking" or part.begun:
            self._close_block(output)
        if part.late_seal is not None:
            self._write_seal(part.late_seal, part.call_id, output)

    def _close(self, output: list[bytes]) -> None:
        """Close what a reader left open, and give out what is held."""
        while self._part is not None:
            self._end_part(PartEnded(self._part.index), None, output)

    def _write_seal(self, seal: Seal | None, call_id: str, output: list[bytes]) -> None:
        """A block of its own for a tool call's seal."""
        self._begin({"type": "thinking", "thinking": "", "signature": ""}, output)
        output.append(_DELTA % (self._block, _SIGNATURE, _encode(write_signature(seal, call_id))))
        self._close_block(output)

    def _begin(self, block: dict[str, Any], output: list[bytes]) -> None:
        event = {"type": "content_block_start", "index": self._block, "content_block": block}
        output += (b"event: content_block_start\ndata: ", _encode(event), b"\n\n")

    def _close_block(self, output: list[bytes]) -> None:
        output.append(b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._block)
        self._block += 1


def _find_seal(events: Sequence[StreamEvent], position: int) -> Seal | None:
    """The seal of the part that begins at a position, if it is among these events; none comes after its end."""
    started = events[position]
    index = started.index if isinstance(started, PartStarted) else -1
    for place in range(position + 1, len(events)):
        event = events[place]
        if isinstance(event, Sealed) and event.index == index:
            return event.seal
        if isinstance(event, PartEnded) and event.index == index:
            return None
    return None
