"""Every command explains itself, and a wrong call says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ownkey
from ownkey.cli.main import app
from tests.cli.shell import Shell


def command_lines(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from command_lines(child, (*path, name))


ALL = sorted(command_lines(typer.main.get_command(app)))


def test_every_command_of_the_plan_is_there() -> None:
    assert {line[0] for line in ALL if line} == {
        "serve", "demo", "doctor", "migrate", "keygen", "user", "token", "credential", "policy", "route", "usage",
        "audit",
    }  # fmt: skip


@pytest.mark.parametrize("line", ALL, ids=" ".join)
def test_help_says_what_it_does_and_shows_an_example(line: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*line, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert f"ownkey {' '.join(line)}".strip() in shown.output
    assert "Examples" in shown.output


def test_serve_help_lists_every_setting(shell: Shell) -> None:
    shown = shell.succeed("serve", "--help").replace("\n", " ")
    missing = [name for name in ownkey.Config.__struct_fields__ if f"OWNKEY_{name.upper()}" not in shown]
    assert missing == []


def test_the_version(shell: Shell) -> None:
    assert shell.succeed("--version") == f"ownkey {ownkey.__version__}\n"


@pytest.mark.parametrize("line", [["frobnicate"], ["serve", "--port", "70000"], ["user", "create"], ["usage", "show"]])
def test_a_wrong_call_exits_with_2_and_no_traceback(shell: Shell, line: list[str]) -> None:
    done = shell.run(*line)
    assert done.returncode == 2
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_takes_a_secret_as_an_argument() -> None:
    """Arguments are in `ps` and in the shell's history."""
    for line in ALL:
        command: Any = typer.main.get_command(app)
        for name in line:
            command = command.commands[name]
        names = {option for parameter in command.params for option in (parameter.name, *parameter.opts)}
        assert not names & {"secret", "--secret", "key", "--key", "api_key", "--api-key", "password", "--password"}


def test_keygen_prints_a_key_that_is_accepted(shell: Shell) -> None:
    first, second = shell.succeed("keygen").strip(), shell.succeed("keygen").strip()
    assert first != second
    checks = shell.with_variables(OWNKEY_WRAPPING_KEYS=f"{first},{second}").read_json("doctor")
    assert next(check for check in checks if check["name"] == "wrapping key")["level"] == "ok"


def test_keygen_writes_a_private_file_and_replaces_none(shell: Shell) -> None:
    path = shell.data_dir.parent / "wrapping.key"
    assert str(path) in shell.succeed("keygen", "--output", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    assert "exists already" in shell.refuse(2, "keygen", "--output", str(path))
    assert path.read_bytes() == before
