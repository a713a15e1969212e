"""`ownkey demo`, as a person runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

OWNKEY = Path(sys.executable).parent / "ownkey"


@contextmanager
def workplace() -> Iterator[Path]:
    """Where a demo works. As root its PostgreSQL is another user, who must be able to walk there."""
    with tempfile.TemporaryDirectory(prefix="ownkey-test-", dir="/var/tmp" if os.geteuid() == 0 else None) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def started(place: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The demo at work in a directory."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OWNKEY_")}
    process = subprocess.Popen(
        [str(OWNKEY), "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**environment, "PYTHONUNBUFFERED": "1", "TMPDIR": str(place)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def processes_in(place: Path) -> list[str]:
    """Command lines of processes that work in a directory, PostgreSQL's among them."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            working_in = str((directory / "cwd").readlink())
        except OSError:
            continue
        if str(place) in command + working_in:
            found.append(command)
    return found


def rows_of(output: str) -> list[list[str]]:
    """The table's cells."""
    lines = [re.split(r"\s*[│┃]\s*", line.strip("│┃ \n")) for line in output.splitlines()]
    return [cells for cells in lines if len(cells) == 10 and cells[0] != "user"]


@pytest.fixture(scope="module")
def output() -> str:
    with workplace() as place:
        with started(place, "--once") as process:
            text, _ = process.communicate(timeout=120)
            assert process.returncode == 0, text
        assert processes_in(place) == [] and list(place.iterdir()) == []
    return text


def test_each_task_goes_to_its_provider_with_the_users_own_key(output: str) -> None:
    rows = {(row[0], row[2].rstrip("*")): row for row in reversed(rows_of(output)) if row[1] == "all well"}
    served = {key: (row[3], row[5], row[6]) for key, row in rows.items()}
    assert served["dana", "coding"] == ("Groq", "own", "1")
    assert served["dana", "research"] == ("Mistral", "own", "1")
    assert served["dana", "writing"] == ("Anthropic", "own", "1")
    assert served["ben", "chat"] == served["ben", "writing"] == ("OpenAI", "own", "1")
    assert served["pia", "coding"] == ("Anthropic", "own", "1")
    assert served["pia", "research"] == ("Google Gemini", "own", "1")
    assert served["pia", "translation"] == ("DeepSeek", "own", "1")
    assert served["pia", "chat"] == ("Cerebras", "own", "1")
    for row in rows.values():
        read, written = row[7].split(" > ")
        assert int(read) > 0 and int(written) > 0, row


def test_when_a_provider_fails_the_next_one_answers(output: str) -> None:
    troubled = [row for row in rows_of(output) if row[1] != "all well"]
    served = {(row[0], row[2].rstrip("*")): (row[3], row[5]) for row in troubled}
    assert served["dana", "coding"][0] != "Groq"
    assert served["dana", "coding"][1] == "own"
    assert served["dana", "research"] == ("Mistral", "own")
    assert served["ben", "chat"] == served["ben", "writing"] == ("OpenAI", "shared")
    assert served["pia", "chat"] == ("Groq", "own")
    assert {provider for (user, _), (provider, _) in served.items() if user == "pia"}.isdisjoint(
        {"Anthropic", "Google Gemini", "Cerebras"}
    )
    assert any(int(row[6]) > 1 for row in troubled)


def test_the_providers_saw_only_the_right_keys(output: str) -> None:
    assert re.search(r"The providers saw \d+ requests, each with the right user's key\.", output)
    assert "demo-dana-groq" not in output and "demo-operator" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_on_until_it_is_stopped_and_leaves_nothing(number: signal.Signals) -> None:
    with workplace() as place, started(place) as process:
        assert process.stdout is not None
        seen, token, url, page, password = "", "", "", "", ""
        for line in process.stdout:
            seen += line
            if found := re.search(r"OpenAI API\s+(\S+)", line):
                url = found[1]
            if found := re.search(r"token of dana\s+(\S+)", line):
                token = found[1]
            if found := re.search(r"panel\s+(\S+)\s+sign in as dana, .*; password (\S+)", line):
                page, password = found.groups()
            if "_sim/fix" in line:
                break
        assert url and token, seen
        request = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
        form = urllib.request.Request(
            f"{page}api/sign-in",
            data=json.dumps({"login": "dana", "password": password}).encode(),
            headers={"Content-Type": "application/json", "Origin": page.rstrip("/"), "X-Ownkey-Panel": "1"},
        )
        with urllib.request.urlopen(form, timeout=10) as answer:
            assert answer.headers["Set-Cookie"].startswith("__Host-ownkey_session=")
        assert processes_in(place)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0, seen + rest
        assert processes_in(place) == [] and list(place.iterdir()) == []
