"""squawk reads the migrations: what locks a table for long, or what cannot be run twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from judges.conftest import PROGRAMS, ROOT, ask

_MIGRATIONS = ROOT / "src" / "ownkey" / "storage" / "migrations"
# Each file is one transaction, which `storage.migrate` begins with a limit on waiting for locks. A statement's own time
# is not limited: a large table takes what it takes. Counters that stay small are integers.
_EXCLUDED = (
    "require-lock-timeout",
    "require-statement-timeout",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
)
# From before the first release: there was no table that anybody used.
_BEFORE_RELEASE = "20261127"


def judge(*files: Path) -> list[dict[str, Any]]:
    options = ("--assume-in-transaction", "--pg-version", "15", "--reporter", "json", "-e", ",".join(_EXCLUDED))
    verdict = ask(PROGRAMS / "squawk", *options, *map(str, files))
    return cast("list[dict[str, Any]]", verdict.found)


def test_every_migration_is_sound() -> None:
    found = {(Path(one["file"]).name, one["rule_name"]) for one in judge(*sorted(_MIGRATIONS.glob("*.sql")))}
    assert {(name, rule) for name, rule in found if name >= _BEFORE_RELEASE} == set()
    assert {rule for _, rule in found} <= {
        "adding-field-with-default",
        "adding-foreign-key-constraint",
        "ban-drop-column",
        "ban-drop-constraint",
        "ban-drop-default",
        "ban-drop-function",
        "ban-drop-not-null",
        "disallowed-unique-constraint",
        "require-concurrent-index-creation",
        "require-concurrent-index-deletion",
    }


def test_a_fault_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "99990101000000_fault.sql"
    file.write_text(
        "alter table ownkey.users add column x text not null;\nalter table ownkey.users drop column name;\n"
    )
    assert {"adding-required-field", "ban-drop-column"} <= {one["rule_name"] for one in judge(file)}
