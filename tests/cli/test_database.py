"""`ownkey migrate` and `ownkey doctor` with a PostgreSQL of the operator's own."""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ownkey.storage.migration_files import load_migrations
from tests.cli.shell import Shell, only, postgres_processes
from tests.servers import PostgresServer, run_sync, start_redis, start_wheel_postgres

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with start_wheel_postgres() as running:
        yield running


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = f"cli_{next(_numbers)}"
    run_sync(server.create_database(name, "template0"))
    yield name
    run_sync(server.drop_database(name))


@pytest.fixture
def external(shell: Shell, server: PostgresServer, database: str) -> Shell:
    """Connects as the superuser, as somebody might who has not read a word."""
    key = shell.succeed("keygen").strip()
    return shell.with_variables(OWNKEY_DATABASE_URL=server.dsn(database, "postgres"), OWNKEY_WRAPPING_KEYS=key)


def with_login(external: Shell, name: str) -> Shell:
    """The same database by a login of its own, as the doctor says."""
    printed = external.succeed("migrate", "--create-login", name)
    url = re.search(r"^OWNKEY_DATABASE_URL=(\S+)$", printed, re.MULTILINE)
    assert url is not None
    return external.with_variables(
        OWNKEY_DATABASE_URL=url[1], OWNKEY_MIGRATION_DATABASE_URL=external.environment["OWNKEY_DATABASE_URL"]
    )


def check(shell: Shell, name: str) -> tuple[str, str, str | None]:
    """Level, message and fix of one line of the doctor."""
    found = only(shell.run_json("doctor"), name=name)
    return found["level"], found["message"], found["fix"]


def test_migrating_lists_applies_and_is_done(external: Shell) -> None:
    names = [migration.name for migration in load_migrations()]
    assert external.succeed("migrate", "--dry-run").split() == names
    assert external.succeed("migrate", "--dry-run").split() == names, "a dry run applies nothing"
    applied = external.succeed("migrate")
    assert re.findall(r"applying (\S+)", applied) == names
    assert "Nothing is pending" in external.succeed("migrate", "--dry-run")
    assert "0 applied" in external.succeed("migrate")


def test_exporting_needs_no_database(shell: Shell) -> None:
    directory = shell.data_dir.parent / "supabase" / "migrations"
    shell.succeed("migrate", "--export", str(directory))
    assert sorted(path.name for path in directory.iterdir()) == [one.name for one in load_migrations()]
    assert "holds all" in shell.succeed("migrate", "--export", str(directory))
    assert not shell.data_dir.exists()
    assert "cannot be written" in shell.refuse(2, "migrate", "--export", "/proc/nowhere")


def test_the_doctor_leads_from_a_superuser_to_a_login_that_may_serve(external: Shell) -> None:
    assert check(external, "schema")[0] == "fail"
    external.succeed("migrate")
    assert check(external, "schema")[0] == "ok"
    level, _, fix = check(external, "runtime role")
    assert level == "fail"
    assert fix is not None
    assert "--create-login" in fix
    refused = external.run("serve", "--port", "0")
    assert refused.returncode == 2 and "superuser" in refused.stderr and "--create-login" in refused.stderr
    own = with_login(external, "ownkey_served")
    assert [one["name"] for one in own.read_json("doctor") if one["level"] != "ok"] == []
    with own.serve() as serving:
        assert serving.token is not None
        assert "ownkey_served" in serving.announcement
        assert re.search(r"ownkey_served:(\w|-)+", serving.announcement) is None, "a password was printed"


def test_a_sealed_key_that_no_longer_opens_is_found(external: Shell) -> None:
    external = with_login(external, "ownkey_sealed")
    external.succeed("user", "create", "alice")
    assert check(external, "sealed keys")[1] == "Nothing is stored yet."
    external.succeed("credential", "add", "groq", "--user", "alice", text="gsk_0123456789abcdef")
    assert check(external, "sealed keys")[:2] == ("ok", "A stored API key opens.")
    other = external.with_variables(OWNKEY_DEPLOYMENT_ID="another")
    assert check(other, "sealed keys")[0] == "fail"
    stranger = external.with_variables(OWNKEY_WRAPPING_KEYS=external.succeed("keygen").strip())
    level, message, _ = check(stranger, "sealed keys")
    assert (level, "2 data keys" in message) == ("fail", True)
    both = f"{stranger.environment['OWNKEY_WRAPPING_KEYS']},{external.environment['OWNKEY_WRAPPING_KEYS']}"
    assert check(external.with_variables(OWNKEY_WRAPPING_KEYS=both), "sealed keys")[0] == "ok"


def test_row_level_security_that_was_switched_off_is_found(
    external: Shell, server: PostgresServer, database: str
) -> None:
    external.succeed("migrate")
    run_sync(server.execute("alter table ownkey.credentials no force row level security", database))
    level, message, fix = check(external, "row-level security")
    assert (level, "ownkey.credentials" in message) == ("fail", True)
    assert external.run("doctor").returncode == 1
    assert fix is not None
    run_sync(server.execute(fix.removeprefix("Run as the owner: "), database))
    assert check(external, "row-level security")[0] == "ok"


