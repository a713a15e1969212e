"""Server-sent events of a speaker."""

from __future__ import annotations

import json
from typing import Any

from ownkey.testing.replies import Spoken


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def unnamed(value: Any, usage: dict[str, Any] | None = None) -> Spoken:
    """An event without a name."""
    return Spoken(b"data: " + encode(value) + b"\n\n", usage)


def named(value: dict[str, Any], usage: dict[str, Any] | None = None) -> Spoken:
    """An event with the name that its `type` says."""
    return Spoken(f"event: {value['type']}\n".encode() + b"data: " + encode(value) + b"\n\n", usage)
