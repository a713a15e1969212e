"""The adapter of each dialect."""

from __future__ import annotations

from typing import Final

from ownkey.domain.provider import Dialect
from ownkey.providers.anthropic_messages.adapter import AnthropicMessages
from ownkey.providers.dialect import Adapter
from ownkey.providers.openai_chat.passthrough import OpenAIChat

_ADAPTERS: Final[dict[Dialect, Adapter]] = {
    Dialect.OPENAI_CHAT: OpenAIChat(),
    Dialect.ANTHROPIC_MESSAGES: AnthropicMessages(),
}


def get_adapter(dialect: Dialect) -> Adapter:
    """The adapter of a dialect. Adapters hold no state: one serves every request."""
    return _ADAPTERS[dialect]
