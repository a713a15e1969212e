"""Every dialect in, every dialect out: the official client at the gateway against the same client at a provider.

The provider behind the gateway gives one scripted reply in its own dialect. A simulated provider of the client's
dialect gives the same reply straight to the client. Both answers must be equal, streamed and whole.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest
from msgspec.structs import replace

from ownkey.domain.provider import Dialect
from ownkey.storage.usage import list_events
from ownkey.testing import Call, Reply
from tests.gateway.conftest import Platform
from tests.gateway.speaking_clients import QUESTION, SYSTEM, Asked, ask

CHAT, RESPONSES, CLAUDE, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI,
)
DIALECTS: Final = (CHAT, RESPONSES, CLAUDE, GEMINI)
# A provider that speaks this dialect alone, so that the gateway has to.
PROVIDERS: Final = {CHAT: "together", RESPONSES: "perplexity", CLAUDE: "anthropic", GEMINI: "gemini"}
# A model that the dialect's rules know, for what depends on it (thinking, limits).
MODELS: Final = {CHAT: "some-model", RESPONSES: "some-model", CLAUDE: "claude-haiku-5-5", GEMINI: "gemini-3.8-flash"}

STRAIGHT_KEY: Final = "key-straight-000001"

TIDE = Call(name="tide", arguments={"port": "Emden"})
REPLIES: Final = {
    "text": Reply(text="High water is at noon, and again at midnight.", cache_read=5),
    "one call": Reply(text=None, calls=(TIDE,)),
    "text and parallel calls": Reply(
        text="I look it up.", calls=(TIDE, Call(name="tide", arguments={"port": 'Ems "A" \\ ü 🌊'}))
    ),
    "length": Reply(text="High water is", finish="length"),
    "thinking": Reply(text="At noon.", thinking="The moon is full. The sun pulls too.", output_reasoning=6),
    "nothing in the middle": Reply(text="a", pieces=1, output_text=1),
}


def gateway(platform: Platform, token: str) -> Asked:
    return Asked(f"{platform.url}/v1", platform.url, platform.url, token)


def straight(platform: Platform, dialect: Dialect) -> Asked:
    base = platform.providers.base_url(PROVIDERS[dialect])
    root = base.rsplit("/", 1)[0]
    return Asked(base, root, root, STRAIGHT_KEY)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("reply", REPLIES, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
async def test_a_client_sees_what_it_would_see_at_its_own_provider(
    platform: Platform, client: Dialect, provider: Dialect, reply: str, stream: bool
) -> None:
    said, tools = REPLIES[reply], bool(REPLIES[reply].calls)
    platform.providers.reply(PROVIDERS[client], said)
    wanted = await ask(client, straight(platform, client), MODELS[client], stream=stream, tools=tools)
    platform.providers.reset()
    user = await platform.user(**{PROVIDERS[provider]: "key-of-this-user-0001"})
    # Interleaved calls must arrive whole and apart.
    platform.providers.reply(PROVIDERS[provider], replace(said, interleave=True))
    model = f"{PROVIDERS[provider]}/{MODELS[provider]}"
    got = await ask(client, gateway(platform, user.token), model, stream=stream, tools=tools)
    assert without_seals(got) == without_seals(wanted)
    [seen] = platform.providers.ledger()
    assert (seen.provider, seen.key, seen.stream) == (PROVIDERS[provider], "key-of-this-user-0001", stream)
    # Nothing of the question was lost on the way.
    assert SYSTEM in str(seen.body)
    assert QUESTION in str(seen.body)
    assert "iVBORw0KGgo" in str(seen.body)
    if tools:
        assert "The tide at a port" in str(seen.body)
    await platform.ok.core.metering.flush()
    async with platform.ok.database.transaction(user.id) as tx:
        [event] = await list_events(tx, start=datetime.min.replace(tzinfo=UTC), end=datetime.max.replace(tzinfo=UTC))
    tokens = event.tokens
    assert tokens is not None
    assert (tokens.input_uncached, tokens.cache_read, tokens.output_text, tokens.output_reasoning) == (
        said.input_uncached,
        said.cache_read,
        said.output_text,
        said.output_reasoning,
    )


def without_seals(answer: Any) -> Any:
    """Seals are opaque: another provider's looks different, or is not there. So are parts with nothing else in them."""
    if isinstance(answer, dict):
        kept = {name: without_seals(part) for name, part in answer.items() if name not in _SEALS}
        return {name: part for name, part in kept.items() if part != []}
    if isinstance(answer, list):
        parts = [without_seals(part) for part in answer]
        return [
            part
            for part in parts
            if part not in ({"type": "reasoning"}, {"type": "thinking"}, {"type": "thinking", "thinking": ""})
        ]
    return answer


_SEALS: Final = frozenset(
    {"signature", "encrypted_content", "thought_signature", "thoughtSignature", "reasoning_details", "citations"}
)
