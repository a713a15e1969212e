"""The kinds of load: what is asked, of whom, over how many connections."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

# An ordinary conversation: a question with its history, some 200 tokens.
REQUEST_BYTES = 911
EVENTS_PER_STREAM = 51


@dataclass(frozen=True)
class Case:
    """One kind of load.

    `events` is the length of a stream, 0 for a whole answer; `pace_ms` the time between two of its events.
    `users` is how many users ask in turn, `fresh` that none of them was seen before. `tls` is between the gateway
    and the provider. `open_at_once` streams are begun one after the other and all stay open.
    """

    name: str
    connections: int = 64
    seconds: float = 3
    body_bytes: int = REQUEST_BYTES
    events: int = 0
    pace_ms: int = 0
    users: int = 1
    fresh: bool = False
    tls: bool = False
    open_at_once: bool = False

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.events > 0


CASES = (
    Case("c1", connections=1, seconds=2),
    Case("c64"),
    Case("c512", connections=512, seconds=2),
    Case("20kb", body_bytes=20_000, seconds=2),
    Case("200kb", connections=16, body_bytes=200_000, seconds=2),
    Case("streams", connections=16, events=EVENTS_PER_STREAM, seconds=2),
    Case("long", connections=16, events=500, seconds=2),
    Case("paced", events=EVENTS_PER_STREAM, pace_ms=10, seconds=2),
    Case("open", connections=1000, events=EVENTS_PER_STREAM, pace_ms=100, open_at_once=True),
    Case("tls", tls=True),
    Case("warm", users=1000, seconds=2),
    Case("cold", users=1, fresh=True, seconds=2),
    Case("tlsnew", fresh=True, tls=True, seconds=2),
)
# What every gateway is asked, ours and others.
COMMON = ("c1", "c64", "streams", "paced")


def find_cases(names: list[str]) -> list[Case]:
    """The cases of these names, in their usual order. Raises ValueError for a name that there is not."""
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        raise ValueError(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in CASES)}")
    return [case for case in CASES if case.name in names]


def build_body(case: Case, model: str) -> str:
    """A chat request of the case's size. Its words tell the provider what stream to send."""
    request: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You answer briefly and name your sources."},
            {"role": "user", "content": ""},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    if case.stream:
        request["stream"] = True
    if case.open_at_once:
        # Whoever does not ask for the event with the usage is spared it, and sees a gap: that would be no lateness.
        request["stream_options"] = {"include_usage": True}
    missing = case.body_bytes - len(json.dumps(request))
    words = f"events-{case.events} pace-{case.pace_ms} " if case.stream else ""
    request["messages"][1]["content"] = (words + "word " * (missing // 5 + 1))[:missing]
    return json.dumps(request)
