"""The real command in processes of its own, with nothing of the tester's environment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "ownkey"]
_TIMEOUT_SECONDS = 90


class Shell:
    """Runs `ownkey` with one data directory."""

    def __init__(self, data_dir: Path, **variables: str) -> None:
        self.data_dir = data_dir
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OWNKEY_")}
        kept = {name: value for name, value in kept.items() if not name.endswith("_API_KEY")}
        self.environment = {
            **kept,
            "OWNKEY_DATA_DIR": str(data_dir),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            **variables,
        }

    def with_variables(self, **variables: str) -> Shell:
        """The same with more or other variables."""
        return Shell(self.data_dir, **{**self.own_variables(), **variables})

    def own_variables(self) -> dict[str, str]:
        return {name: value for name, value in self.environment.items() if name.startswith("OWNKEY_")}

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run to the end, `text` on standard input."""
        return subprocess.run(
            [*COMMAND, *arguments],
            input=text,
            text=True,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            env=self.environment,
        )

    def succeed(self, *arguments: str, text: str = "") -> str:
        """What it printed; it must have worked."""
        done = self.run(*arguments, text=text)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def read_json(self, *arguments: str, text: str = "") -> Any:
        return json.loads(self.succeed(*arguments, "--json", text=text))

    def run_json(self, *arguments: str) -> Any:
        """What a command printed that may find something: exit status 0 or 1."""
        done = self.run(*arguments, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def refuse(self, status: int, *arguments: str, text: str = "") -> str:
        """The one line on standard error of a command that must not work."""
        done = self.run(*arguments, text=text)
        assert done.returncode == status, done.stdout + done.stderr
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("ownkey: ")
        return lines[0]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A process that the caller ends."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    @contextmanager
    def serve(self, *arguments: str) -> Iterator[Serving]:
        """A server on a free port, ended when the block ends."""
        process = self.start("serve", "--port", "0", *arguments)
        serving = Serving(process)
        try:
            serving.read_announcement()
            yield serving
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                serving.errors = process.communicate(timeout=_TIMEOUT_SECONDS)[1]
            finally:
                process.kill()
                process.wait()


class Serving:
    """A running server and what it announced."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = ""
        self.token: str | None = None
        self.announcement = ""
        # What it wrote to standard error, once it has ended.
        self.errors = ""

    def read_announcement(self) -> None:
        """Up to its last line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.announcement += line
            if found := re.search(r"OpenAI API +(http://\S+)/v1", line):
                self.url = found[1]
            if found := re.match(r"  (ok-\w+)$", line):
                self.token = found[1]
            if line.startswith("Ready"):
                return
        raise AssertionError(self.announcement + (self.process.stderr.read() if self.process.stderr else ""))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and give the exit status."""
        self.process.send_signal(number)
        return self.process.wait(_TIMEOUT_SECONDS)


def postgres_processes(data_dir: Path) -> list[int]:
    """Processes of an embedded PostgreSQL of this data directory."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes()
        except OSError:
            continue
        if str(data_dir).encode() in command and b"postgres" in command.split(b"\0")[0]:
            found.append(int(directory.name))
    return found


def only(items: list[Any], **fields: Any) -> Mapping[str, Any]:
    """The one item with these fields."""
    found = [item for item in items if all(item[name] == value for name, value in fields.items())]
    assert len(found) == 1, items
    return found[0]
