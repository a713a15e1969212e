"""Users, tokens, credentials, usage and the audit trail from the command line."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from ownkey.testing import SimulatedProviders
from tests.cli.shell import COMMAND, Shell, only

_numbers = itertools.count(1)


@pytest.fixture
def alice(running: Shell) -> str:
    """A new user."""
    user_id = f"alice-{next(_numbers)}"
    running.succeed("user", "create", user_id)
    return user_id


def test_a_users_life(running: Shell) -> None:
    made = running.read_json("user", "create", "ben@example.com", "--admin")
    assert (made["id"], made["role"], made["status"]) == ("ben@example.com", "admin", "active")
    assert running.read_json("user", "create", "ben@example.com") == made, "who exists is left as they are"
    assert only(running.read_json("user", "list"), id="ben@example.com")["role"] == "admin"
    assert "ben@example.com" in running.succeed("user", "list")
    running.succeed("user", "suspend", "ben@example.com")
    assert running.read_json("user", "show", "ben@example.com")["status"] == "suspended"
    running.succeed("user", "activate", "ben@example.com")
    assert running.read_json("user", "show", "ben@example.com")["status"] == "active"
    kept = running.data_dir / "ben.json"
    receipt = running.read_json("user", "delete", "ben@example.com", "--yes", "--export", str(kept))
    assert json.loads(kept.read_text())["user"]["id"] == "ben@example.com"
    assert kept.stat().st_mode & 0o777 == 0o600
    [entry] = running.read_json("audit", "list", "--user", "ben@example.com", "--limit", "1")
    assert (entry["id"], entry["action"]) == (receipt["audit_id"], "user.deleted")
    assert running.refuse(1, "user", "show", "ben@example.com").count("ben@example.com") == 2


def test_a_user_is_put_into_a_group(running: Shell, alice: str) -> None:
    assert "research" in running.succeed("user", "set-group", alice, "Research")
    assert running.read_json("user", "show", alice)["group"] == "research"
    assert "no group" in running.succeed("user", "set-group", alice, "--none")
    assert running.read_json("user", "show", alice)["group"] is None
    assert "letter" in running.refuse(1, "user", "set-group", alice, "2nd")
    for wrong in ((alice,), (alice, "research", "--none")):
        assert running.run("user", "set-group", *wrong).returncode == 2


def test_the_policy_is_a_file(running: Shell, tmp_path: Path) -> None:
    before = running.succeed("policy", "show")
    policy = json.loads(before)
    policy["budgets"]["per_user"]["day_microdollars"] = 5_000_000
    policy["shared"]["users"] = ["alcie"]
    file = tmp_path / "policy.json"
    try:
        file.write_text(json.dumps(policy))
        done = running.run("policy", "set", str(file))
        assert (done.returncode, done.stdout) == (0, "The policy is in force.\n")
        assert done.stderr == "Nobody has these ids (yet): alcie\n"
        assert json.loads(running.succeed("policy", "show")) == policy
        assert "leaves out allowed_providers, shared," in running.refuse(1, "policy", "set", "-", text="{}")
        slip = json.dumps({**policy, "budgets": {**policy["budgets"], "groups": {"sales": {"day": 5}}}})
        assert "budgets.groups.sales.day, which no policy has" in running.refuse(1, "policy", "set", "-", text=slip)
        assert "is no policy" in running.refuse(1, "policy", "set", "-", text="[")
        assert json.loads(running.succeed("policy", "show")) == policy
        running.succeed("policy", "set", "--reset", "-", text='{"locks": ["payer"]}')
        assert json.loads(running.succeed("policy", "show"))["locks"] == ["payer"]
    finally:
        running.succeed("policy", "set", "-", text=before)


def test_erasing_asks_first(running: Shell, alice: str) -> None:
    done = running.run("user", "delete", alice, text="n\n")
    assert done.returncode == 1
    assert running.read_json("user", "show", alice)["id"] == alice


def test_pages_of_users(running: Shell) -> None:
    for number in range(3):
        running.succeed("user", "create", f"page-{number}")
    page = running.read_json("user", "list", "--after", "page-", "--limit", "2")
    assert [user["id"] for user in page] == ["page-0", "page-1"]
    assert "--after page-1" in running.succeed("user", "list", "--after", "page-", "--limit", "2")


def test_a_mistyped_user_is_not_made(running: Shell) -> None:
    for line in (
        ["token", "create", "--user", "nobody"],
        ["credential", "add", "groq", "--user", "nobody"],
        ["usage", "show", "--user", "nobody"],
    ):
        assert "ownkey user create nobody" in running.refuse(1, *line, text="gsk_0123456789")
    assert all(user["id"] != "nobody" for user in running.read_json("user", "list", "--limit", "10000"))


def test_a_token_is_shown_once_listed_by_its_hint_and_revoked(running: Shell, alice: str) -> None:
    made = running.read_json("token", "create", "--user", alice, "--name", "laptop", "--expires", "2099-01-31")
    text, token_id = made["text"], made["token"]["id"]
    assert re.fullmatch(r"ok-\w{49}", text)
    assert made["token"]["expires_at"].startswith("2099-01-31T00:00:00")
    listed = running.succeed("token", "list", "--user", alice)
    assert text not in listed
    assert text[-4:] in listed
    running.succeed("token", "revoke", token_id, "--user", alice)
    assert only(running.read_json("token", "list", "--user", alice), id=token_id)["revoked_at"]


def test_a_quiet_token_is_alone_on_its_line(running: Shell, alice: str) -> None:
    printed = running.succeed("token", "create", "--user", alice, "--quiet", "--scope", "gateway")
    assert re.fullmatch(r"ok-\w{49}\n", printed)
    assert only(running.read_json("token", "list", "--user", alice), name="cli")["scopes"] == ["gateway"]


def test_only_an_administrator_gets_an_admin_token(running: Shell, alice: str) -> None:
    assert "administrator" in running.refuse(1, "token", "create", "--user", alice, "--scope", "admin")


def test_a_key_comes_from_a_pipe_and_is_never_shown(running: Shell, alice: str) -> None:
    secret = "gsk_canary-0123456789-AbCd"
    printed = running.succeed("credential", "add", "groq", "--user", alice, "--label", "work", text=f"  {secret}\n")
    as_json = running.succeed("credential", "list", "--user", alice, "--json")
    credential = only(running.read_json("credential", "list", "--user", alice), label="work")
    assert (credential["provider"], credential["hint"], credential["status"]) == ("groq", "gsk_…AbCd", "unverified")
    assert running.refuse(1, "credential", "add", "groq", "--user", alice, text=secret)
    new = "gsk_canary-9876543210-WxYz"
    running.succeed("credential", "replace", credential["id"], "--user", alice, text=new)
    table = running.succeed("credential", "list", "--user", alice)
    assert "WxYz" in table
    shown = printed + as_json + table + running.succeed("audit", "list", "--user", alice, "--json")
    assert "canary" not in shown
    running.succeed("credential", "remove", credential["id"], "--user", alice, "--yes")
    assert running.read_json("credential", "list", "--user", alice) == []


def test_a_key_that_is_typed_is_not_echoed(running: Shell, alice: str) -> None:
    secret = b"gsk_canary-typed-0123456789"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "credential", "add", "groq", "--user", alice],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=running.environment,
        start_new_session=True,
    )
    os.close(theirs)
    screen = b""
    try:
        while b"API key:" not in screen:
            screen += os.read(ours, 1024)
        os.write(ours, secret + b"\n")
        while chunk := read_or_end(ours):
            screen += chunk
        assert process.wait(60) == 0, screen
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Stored groq key" in screen
    assert b"canary" not in screen


def read_or_end(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1024)
    except OSError:  # Linux says EIO when the other side of a terminal is gone
        return b""


@pytest.mark.parametrize("text", ["", "short", "two words here", "gsk_\x00\x01\x02\x03\x04\x05"])
def test_what_is_no_key_is_refused_without_being_repeated(running: Shell, alice: str, text: str) -> None:
    line = running.refuse(1, "credential", "add", "groq", "--user", alice, text=text)
    assert len(text) < 6 or text not in line


def test_a_label_cannot_steer_the_terminal(running: Shell, alice: str) -> None:
    running.succeed(
        "credential", "add", "groq", "--user", alice, "--label", "[red]x[/red] \u202egnp", text="gsk_0123456789"
    )
    table = running.succeed("credential", "list", "--user", alice)
    assert "[red]x[/red]" in table
    assert "\u202e" not in table


def test_testing_a_key_tells_by_its_exit_status(place: Path) -> None:
    with SimulatedProviders() as providers:
        shell = Shell(place / "data", OWNKEY_CATALOG=str(providers.write_catalog(place / "catalog.toml")))
        with shell.serve():
            shell.succeed("user", "create", "alice")
            providers.accept_keys("groq", "gsk_good-0123456789")
            good = shell.read_json("credential", "add", "groq", "--user", "alice", text="gsk_good-0123456789")
            bad = shell.read_json("credential", "add", "groq", "--user", "alice", text="gsk_bad-0123456789")
            assert "works" in shell.succeed("credential", "test", good["id"], "--user", "alice")
            done = shell.run("credential", "test", bad["id"], "--user", "alice", "--json")
            assert (done.returncode, '"wrong_key"' in done.stdout) == (1, True)
            statuses = {one["id"]: one["status"] for one in shell.read_json("credential", "list", "-u", "alice")}
            assert statuses == {good["id"]: "ok", bad["id"]: "invalid"}


def test_usage_needs_one_user_or_all(running: Shell, alice: str) -> None:
    assert running.run("usage", "show").returncode == 2
    assert running.run("usage", "show", "--all", "--user", alice).returncode == 2
    assert (
        running.read_json("usage", "show", "--user", alice, "--from", "2026-01-01", "--to", "2026-01-31")["rows"] == []
    )
    assert "No requests from 2026-01-01 to 2026-01-31" in running.succeed(
        "usage", "show", "--user", alice, "--from", "2026-01-01", "--to", "2026-01-31"
    )
    header = next(csv.reader(io.StringIO(running.succeed("usage", "show", "--all", "--group-by", "user,day", "--csv"))))
    assert header[:3] == ["user_id", "day", "requests"]
    assert "group_by" in running.refuse(1, "usage", "show", "--user", alice, "--group-by", "prompt")
    choice = ["--provider", "groq", "--model", "m", "--task", "coding", "--payer", "shared"]
    assert running.read_json("usage", "show", "--all", *choice)["rows"] == []
    assert running.run("usage", "show", "--all", "--payer", "nobody").returncode == 2
    assert "credential_id" in running.refuse(1, "usage", "show", "--user", alice, "--credential", "x")


def test_the_audit_names_the_person_at_the_terminal(running: Shell, alice: str) -> None:
    running.succeed("token", "create", "--user", alice)
    entries = running.read_json("audit", "list", "--user", alice)
    assert [entry["action"] for entry in entries] == ["token.created", "user.created"]
    assert {re.sub(":.*", "", entry["actor"]) for entry in entries} == {"cli"}
    assert "token.created" in running.succeed("audit", "list", "--user", alice)
    verified = running.read_json("audit", "verify")
    assert verified["ok"] is True
    assert sum(head["position"] for head in verified["heads"]) >= 2


def test_a_route_is_explained(running: Shell, alice: str) -> None:
    running.succeed("credential", "add", "groq", "--user", alice, "--label", "work", text="gsk_0123456789abcdef")
    running.succeed("credential", "add", "anthropic", "--user", alice, text="sk-ant-0123456789abcdef")
    shown = running.succeed("route", "explain", "task:coding", "--user", alice, "--input-tokens", "1000")
    assert "Task: coding" in shown and "1. " in shown
    assert 'the user, key "work"' in shown and "Groq" in shown
    found = running.read_json(
        "route", "explain", "anthropic/claude-sonnet-4-5", "--user", alice, "--input-tokens", "1000",
        "--max-output-tokens", "100", "--needs", "tools,images",
    )  # fmt: skip
    first = found["attempts"][0]
    assert (first["provider"], first["model"], first["payer"]) == ("anthropic", "claude-sonnet-4-5", "own")
    assert (first["price"]["lowest"], first["price"]["highest"]) == (3000, 7500)
    assert "0123456789abcdef" not in str(found)
    alone = running.read_json(
        "route", "explain", "anthropic/claude-sonnet-4-5", "--user", alice, "--no-fallback"
    )  # fmt: skip
    assert len(alone["attempts"]) == 1
    assert {one["reason"] for one in alone["skipped"]} == {"fallback_refused"}
    assert all(one["explanation"].endswith(".") for one in alone["skipped"])


def test_a_route_that_leads_nowhere_says_so(running: Shell, alice: str) -> None:
    done = running.run("route", "explain", "groq/llama-3.3-70b-versatile", "--user", alice)
    assert done.returncode == 1
    assert "Nothing could be tried." in done.stdout
    assert "Groq, the user's own key: the user has no API key there." in done.stdout
    assert "run it with the server's variables" in done.stdout, "whose environment has the operator's keys"
    lending = running.with_variables(OPENAI_API_KEY="sk-operator-0000000000000001")
    assert "server's variables" not in lending.run("route", "explain", "--user", alice).stdout
    assert running.run("route", "explain", "--user", alice, "--needs", "wings").returncode == 2
    assert "task" in running.refuse(1, "route", "explain", "--user", alice, "--task", "9")
    assert "ownkey user create nobody" in running.refuse(1, "route", "explain", "--user", "nobody")
