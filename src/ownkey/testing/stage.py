"""What the simulation does next, set by tests and read by its application."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from ownkey.domain.provider import Provider
from ownkey.testing.faults import Faults
from ownkey.testing.ledger import Ledger
from ownkey.testing.replies import Script


class Stage:
    """Shared by the thread of the tests and the thread of the server."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self.providers = providers
        self.ledger = Ledger()
        self.faults = Faults()
        self.script = Script()
        # Seconds between two events of a stream, and what to write into usage objects, by provider.
        self.pace_seconds: dict[str, float] = {}
        self.usage_changes: dict[str, dict[str, Any]] = {}
        self.gates = Gates()

    def reset(self) -> None:
        """As at the start: no faults, all keys good, an empty ledger, nobody held."""
        self.faults.reset()
        self.script.clear()
        self.pace_seconds.clear()
        self.usage_changes.clear()
        self.gates.open()
        self.ledger.clear()


class Gates:
    """Requests that are held until somebody lets them go: tests wait for events instead of sleeping."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def wait(self, provider: str) -> None:
        """Until `open` for this provider."""
        entry = (provider, asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.append(entry)
        try:
            await entry[2].wait()
        finally:
            with self._lock:
                if entry in self._waiting:
                    self._waiting.remove(entry)

    def open(self, provider: str | None = None) -> int:
        """Let go whoever waits at this provider, or everybody. Returns how many those are."""
        with self._lock:
            leaving = [entry for entry in self._waiting if provider in (None, entry[0])]
            self._waiting = [entry for entry in self._waiting if entry not in leaving]
        for _, loop, event in leaving:
            loop.call_soon_threadsafe(event.set)
        return len(leaving)
