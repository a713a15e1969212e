"""Coding agents, the real ones, at work through the gateway: each runs its own tools, whoever the model behind is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from ownkey.domain.provider import Dialect
from ownkey.testing import Call, Reply
from tests.gateway.clients.page import read_program
from tests.gateway.clients.programs import install_claude, needs_agents, run_shell
from tests.gateway.conftest import Platform
from tests.gateway.test_dialect_matrix import MODELS, PROVIDERS

pytestmark = needs_agents

# How a model calls each agent's shell.
SHELLS: Final = {"codex": ("exec_command", "cmd"), "claude-code": ("Bash", "command")}
FILES: Final = {"codex": (".codex/config.toml", "toml"), "claude-code": (".claude/settings.json", "json")}
KEY: Final = "key-of-this-user-0001"
SEAL: Final = "c2VhbGVkIGJ5IHRoZSBwcm92aWRlcg=="


def settle(agent: str, home: Path, url: str, token: str) -> Path:
    """The agent's configuration, as the page has it, and a place to work; where that is."""
    name, language = FILES[agent]
    file = home / name
    file.parent.mkdir()
    file.write_text(read_program(agent, language, url, token))
    work = home / "work"
    work.mkdir()
    if agent == "claude-code":
        install_claude(home)
    return work


def commands(agent: str, url: str, token: str) -> str:
    """What the page has people type."""
    typed = read_program(agent, "console", url, token)
    # The sandbox of a container rarely lets another one be made in it.
    return typed.replace("--sandbox workspace-write", "--dangerously-bypass-approvals-and-sandbox")


def at_work(agent: str, command: str) -> tuple[Reply, Reply]:
    """A model that has the agent run a command, and then says what it has done."""
    tool, argument = SHELLS[agent]
    call = Call(name=tool, arguments={argument: command})
    return Reply(text="I write it down.", thinking="A file.", calls=(call,)), Reply(text="It is written down.")


async def type_in(program: str, home: Path, work: Path) -> str:
    return await run_shell(f"cd {work}\n{program}", home)


@pytest.mark.parametrize("agent", SHELLS)
async def test_the_page_sets_the_agent_up(platform: Platform, tmp_path: Path, agent: str) -> None:
    user = await platform.user(gemini=KEY, openai=KEY)
    work = settle(agent, tmp_path, platform.url, user.token)
    typed = commands(agent, platform.url, user.token)
    other = "gemini" if "gemini/" in typed else "openai"
    for provider, words in (("gemini", "12:04 > tide.txt"), (other, "18:17 >> tide.txt")):
        for reply in at_work(agent, f"echo {words}"):
            platform.providers.reply(provider, reply)
    printed = await type_in(typed, tmp_path, work)
    assert printed.count("It is written down.") >= 2
    assert (work / "tide.txt").read_text() == "12:04\n18:17\n"
    seen = [entry for entry in platform.providers.ledger() if entry.body]
    assert [entry.provider for entry in seen] == ["gemini", "gemini", other, other]
    assert {entry.key for entry in seen} == {KEY}


@pytest.mark.parametrize("agent", SHELLS)
async def test_an_agent_works_at_a_provider_of_any_dialect(platform: Platform, tmp_path: Path, agent: str) -> None:
    """Two calls at once, and the results and the thinking on their way back, at all four kinds of providers."""
    user = await platform.user(**dict.fromkeys(PROVIDERS.values(), KEY))
    option = {"codex": "codex exec --skip-git-repo-check -s danger-full-access -m", "claude-code": "claude -p --model"}
    runs = []
    for dialect, provider in PROVIDERS.items():
        home = tmp_path / provider
        home.mkdir()
        work = settle(agent, home, platform.url, user.token)
        tool, argument = SHELLS[agent]
        calls = tuple(
            Call(name=tool, arguments={argument: f"echo {n} > {n}.txt; echo ran-{n}"}) for n in ("one", "two")
        )
        platform.providers.reply(provider, Reply(text="Two files.", thinking="At once.", seal=SEAL, calls=calls))
        platform.providers.reply(provider, Reply(text=f"Written at {provider}."))
        allowed = " --allowedTools Bash" if agent == "claude-code" else ""
        program = f'{option[agent]} {provider}/{MODELS[dialect]} "Write two files"{allowed}'
        setting = f"export OWNKEY_TOKEN={user.token}\n"
        runs.append((provider, work, type_in(setting + program, home, work)))
    # Two at a time: there may be no more processors.
    for pair in (runs[:2], runs[2:]):
        printed = await asyncio.gather(*[run for _, _, run in pair])
        for (provider, work, _), text in zip(pair, printed, strict=True):
            assert f"Written at {provider}." in text
            assert {path.name: path.read_text() for path in work.glob("*.txt")} == {
                "one.txt": "one\n",
                "two.txt": "two\n",
            }
    for dialect, provider in PROVIDERS.items():
        first, second = [entry for entry in platform.providers.ledger(provider) if entry.body]
        assert first.stream and second.stream and {first.key, second.key} == {KEY}
        returned = json.dumps(second.body)
        assert "ran-one" in returned and "ran-two" in returned
        # Thinking comes home under the seal of who thought it; chat completions have none.
        assert dialect is Dialect.OPENAI_CHAT or SEAL in returned


async def test_codex_goes_on_with_its_own_tools_when_openai_is_down(platform: Platform, tmp_path: Path) -> None:
    """Under OpenAI's own model name it has one tool that takes a program, in a namespace, declared in the input."""
    user = await platform.user(openai=KEY, anthropic=KEY)
    work = settle("codex", tmp_path, platform.url, user.token)
    platform.providers.break_provider("openai", "unavailable")
    program = 'text((await tools.exec_command({cmd: "echo 12:04 > tide.txt; echo ran"})).output)'
    call = Call(name="functions__exec", arguments={"input": program})
    platform.providers.reply("anthropic", Reply(text="I write it down.", calls=(call,)))
    platform.providers.reply("anthropic", Reply(text="It is written down."))
    typed = "codex exec --skip-git-repo-check -s danger-full-access -m gpt-5.6-sol 'Write the tide down'"
    printed = await type_in(f"export OWNKEY_TOKEN={user.token}\n{typed}", tmp_path, work)
    assert "It is written down." in printed
    assert (work / "tide.txt").read_text() == "12:04\n"
    _, second = platform.providers.ledger("anthropic")
    [result] = second.body["messages"][-1]["content"]
    assert result["type"] == "tool_result" and "ran" in json.dumps(result["content"])
