"""The real command in a process that was forked with everything imported: it may be killed a moment after its start."""

from __future__ import annotations

import os
from contextlib import redirect_stdout

import asyncpg

import ownkey.app
from ownkey.cli.main import app

# Before the fork, so that a rotator is at work a moment after its start.
PRELOADED = (asyncpg, ownkey.app)


def run_rotator(environment: dict[str, str]) -> None:
    """`ownkey credential rotate-wrapping-key new`; once that is primary, the same goes on with what is left."""
    os.environ.clear()
    os.environ.update(environment)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
        app(["credential", "rotate-wrapping-key", "new", "--yes"])
