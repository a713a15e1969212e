"""The `reasoning_details` of a stream, put together from their pieces."""

from __future__ import annotations

from typing import Any, Final

_GROWING: Final = frozenset({"text", "summary", "data"})


class DetailCollector:
    """Collects the entries of one thinking part: an entry's texts follow each other, its other fields come once."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._pieces: list[dict[str, list[str]]] = []  # the growing texts of each entry

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, given: list[dict[str, Any]]) -> None:
        """Take the entries of one chunk."""
        for entry in given:
            last = self._entries[-1] if self._entries else None
            if last is None or any(last.get(name) != entry.get(name) for name in ("type", "index")):
                last = {}
                self._entries.append(last)
                self._pieces.append({})
            for name, value in entry.items():
                if name in _GROWING and isinstance(value, str):
                    last[name] = ""  # keeps its place
                    self._pieces[-1].setdefault(name, []).append(value)
                elif value is not None or name not in last:
                    last[name] = value

    def take(self) -> list[dict[str, Any]]:
        """The entries, whole; none are left."""
        whole = [
            entry | {name: "".join(texts) for name, texts in pieces.items()}
            for entry, pieces in zip(self._entries, self._pieces, strict=True)
        ]
        self._entries, self._pieces = [], []
        return whole
