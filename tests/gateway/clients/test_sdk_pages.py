"""The pages on libraries: their snippets, run as they stand, against the gateway and simulated providers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from ownkey.testing import Call, Reply
from tests.gateway.clients.page import read_program
from tests.gateway.clients.programs import CLIENTS_PYTHON, needs_node, run_node, run_python, run_shell
from tests.gateway.conftest import Platform

KEYS: Final = {
    "anthropic": "sk-ant-pages-000000000001",
    "openai": "sk-proj-pages-00000000001",
    "gemini": "AIza-pages-00000000000001",
    "groq": "gsk_pages_00000000000001",
}
# What each provider says when nothing else is scripted comes from its name, so these say who spoke.
CLAUDE, GPT = Reply(text="At noon, says Claude."), Reply(text="At noon, says GPT.")
TIDE = Call(name="tide", arguments={"port": "Emden"})
CALLS, TOLD = Reply(text=None, calls=(TIDE,)), Reply(text="At 12:04, says Gemini.")
SHAPE = Reply(text='{"port": "Emden", "high_water": "12:04"}')
SHAPE_IN_CAMELS = Reply(text='{"port": "Emden", "highWater": "12:04"}')


class Case(Struct, frozen=True, kw_only=True):
    """One language of one page: what the providers reply, what it prints, and who was asked for what."""

    page: str
    language: str
    replies: dict[str, tuple[Reply, ...]]
    prints: str
    asks: tuple[tuple[str, str], ...]
    python: str | Path = sys.executable
    # Files by name, and how they begin.
    writes: dict[str, bytes] = {}

    @property
    def name(self) -> str:
        return f"{self.page}-{self.language}"


CASES: Final = (
    Case(
        page="openai-sdk",
        language="python",
        replies={"anthropic": (CLAUDE, CLAUDE, CLAUDE, SHAPE, CLAUDE), "gemini": (CALLS, TOLD), "openai": (GPT,)},
        prints="""At noon, says Claude.
At noon, says Claude.
anthropic claude-sonnet-5-5 own
{"port":"Emden"} At 12:04, says Gemini.
port='Emden' high_water='12:04'
At noon, says GPT.
2
A simulated transcript of water.mp3.
False
token_invalid
""",
        asks=(
            *[("anthropic", "/messages")] * 3,
            *[("gemini", "gemini-3.8-flash:generateContent")] * 2,
            *[("anthropic", "/messages")] * 2,
            ("openai", "/responses"),
            ("openai", "/embeddings"),
            ("openai", "/images/generations"),
            ("openai", "/audio/speech"),
            ("groq", "/audio/transcriptions"),
            ("openai", "/moderations"),
            ("anthropic", "/messages"),
        ),
        writes={"lighthouse.png": b"\x89PNG", "water.mp3": b"RIFF"},
    ),
    Case(
        page="openai-sdk",
        language="js",
        replies={"anthropic": (CLAUDE, CLAUDE), "gemini": (CALLS, TOLD), "openai": (GPT,)},
        prints="""At noon, says Claude.
At noon, says Claude.
At 12:04, says Gemini.
At noon, says GPT.
2
A simulated transcript of water.mp3.
""",
        asks=(
            *[("anthropic", "/messages")] * 2,
            *[("gemini", "gemini-3.8-flash:generateContent")] * 2,
            ("openai", "/responses"),
            ("openai", "/embeddings"),
            ("openai", "/images/generations"),
            ("openai", "/audio/speech"),
            ("groq", "/audio/transcriptions"),
        ),
        writes={"lighthouse.png": b"\x89PNG", "water.mp3": b"RIFF"},
    ),
    Case(
        page="openai-sdk",
        language="console",
        replies={"anthropic": (CLAUDE,)},
        prints="At noon, says Claude.\n",
        asks=(("anthropic", "/messages"),),
    ),
    Case(
        page="anthropic-sdk",
        language="python",
        replies={"anthropic": (CLAUDE, CLAUDE), "openai": (GPT,), "gemini": (CALLS, TOLD)},
        prints="""At noon, says Claude.
At noon, says GPT.
anthropic claude-sonnet-5-5 own
At 12:04, says Gemini.
24
['anthropic/claude-fable-5-1', 'anthropic/claude-fable-5-2']
token_invalid
""",
        asks=(
            ("anthropic", "/messages"),
            ("openai", "/chat/completions"),
            ("anthropic", "/messages"),
            *[("gemini", "gemini-3.8-flash:generateContent")] * 2,
            ("anthropic", "/messages/count_tokens"),
        ),
    ),
    Case(
        page="anthropic-sdk",
        language="js",
        replies={"anthropic": (CLAUDE,), "openai": (GPT,), "gemini": (CALLS, TOLD)},
        prints="At noon, says Claude.\nAt noon, says GPT.\nAt 12:04, says Gemini.\n",
        asks=(
            ("anthropic", "/messages"),
            ("openai", "/chat/completions"),
            *[("gemini", "gemini-3.8-flash:generateContent")] * 2,
        ),
    ),
    Case(
        page="anthropic-sdk",
        language="console",
        replies={"anthropic": (CLAUDE,)},
        prints="At noon, says Claude.\n",
        asks=(("anthropic", "/messages"),),
    ),
    Case(
        page="google-sdk",
        language="python",
        replies={"anthropic": (CLAUDE, CLAUDE, CALLS, CLAUDE, SHAPE), "openai": (GPT,)},
        prints="""At noon, says Claude.
