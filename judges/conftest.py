"""A PostgreSQL with this version's schema, and the judges' own programs."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Struct
from tests.servers import PostgresServer, run_sync, start_debian_postgres

from ownkey.storage.migrate import migrate

_numbers = itertools.count(1)

ROOT = Path(__file__).parent.parent
PROGRAMS = ROOT / ".venv" / "judges" / "bin"
NODE_PROGRAMS = ROOT / "judges" / "node_modules" / "@postgres-language-server" / "cli-x86_64-linux-gnu"


class Verdict(Struct, frozen=True):
    """How a judge ended, and what it said."""

    status: int
    output: str

    @property
    def found(self) -> object:
        """What it said, where that is JSON."""
        return json.loads(self.output)


def ask(program: Path, *arguments: str, cwd: Path = ROOT) -> Verdict:
    """Run a judge. It has no time without end, and what it says to people is not what it found."""
    assert program.exists(), f"{program.name} is not installed: run `make judges`"
    options = {"cwd": cwd, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run([program, *arguments], check=False, **options)
    return Verdict(done.returncode, done.stdout or done.stderr)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """With the roles of a Supabase project, to which the migrations give what such a project's users need."""
    with start_debian_postgres() as running:
        run_sync(running.execute("create role anon; create role authenticated; create role service_role bypassrls"))
        run_sync(running.create_database("supabase", "template0"))
        run_sync(migrate(running.dsn("supabase", "postgres")))
        yield running


@pytest.fixture
def database(server: PostgresServer) -> Iterator[str]:
    """A database with the schema that the test may spoil; its name."""
    name = f"judged_{next(_numbers)}"
    run_sync(server.create_database(name, "supabase"))
    yield name
    run_sync(server.drop_database(name))


@pytest.fixture
def spoil(server: PostgresServer, database: str) -> Callable[[str], None]:
    """Changes the schema for the worse, as its owner may: a judge that then finds nothing judges nothing."""
    return lambda statement: run_sync(server.execute(statement, database))
