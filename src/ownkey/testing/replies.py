"""What a simulated provider shall answer, in no dialect: `speakers` say it in the provider's own."""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import Any, Literal

from msgspec import Struct

Finish = Literal["stop", "length", "tool_calls", "refusal", "stop_sequence"]


class Call(Struct, frozen=True, kw_only=True):
    """A call of one of the client's tools."""

    name: str
    arguments: dict[str, Any] = {}


class Reply(Struct, frozen=True, kw_only=True):
    """An answer. A part that is None or empty is left out; the order is thinking, text or refusal, calls.

    `seal` is what the provider wants back with the thinking. `finish` None follows from the parts. `pieces`: in how
    many deltas a stream says each part; with `interleave` the arguments of parallel calls come in turns, where the
    dialect can do that. The counters are disjoint, as `domain.usage.Tokens` has them. `citations` are (url, title), and
    `searches` what the provider looked up for a fee.
    """

    text: str | None = "A simulated answer."
    thinking: str | None = None
    seal: str | None = None
    refusal: str | None = None
    calls: tuple[Call, ...] = ()
    finish: Finish | None = None
    stop_sequence: str | None = None
    citations: tuple[tuple[str, str], ...] = ()
    searches: tuple[str, ...] = ()
    logprobs: bool = False
    interleave: bool = False
    pieces: int = 3
    input_uncached: int = 11
    cache_read: int = 0
    cache_write: int = 0
    output_text: int = 7
    output_reasoning: int = 0

    @property
    def ending(self) -> Finish:
        """Why this answer ends."""
        if self.finish is not None:
            return self.finish
        if self.refusal is not None:
            return "refusal"
        return "tool_calls" if self.calls else "stop"

    @property
    def input_total(self) -> int:
        """All input."""
        return self.input_uncached + self.cache_read + self.cache_write

    @property
    def output_total(self) -> int:
        """All output."""
        return self.output_text + self.output_reasoning


class Spoken(Struct, frozen=True):
    """One event of a stream, or a whole answer: its bytes, and the usage object so far if it tells one."""

    data: bytes
    usage: dict[str, Any] | None = None


class Script:
    """Queued replies by provider. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Reply]] = {}

    def add(self, provider: str, reply: Reply, times: int = 1) -> None:
        """This reply next, so many times."""
        with self._lock:
            self._queues.setdefault(provider, deque()).extend([reply] * times)

    def take(self, provider: str) -> Reply | None:
        """The next reply of a provider, or None."""
        with self._lock:
            queue = self._queues.get(provider)
            return queue.popleft() if queue else None

    def clear(self) -> None:
        """No reply is queued."""
        with self._lock:
            self._queues.clear()


def cut(text: str, pieces: int) -> list[str]:
    """A text in so many pieces, none of them empty."""
    size = max(1, -(-len(text) // max(1, pieces)))
    return [text[start : start + size] for start in range(0, len(text), size)]


def change_usage(spoken: Spoken, changes: dict[str, Any]) -> Spoken:
    """The same with other values in its usage object, wherever that stands."""
    if spoken.usage is None or not changes:
        return spoken
    head, mark, data = (
        spoken.data.rpartition(b"data: ") if spoken.data.startswith((b"data:", b"event:")) else (b"", b"", spoken.data)
    )
    value = json.loads(data)
    _merge(value, changes)
    usage = {**spoken.usage, **changes}
    tail = b"\n\n" if mark else b""
    return Spoken(head + mark + json.dumps(value, separators=(",", ":")).encode() + tail, usage)


def _merge(value: Any, changes: dict[str, Any]) -> None:
    if not isinstance(value, dict):
        return
    for name, part in value.items():
        if name in ("usage", "usageMetadata") and isinstance(part, dict):
            part.update(changes)
        else:
            _merge(part, changes)