At noon, says GPT.
anthropic claude-sonnet-5-5 own
At noon, says Claude.
port='Emden' high_water='12:04'
1
19
['models/anthropic/claude-fable-5-1', 'models/anthropic/claude-fable-5-2']
""",
        asks=(
            ("anthropic", "/messages"),
            ("openai", "/chat/completions"),
            *[("anthropic", "/messages")] * 4,
            ("gemini", "gemini-embedding-2:batchEmbedContents"),
            ("gemini", "gemini-3.8-flash:countTokens"),
        ),
    ),
    Case(
        page="google-sdk",
        language="js",
        replies={"anthropic": (CLAUDE, CALLS, CLAUDE), "openai": (GPT,)},
        prints="At noon, says Claude.\nAt noon, says GPT.\nAt noon, says Claude.\n",
        asks=(("anthropic", "/messages"), ("openai", "/chat/completions"), *[("anthropic", "/messages")] * 2),
    ),
    Case(
        page="google-sdk",
        language="console",
        replies={"anthropic": (CLAUDE,)},
        prints="At noon, says Claude.\n",
        asks=(("anthropic", "/messages"),),
    ),
    Case(
        page="langchain",
        language="python",
        python=CLIENTS_PYTHON,
        replies={"anthropic": (CLAUDE, CLAUDE, SHAPE, CLAUDE), "gemini": (CALLS, TOLD), "openai": (GPT, GPT)},
        prints="""At noon, says Claude.
At noon, says Claude. 18
At 12:04, says Gemini.
port='Emden' high_water='12:04'
At noon, says Claude.
At noon, says GPT.
At noon, says GPT.
2
""",
        asks=(
            *[("anthropic", "/messages")] * 2,
            *[("gemini", "gemini-3.8-flash:generateContent")] * 2,
            *[("anthropic", "/messages")] * 2,
            *[("openai", "/chat/completions")] * 2,
            ("openai", "/embeddings"),
        ),
    ),
    Case(
        page="llama-index",
        language="python",
        python=CLIENTS_PYTHON,
        replies={"anthropic": (CLAUDE, CLAUDE, CALLS, CLAUDE)},
        prints="At noon, says Claude.\nAt noon, says Claude.\n12:04 at Emden\nAt noon, says Claude.\n",
        asks=(*[("anthropic", "/messages")] * 3, *[("openai", "/embeddings")] * 2, ("anthropic", "/messages")),
    ),
    Case(
        page="openai-agents",
        language="python",
        python=CLIENTS_PYTHON,
        replies={"anthropic": (CALLS, CLAUDE), "gemini": (CALLS, TOLD)},
        prints="At noon, says Claude.\nAt 12:04, says Gemini.\n",
        asks=(*[("anthropic", "/messages")] * 2, *[("gemini", "gemini-3.8-flash:generateContent")] * 2),
    ),
    Case(
        page="vercel-ai-sdk",
        language="js",
        replies={
            "anthropic": (CLAUDE, CLAUDE, SHAPE_IN_CAMELS, CLAUDE, CLAUDE),
            "gemini": (CALLS, TOLD),
            "openai": (GPT,),
        },
        prints="""At noon, says Claude.
At noon, says Claude. 18
At 12:04, says Gemini.
12:04
2
At noon, says Claude.
At noon, says Claude.
At noon, says GPT.
""",
        asks=(
            *[("anthropic", "/messages")] * 2,
            *[("gemini", "gemini-3.8-flash:generateContent")] * 2,
            ("anthropic", "/messages"),
            ("openai", "/embeddings"),
            *[("anthropic", "/messages")] * 2,
            ("openai", "/chat/completions"),
        ),
    ),
)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[needs_node] * (case.language == "js"), id=case.name) for case in CASES]
)
async def test_snippets_do_what_the_page_says(platform: Platform, tmp_path: Path, case: Case) -> None:
    user = await platform.user(**KEYS)
    for provider, replies in case.replies.items():
        for reply in replies:
            platform.providers.reply(provider, reply)
    program = read_program(case.page, case.language, platform.url, user.token)
    if case.language == "python":
        printed = await run_python(program, tmp_path, case.python)
    else:
        printed = await {"js": run_node, "console": run_shell}[case.language](program, tmp_path)
    assert printed == case.prints
    seen = [entry for entry in platform.providers.ledger() if entry.method == "POST"]
    assert [entry.provider for entry in seen] == [provider for provider, _ in case.asks]
    for entry, (provider, path) in zip(seen, case.asks, strict=True):
        assert (entry.key, entry.status) == (KEYS[provider], 200) and entry.path.endswith(path), entry.path
    for name, start in case.writes.items():
        assert (tmp_path / name).read_bytes().startswith(start)
