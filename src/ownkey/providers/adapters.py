"""Which adapter stands between a client and a provider: one that passes bytes through, or a translation."""

from __future__ import annotations

from typing import Final

from ownkey.domain.provider import Dialect
from ownkey.providers.anthropic_messages.inbound import AnthropicInbound
from ownkey.providers.anthropic_messages.outbound import AnthropicOutbound
from ownkey.providers.anthropic_messages.passthrough import AnthropicPassthrough
from ownkey.providers.dialect import Adapter
from ownkey.providers.gemini.embeddings import GeminiEmbeddings, OpenAIEmbeddings
from ownkey.providers.gemini.inbound import GeminiInbound
from ownkey.providers.gemini.outbound import GeminiOutbound
from ownkey.providers.gemini.passthrough import GeminiPassthrough
from ownkey.providers.openai_chat.inbound import OpenAIChatInbound
from ownkey.providers.openai_chat.outbound import OpenAIChatOutbound
from ownkey.providers.openai_chat.passthrough import OpenAIChat
from ownkey.providers.openai_responses.inbound import ResponsesInbound
from ownkey.providers.openai_responses.outbound import ResponsesOutbound
from ownkey.providers.openai_responses.passthrough import ResponsesPassthrough
from ownkey.providers.side_operations.adapter import SideOperations
from ownkey.providers.translation import Inbound, Outbound, Translation

_INBOUND: Final[dict[Dialect, Inbound]] = {
    Dialect.OPENAI_CHAT: OpenAIChatInbound(),
    Dialect.OPENAI_RESPONSES: ResponsesInbound(),
    Dialect.ANTHROPIC_MESSAGES: AnthropicInbound(),
    Dialect.GEMINI: GeminiInbound(),
}
_OUTBOUND: Final[dict[Dialect, Outbound]] = {
    Dialect.OPENAI_CHAT: OpenAIChatOutbound(),
    Dialect.OPENAI_RESPONSES: ResponsesOutbound(),
    Dialect.ANTHROPIC_MESSAGES: AnthropicOutbound(),
    Dialect.GEMINI: GeminiOutbound(),
}
_PASSTHROUGH: Final[dict[Dialect, Adapter]] = {
    Dialect.OPENAI_CHAT: OpenAIChat(),
    Dialect.OPENAI_RESPONSES: ResponsesPassthrough(),
    Dialect.ANTHROPIC_MESSAGES: AnthropicPassthrough(),
    Dialect.GEMINI: GeminiPassthrough(),
}
_ADAPTERS: Final[dict[tuple[Dialect, Dialect], Adapter]] = {
    (client, provider): _PASSTHROUGH[client] if client is provider else Translation(inbound, outbound)
    for client, inbound in _INBOUND.items()
    for provider, outbound in _OUTBOUND.items()
}
# Embeddings have two forms, Google's and that of everybody else.
_EMBEDDINGS: Final[dict[tuple[bool, bool], Adapter]] = {
    (False, False): _PASSTHROUGH[Dialect.OPENAI_CHAT],
    (False, True): GeminiEmbeddings(),
    (True, False): OpenAIEmbeddings(),
    (True, True): _PASSTHROUGH[Dialect.GEMINI],
}
_SIDE_OPERATIONS: Final = SideOperations()


def get_adapter(client: Dialect, provider: Dialect, operation: str = "chat") -> Adapter:
    """The adapter for an operation between two dialects. Adapters hold no state: one serves every request."""
    if operation in ("chat", "count_tokens"):
        return _ADAPTERS[client, provider]
    if operation == "embeddings":
        return _EMBEDDINGS[client is Dialect.GEMINI, provider is Dialect.GEMINI]
    return _SIDE_OPERATIONS


def get_inbound(dialect: Dialect) -> Inbound:
    """A dialect as clients speak it."""
    return _INBOUND[dialect]


def get_outbound(dialect: Dialect) -> Outbound:
    """A dialect as providers speak it."""
    return _OUTBOUND[dialect]
