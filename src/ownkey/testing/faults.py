"""How a simulated provider misbehaves: a closed list of faults, each for a provider or for one of its keys."""

from __future__ import annotations

import threading
from typing import Final, Literal, get_args

from msgspec import Struct

Kind = Literal[
    # answered with the provider's own error body
    "bad_key",
    "no_permission",
    "no_credit",
    "rate_limited",
    "daily_quota",
    "missing_model",
    "bad_request",
    "refused_content",
    "server_error",
    "unavailable",
    "overloaded",
    # answered, but not as a provider should
    "echo_key",
    "not_json",
    "redirect",
    # not answered
    "reset",
    "hold",
    # a stream that goes wrong after `after_events` events
    "stream_error",
    "stream_cut",
    "stream_truncated",
    "stream_hold",
]

KINDS: Final[frozenset[str]] = frozenset(get_args(Kind))
STREAM_KINDS: Final = frozenset({"stream_error", "stream_cut", "stream_truncated", "stream_hold"})


class Fault(Struct, frozen=True, kw_only=True):
    """One way to fail.

    `key` limits it to requests that show this key. `times` None: until `fix`. `status` None: the provider's own.
    `stream_cut` drops the connection, `stream_truncated` ends the answer cleanly without a terminator; both and
    `stream_error`, `stream_hold` act after `after_events` events. `hold` and `stream_hold` wait for `release`
    or for the client to leave; a `hold` with a `status` fails with it then.
    """

    kind: Kind
    key: str | None = None
    times: int | None = None
    status: int | None = None
    retry_after_seconds: float | None = None
    after_events: int = 2


class Faults:
    """Which fault the next request meets, and which keys are good. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, list[tuple[Fault, int | None]]] = {}
        self._accepted: dict[str, frozenset[str]] = {}

    def add(self, provider: str, fault: Fault) -> None:
        """From now on. Faults for one key go before those for everybody, then the oldest first."""
        if fault.kind not in KINDS:
            raise ValueError(f"{fault.kind!r} is not a fault. The faults are: {', '.join(sorted(KINDS))}")
        if fault.times is not None and fault.times < 1:
            raise ValueError("times must be positive, or None for `until fixed`")
        with self._lock:
            entries = self._faults.setdefault(provider, [])
            entries.append((fault, fault.times))
            entries.sort(key=lambda entry: entry[0].key is None)

    def remove(self, provider: str | None = None) -> None:
        """End the faults of one provider, or of all."""
        with self._lock:
            if provider is None:
                self._faults.clear()
            else:
                self._faults.pop(provider, None)

    def accept(self, provider: str, keys: frozenset[str] | None) -> None:
        """Only these keys are good at this provider; None: every key is."""
        with self._lock:
            if keys is None:
                self._accepted.pop(provider, None)
            else:
                self._accepted[provider] = keys

    def reset(self) -> None:
        """No fault, every key good."""
        with self._lock:
            self._faults.clear()
            self._accepted.clear()

    def take(self, provider: str, keys: frozenset[str], *, stream: bool) -> Fault | None:
        """The fault that this request meets; one with `times` is used up by it."""
        with self._lock:
            entries = self._faults.get(provider, [])
            for position, (fault, left) in enumerate(entries):
                if fault.key is not None and fault.key not in keys:
                    continue
                if fault.kind in STREAM_KINDS and not stream:
                    continue
                if left is not None:
                    entries[position] = (fault, left - 1)
                    if left == 1:
                        del entries[position]
                return fault
            accepted = self._accepted.get(provider)
            if accepted is not None and not keys & accepted:
                return Fault(kind="bad_key")
            return None
