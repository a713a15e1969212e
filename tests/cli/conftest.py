"""A data directory per test, and one running server per worker for the tests that only need some database."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.shell import Shell, postgres_processes


@contextmanager
def make_place() -> Iterator[Path]:
    """Outside pytest's private directories: as root PostgreSQL runs as another user, who has to walk there."""
    root = Path(tempfile.mkdtemp(prefix="ownkey-cli-", dir="/var/tmp"))
    root.chmod(0o755)
    try:
        yield root
        assert postgres_processes(root) == [], "a PostgreSQL was left behind"
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def place() -> Iterator[Path]:
    with make_place() as path:
        yield path


@pytest.fixture
def shell(place: Path) -> Shell:
    """Nothing has been started in its data directory yet."""
    return Shell(place / "data")


@pytest.fixture(scope="session")
def running() -> Iterator[Shell]:
    """A server runs in this data directory, so that commands join its database instead of starting one each."""
    with make_place() as path:
        shell = Shell(path / "data")
        with shell.serve():
            yield shell
