"""What the providers' side saw: one entry per request, in order of arrival."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from ownkey.testing.operations import read_form

# The headers in which a provider's key can travel, and what stands before it.
KEY_CARRIERS = {"authorization": "Bearer ", "x-api-key": "", "x-goog-api-key": "", "api-key": ""}


class LedgerEntry(Struct, kw_only=True):
    """One request as a provider saw it.

    `keys` holds every carrier in which a key came (header name to key; `?key` for one in the URL), so that a key
    in the wrong place shows. `marker` is the body's `user`, else the text of the last message: tests put there
    what tells their requests apart. `usage` is the last usage object that was sent. `outcome` is `open`, then
    `finished` (the last byte was handed over), `client_left` or `cut` (the simulation broke the connection).
    """

    number: int
    provider: str
    method: str
    path: str
    keys: dict[str, str]
    headers: dict[str, str]
    body: Any = None
    model: str | None = None
    stream: bool = False
    marker: str | None = None
    status: int | None = None
    events: int = 0
    usage: dict[str, Any] | None = None
    fault: str | None = None
    outcome: str = "open"

    @property
    def key(self) -> str | None:
        """The one key that was shown, None without any. Raises ValueError when different ones were shown."""
        shown = set(self.keys.values())
        if len(shown) > 1:
            raise ValueError(f"request {self.number} showed {len(shown)} different keys")
        return shown.pop() if shown else None


class Ledger:
    """Thread-safe: the simulation writes in its own thread, tests read in theirs."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[LedgerEntry] = []
        self._next = 1

    def begin(self, provider: str, method: str, path: str, query: str, headers: Mapping[str, str]) -> LedgerEntry:
        """A new entry; its number says in which order requests arrived."""
        with self._changed:
            entry = LedgerEntry(
                number=self._next,
                provider=provider,
                method=method,
                path=path,
                keys=_read_keys(query, headers),
                headers=dict(headers),
            )
            self._next += 1
            self._entries.append(entry)
            self._changed.notify_all()
            return entry

    def end(self, entry: LedgerEntry, outcome: str) -> None:
        """Close an entry; the first outcome stands."""
        with self._changed:
            if entry.outcome == "open":
                entry.outcome = outcome
                self._changed.notify_all()

    def entries(self, provider: str | None = None) -> list[LedgerEntry]:
        """All entries, or one provider's."""
        with self._changed:
            return [entry for entry in self._entries if provider is None or entry.provider == provider]

    def wait_for(self, count: int, timeout_seconds: float) -> bool:
        """Wait until this many requests have arrived. False when the time is over."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._entries) >= count, timeout_seconds)

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until no request is open. False when the time is over."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(entry.outcome != "open" for entry in self._entries), timeout_seconds
            )

    def clear(self) -> None:
        """Forget every entry; requests that are still open are not seen again."""
        with self._changed:
            self._entries.clear()
            self._changed.notify_all()


def read_request(entry: LedgerEntry, raw: bytes, rest: str) -> None:
    """Fill in what the body says, and for Google the path below the provider's base URL, `rest`."""
    kind = entry.headers.get("content-type", "")
    try:
        body = read_form(raw, kind) if kind.startswith("multipart/") else json.loads(raw)
    except ValueError:
        return
    entry.body = body
    if not isinstance(body, dict):
        return
    entry.model = body.get("model") if isinstance(body.get("model"), str) else None
    entry.stream = body.get("stream") is True
    if rest.startswith("/models/"):
        entry.model, _, action = rest.removeprefix("/models/").rpartition(":")
        entry.stream = action == "streamGenerateContent"
    entry.marker = _read_marker(body)


def _read_keys(query: str, headers: Mapping[str, str]) -> dict[str, str]:
    keys = {name: headers[name].removeprefix(prefix) for name, prefix in KEY_CARRIERS.items() if headers.get(name)}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "key" and value:
            keys["?key"] = value
    return keys


def _read_marker(body: dict[str, Any]) -> str | None:
    metadata = body.get("metadata")
    user = body.get("user") or (metadata.get("user_id") if isinstance(metadata, dict) else None)
    if isinstance(user, str):
        return user
    messages = body.get("messages") or body.get("contents")
    last = messages[-1] if isinstance(messages, list) and messages else None
    content = (last.get("content") or last.get("parts")) if isinstance(last, dict) else body.get("input")
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = " ".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else None
