"""How many bytes of requests lie in memory at once: many large bodies are more than any one of them."""

from __future__ import annotations

from ownkey.errors import ServerFull


class BodyRoom:
    """Room for bodies that do not come in one piece. Those that do are small, and are not counted."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self.taken_bytes = max_bytes, 0

    def take(self, size: int) -> None:
        """Room for so many bytes, until they are given back. Raises ServerFull."""
        if self.taken_bytes + size > self._max_bytes:
            raise ServerFull
        self.taken_bytes += size

    def give_back(self, size: int) -> None:
        """The request that they belong to has ended."""
        self.taken_bytes -= size