def test_a_database_that_is_away_is_named_without_its_password(shell: Shell) -> None:
    away = shell.with_variables(
        OWNKEY_DATABASE_URL="postgresql://carol:hunter2@127.0.0.1:1/ownkey",
        OWNKEY_WRAPPING_KEYS=shell.succeed("keygen").strip(),
    )
    done = away.run("doctor")
    assert done.returncode == 1
    assert "carol@127.0.0.1:1/ownkey cannot be reached: Connection refused." in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert "carol@127.0.0.1:1" in away.refuse(2, "user", "list")


def test_before_the_first_start_the_doctor_finds_nothing_wrong_and_makes_nothing(shell: Shell) -> None:
    checks = shell.read_json("doctor")
    assert {one["level"] for one in checks} == {"ok"}
    assert not shell.data_dir.exists()
    assert "none failed" in shell.succeed("doctor")


def test_the_doctor_of_an_embedded_database(running: Shell) -> None:
    checks = {one["name"]: one for one in running.read_json("doctor")}
    assert {one["level"] for one in checks.values()} == {"ok"}
    assert {
        "configuration", "providers", "provider keys", "wrapping key", "port", "usage spool", "data directory",
        "embedded PostgreSQL", "database", "PostgreSQL", "schema", "row-level security", "runtime role",
        "indexes and partitions", "clock", "sealed keys",
    } == checks.keys()  # fmt: skip
    assert "in use" in checks["embedded PostgreSQL"]["message"]


def test_the_doctor_looks_for_redis(shell: Shell) -> None:
    def looked(url: str) -> tuple[str, str]:
        found = only(shell.with_variables(OWNKEY_LIMITS_URL=url).run_json("doctor"), name="limits")
        assert "pass-word" not in str(found)
        return found["level"], found["fix"] or ""

    with start_redis() as redis:
        assert looked(redis.url) == ("ok", "")
    assert looked("redis://:pass-word@127.0.0.1:1/0")[0] == "warn"
    level, fix = looked("http://x:pass-word@127.0.0.1")
    assert (level, "OWNKEY_LIMITS_URL" in fix) == ("fail", True)


def test_the_doctor_sees_what_is_wrong_on_the_machine(shell: Shell) -> None:
    shell.succeed("user", "create", "alice")
    key = shell.data_dir / "wrapping.key"
    key.chmod(0o644)
    assert "chmod 600" in check(shell, "wrapping key")[1]
    key.chmod(0o600)
    shell.data_dir.chmod(shell.data_dir.stat().st_mode | 0o002)
    assert check(shell, "data directory")[0] == "fail"
    shell.data_dir.chmod(shell.data_dir.stat().st_mode & ~0o002)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert check(shell.with_variables(OWNKEY_PORT=port), "port")[0] == "fail"
    assert check(shell.with_variables(OWNKEY_PROT="1"), "configuration")[0] == "fail"
    groq = shell.with_variables(GROQ_API_KEY="gsk_operator-0123456789")
    level, message, fix = check(groq, "provider keys")
    assert (level, "groq" in message) == ("warn", True)
    assert fix == "Set OPENAI_API_KEY, or OWNKEY_ULTIMATE_PROVIDER=groq."
    assert check(shell.with_variables(GROQ_API_KEY="two words hunter2"), "provider keys")[0] == "fail"
    allowed = shell.with_variables(OWNKEY_ALLOWED_PROVIDERS="groq,grok2")
    assert "grok2" in check(allowed, "providers")[1]
    key.rename(Path(f"{key}.away"))
    assert check(shell, "wrapping key")[0] == "fail"
    assert postgres_processes(shell.data_dir) == []


def test_a_file_of_prices_that_would_stop_the_server_is_found_beforehand(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    priced = shell.with_variables(OWNKEY_PRICES=str(file))
    file.write_text('[[price]]\nprovider = "openai"\nmodel = "our-own"\ninput = 1\n')
    found = only(priced.run_json("doctor"), name="prices")
    assert found["level"] == "fail"
    told = priced.refuse(2, "serve")
    assert found["message"] in told
    assert "has no price for output" in told
    assert not (shell.data_dir / "postgres").exists(), "nothing was made before the file was read"

    file.write_text(
        '[[price]]\nprovider = "openai"\ninput = 1\noutput = 2\n'
        '[[price]]\nprovider = "opemai"\nuntil = 2020-01-01\ninput = 1\noutput = 2\n'
    )
    found = only(priced.run_json("doctor"), name="prices")
    assert found["level"] == "warn"
    assert found["message"] == ("2 prices of your own, 1 of them for today. The catalogue has no provider opemai.")
    file.write_text('[[price]]\nprovider = "openai"\ninput = 1\noutput = 2\n')
    assert only(priced.read_json("doctor"), name="prices")["level"] == "ok"
