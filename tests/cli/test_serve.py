"""`ownkey serve`: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ownkey.testing import SimulatedProviders
from tests.cli.shell import Shell, postgres_processes

GOOD_KEY = "k1:" + "ADB20kTMah7oyL7K7CRy1lDghkIU/PoOOHjOOrxUAsY="


def get(url: str, token: str | None = None, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_first_start_makes_an_administrator_and_the_second_does_not(shell: Shell) -> None:
    with shell.serve() as first:
        assert first.token is not None
        assert str(shell.data_dir) in first.announcement
        assert "embedded PostgreSQL" in first.announcement
        assert get(f"{first.url}/healthz") == (200, {"status": "ok"})
        assert get(f"{first.url}/readyz")[0] == 200
        assert get(f"{first.url}/api/admin/users", first.token)[0] == 200
        assert first.stop() == 0
    assert postgres_processes(shell.data_dir) == []
    with shell.serve() as second:
        assert second.token is None
        assert "ok-" not in second.announcement, "a token is shown once"
        assert get(f"{second.url}/v1/models", first.token)[0] == 200
    done = second.process
    assert done.returncode == 0


def test_the_first_link_signs_in_and_is_renewed_until_somebody_has_used_it(shell: Shell) -> None:
    with shell.serve("--public-url", "https://llm.example.com") as first:
        link = read_link(first.announcement)
        assert link.startswith("https://llm.example.com/#link=okl-")
    with shell.serve() as second:
        renewed = read_link(second.announcement)
        assert renewed.startswith(f"{second.url}/#link=okl-")
        assert check_link(second.url, link) == 404
        assert check_link(second.url, renewed) == 200
        body = {"token": renewed.partition("#link=")[2], "password": "a walk in the evening"}
        status, session = get(f"{second.url}/api/sign-in/link", body=body)
        assert (status, session["user_id"], session["role"]) == (200, "admin", "admin")
    with shell.serve() as third:
        assert "#link=" not in third.announcement


def test_links_from_the_command_line(shell: Shell) -> None:
    invited = shell.read_json("user", "invite", "root@example.com", "--admin", "--login", "Root")
    assert (invited["user_id"], invited["login"], invited["purpose"]) == ("root@example.com", "root", "invite")
    assert "not shown again" in shell.succeed("user", "invite", "root@example.com")
    assert shell.read_json("user", "reset-password", "root@example.com")["purpose"] == "reset"
    assert "no user 'bob'" in shell.refuse(1, "user", "reset-password", "bob")
    assert shell.read_json("user", "show", "root@example.com")["role"] == "admin"


def read_link(announcement: str) -> str:
    return next(line.strip() for line in announcement.splitlines() if "#link=" in line)


def check_link(url: str, link: str) -> int:
    return get(f"{url}/api/sign-in/link/check", body={"token": link.partition("#link=")[2]})[0]


def test_what_it_prints_on_a_socket_for_everybody_warns_of_plain_http(running: Shell) -> None:
    with running.serve("--host", "0.0.0.0") as serving:
        assert "TLS" in serving.announcement
        assert get(f"{serving.url}/healthz")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_request_finish(place: Path, number: int) -> None:
    with SimulatedProviders() as providers:
        shell = Shell(
            place / "data",
            OWNKEY_CATALOG=str(providers.write_catalog(place / "catalog.toml")),
            OPENAI_API_KEY="sk-operator-0123456789",
        )
        with shell.serve() as serving:
            providers.break_provider("openai", "hold")
            answers: list[tuple[int, Any]] = []

            def ask() -> None:
                body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
                answers.append(get(f"{serving.url}/v1/chat/completions", serving.token, body))

            client = threading.Thread(target=ask)
            client.start()
            assert providers.wait_for_requests(1)
            serving.process.send_signal(number)
            wait_until_refused(serving.url)
            providers.fix("openai")
            providers.release("openai")
            client.join(30)
            assert [status for status, _ in answers] == [200]
            assert serving.process.wait(30) == 0
        rows = shell.read_json("usage", "show", "--all", "--group-by", "provider")["rows"]
        assert [(row["provider"], row["requests"]) for row in rows] == [("openai", 1)]


def wait_until_refused(url: str) -> None:
    """Until the server accepts no new connection, which is how it shows that it heard the signal."""
    host, port = url.removeprefix("http://").split(":")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except ConnectionError:
            return
    raise AssertionError("the server went on accepting connections")


@pytest.mark.parametrize("sign", ["postgres", "wrapping.key", "postgres/data"])
def test_ctrl_c_while_it_starts_leaves_nothing_running(shell: Shell, sign: str) -> None:
    process = shell.start("serve", "--port", "0")
    try:
        wait_until((shell.data_dir / sign).exists, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert postgres_processes(shell.data_dir) == []


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Look again and again: what is waited for is a step inside another process."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_servers_share_one_database_and_the_last_one_stops_it(shell: Shell) -> None:
    with shell.serve() as first:
        with shell.serve() as second:
            assert get(f"{second.url}/v1/models", first.token)[0] == 200
            assert first.stop() == 0
            assert get(f"{second.url}/readyz")[0] == 200
            assert postgres_processes(shell.data_dir)
        assert postgres_processes(shell.data_dir) == []


def test_a_killed_server_is_taken_over(shell: Shell) -> None:
    with shell.serve() as first:
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
    assert postgres_processes(shell.data_dir)
    state = next(check for check in shell.read_json("doctor") if check["name"] == "embedded PostgreSQL")
    assert (state["level"], bool(state["fix"])) == ("warn", True)
    assert "admin" in shell.succeed("user", "list")
    assert postgres_processes(shell.data_dir) == []


def test_no_core_dump_can_hold_the_keys(running: Shell) -> None:
    with running.serve() as serving:
        limits = Path(f"/proc/{serving.process.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if "core" in line).split()[4:6] == ["0", "0"]


UNSAFE: dict[str, dict[str, str]] = {
    "unknown setting": {"OWNKEY_PROT": "80"},
    "not a number": {"OWNKEY_PORT": "http"},
    "negative": {"OWNKEY_TOTAL_TIMEOUT_SECONDS": "-1"},
    "no wrapping key": {"OWNKEY_DATABASE_URL": "postgresql://u@127.0.0.1:1/x"},
    "empty wrapping key": {"OWNKEY_WRAPPING_KEYS": " "},
    "short wrapping key": {"OWNKEY_WRAPPING_KEYS": "k1:c2hvcnQ="},
    "zero wrapping key": {"OWNKEY_WRAPPING_KEYS": "k1:" + "A" * 43 + "="},
    "typed wrapping key": {"OWNKEY_WRAPPING_KEYS": "k1:cGFzc3dvcmRwYXNzd29yZHBhc3N3b3JkcGFzc3dvcmQ="},
    "placeholder wrapping key": {"OWNKEY_WRAPPING_KEYS": "changeme"},
    "double wrapping key id": {"OWNKEY_WRAPPING_KEYS": f"{GOOD_KEY},{GOOD_KEY}"},
    "missing key file": {"OWNKEY_WRAPPING_KEY_FILE": "/nonexistent/wrapping.key"},
    "key file of others": {"OWNKEY_WRAPPING_KEY_FILE": "/etc/passwd"},
    "unknown host": {"OWNKEY_HOST": "203.0.113.7"},
    "not a URL": {"OWNKEY_DATABASE_URL": "mysql://u:hunter2@h/x", "OWNKEY_WRAPPING_KEYS": GOOD_KEY},
    "no database": {"OWNKEY_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x", "OWNKEY_WRAPPING_KEYS": GOOD_KEY},
    "missing catalogue": {"OWNKEY_CATALOG": "/nonexistent/catalog.toml"},
    "malformed provider key": {"OPENAI_API_KEY": "sk-hunter2 with blanks"},
    "data directory is a file": {"OWNKEY_DATA_DIR": "/etc/passwd"},
}


@pytest.mark.parametrize("variables", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_configuration_is_one_sentence_and_exit_status_2(shell: Shell, variables: dict[str, str]) -> None:
    line = Shell(shell.data_dir, **{"OWNKEY_PORT": "0", **variables}).refuse(2, "serve")
    assert "hunter2" not in line
    assert "unexpected" not in line


def test_a_command_that_makes_a_new_installation_says_so_and_where_the_running_server_has_its_data(
    running: Shell, shell: Shell
) -> None:
    done = shell.run("user", "list")
    assert done.returncode == 0, done.stderr
    assert f"New installation in {shell.data_dir.resolve()}" in done.stderr
    assert f"set OWNKEY_DATA_DIR={running.data_dir.resolve()}" in done.stderr
    assert "New installation" not in running.run("user", "list").stderr
    again = shell.run("user", "list")
    assert again.returncode == 0 and again.stderr == ""


def test_a_taken_port_is_said_before_anything_is_started(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in shell.refuse(2, "serve", "--port", str(port))
    assert not shell.data_dir.exists()


def test_a_lost_wrapping_key_is_not_replaced(shell: Shell) -> None:
    shell.succeed("user", "create", "alice")
    (shell.data_dir / "wrapping.key").rename(shell.data_dir / "elsewhere.key")
    assert "wrapping.key is gone" in shell.refuse(2, "serve", "--port", "0")
    assert not (shell.data_dir / "wrapping.key").exists()
