"""pgTAP reads the catalogue of a database that the migrations made: `judges/pgtap`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.servers import PostgresServer, run_sync

from judges.conftest import ROOT, Verdict, ask


@pytest.fixture
def prove(server: PostgresServer, database: str) -> Callable[[], Verdict]:
    program = shutil.which("pg_prove")
    if program is None:
        pytest.skip("pgTAP is not installed (Debian: postgresql-15-pgtap)")
    run_sync(server.execute("create extension pgtap", database))
    files = [str(path) for path in sorted((ROOT / "judges" / "pgtap").glob("*.sql"))]
    login = ("-h", str(server.socket_dir), "-U", "postgres", "-d", database)
    return lambda: ask(Path(program), *login, "--verbose", *files)


def test_the_wall_stands(prove: Callable[[], Verdict]) -> None:
    verdict = prove()
    assert verdict.status == 0, verdict.output


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        ("alter table ownkey.users no force row level security", 2),
        ("create table ownkey.x (x int); alter table ownkey.x enable row level security, force row level security", 3),
        ("grant execute on function ownkey.current_user_id() to anon", 5),
        ("create function ownkey_private.f() returns int language sql as 'select 1'", 6),
        ("create function ownkey_private.f() returns int language sql security definer as 'select 1'", 7),
        ("grant select on ownkey_private.audit_log to authenticated", 8),
        ("grant truncate on ownkey.usage_events to ownkey_gateway", 9),
        ("create view ownkey.all_users as select * from ownkey.users", 12),
    ],
)  # fmt: skip
def test_a_fault_would_be_found(
    prove: Callable[[], Verdict], spoil: Callable[[str], None], fault: str, number: int
) -> None:
    spoil(fault)
    verdict = prove()
    assert verdict.status != 0
    assert f"not ok {number} " in verdict.output
