"""Programs in processes of their own, which reach nothing but this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
NODE: Final = ROOT / "tests/node"
AGENTS: Final = ROOT / "tests/agents/node_modules"
# Clients whose needs do not agree with ours; `make setup` puts them there.
CLIENTS_PYTHON: Final = Path(sys.prefix) / "clients/bin/python"
_SECONDS: Final = 60

needs_node = pytest.mark.skipif(not (NODE / "node_modules").is_dir(), reason="npm is not installed")
needs_agents = pytest.mark.skipif(not AGENTS.is_dir(), reason="npm is not installed")


async def run_python(program: str, home: Path, python: str | Path = sys.executable) -> str:
    """What a Python program prints. It works in `home`."""
    assert Path(python).exists(), f"{python} is missing: run `make setup`"
    return await run([str(python), "-"], program, home)


async def run_node(program: str, home: Path) -> str:
    """What a Node program prints. It works in `home`, where it finds the packages of tests/node."""
    (home / "node_modules").symlink_to(NODE / "node_modules")
    return await run(["node", "--input-type=module"], program, home)


async def run_shell(program: str, home: Path) -> str:
    """What the commands of a page print. Each of them has to succeed. They work in `home`."""
    return await run(["bash", "-euo", "pipefail", "-c", program], "", home)


async def run(command: list[str], program: str, home: Path) -> str:
    """What a program prints; some read themselves from standard input."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=home,
        env=_environment(home),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(program.encode()), _SECONDS)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode == 0, f"{output.decode()}\n{errors.decode()}"
    return output.decode()


def install_claude(home: Path) -> None:
    """The command `claude`. Its package would put it there with a script of its own, and we let none run."""
    starter = home / "bin/claude"
    starter.parent.mkdir()
    starter.write_text(f'#!/bin/sh\nexec node {AGENTS}/@anthropic-ai/claude-code/cli-wrapper.cjs "$@"\n')
    starter.chmod(0o755)


def _environment(home: Path) -> dict[str, str]:
    """A new person's shell: nothing of the tester's own settings and keys, and no way out of this machine."""
    places = [str(Path(sys.executable).parent), str(home / "bin"), str(AGENTS / ".bin"), os.environ["PATH"]]
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": ":".join(places),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1,localhost",
    }
