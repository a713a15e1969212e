"""Supabase's own linter of a database, as its advisers run it: no warning and no error in the schema that it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from tests.servers import PostgresServer, run_sync

from judges.conftest import NODE_PROGRAMS, ask


def judge(server: PostgresServer, database: str, directory: Path) -> list[dict[str, Any]]:
    # Without this setting, which a Supabase project has, it skips what it says of exposed schemas.
    run_sync(server.execute(f"alter database {database} set pgrst.db_schemas = 'ownkey'", database))
    connection = {"host": str(server.socket_dir), "port": 5432, "username": "postgres", "database": database}
    settings = {"db": {**connection, "password": "unused"}}
    (directory / "postgres-language-server.jsonc").write_text(json.dumps(settings))
    verdict = ask(
        NODE_PROGRAMS / "postgres-language-server", "dblint", "--max-diagnostics=none", "--diagnostic-level=warn",
        "--error-on-warnings", "--reporter=json", cwd=directory,
    )  # fmt: skip
    found = cast("dict[str, Any]", verdict.found)
    assert (verdict.status == 0) == (not found["diagnostics"])
    return cast("list[dict[str, Any]]", found["diagnostics"])


def test_nothing_is_found(server: PostgresServer, database: str, tmp_path: Path) -> None:
    assert judge(server, database, tmp_path) == []


def test_a_fault_would_be_found(
    server: PostgresServer, database: str, spoil: Callable[[str], None], tmp_path: Path
) -> None:
    spoil("create table ownkey.open_to_all (secret text); grant select on ownkey.open_to_all to anon")
    assert "rlsDisabledInPublic" in json.dumps(judge(server, database, tmp_path))
