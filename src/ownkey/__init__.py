"""Every user's own LLM keys, preferences and spend, behind one OpenAI-compatible gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ownkey.config import Config
from ownkey.errors import OwnkeyError

if TYPE_CHECKING:
    from ownkey.app import Ownkey

__all__ = ["Config", "Ownkey", "OwnkeyError"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`Ownkey` brings the whole server with it, so it is imported when it is asked for."""
    if name == "Ownkey":
        from ownkey.app import Ownkey

        return Ownkey
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
