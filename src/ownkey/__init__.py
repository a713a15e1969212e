"""Every user's own LLM keys, preferences and spend, behind one OpenAI-compatible gateway."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ownkey.config import Config
from ownkey.errors import OwnkeyError

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.services.llm_config_manager import LLMConfigManager, Reply
    from ownkey.services.user_llm_settings import UserLLMSettingsService

__all__ = ["Config", "LLMConfigManager", "Ownkey", "OwnkeyError", "Reply", "UserLLMSettingsService"]
__version__ = "0.1.0"

# These bring the whole server with them, so they are imported when they are asked for.
_LATER: Final = {
    "LLMConfigManager": "ownkey.services.llm_config_manager",
    "Ownkey": "ownkey.app",
    "Reply": "ownkey.services.llm_config_manager",
    "UserLLMSettingsService": "ownkey.services.user_llm_settings",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
