"""Every named query fits the schema, says what it is for, and is used."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from ownkey.storage.sql import load_all_queries, load_queries, query, split_queries

STORAGE = Path(__file__).parents[2] / "src" / "ownkey" / "storage"
# PostgreSQL prepares no such statement.
NOT_PREPARED = {"create_runtime_login", "create_database"}


async def test_every_query_can_be_prepared(superuser: asyncpg.Connection) -> None:
    assert len(load_all_queries()) > 40
    for name, statement in load_all_queries().items():
        if name not in NOT_PREPARED:
            try:
                await superuser.prepare(statement)
            except asyncpg.PostgresError as error:
                pytest.fail(f"{name}: {error}")


async def test_every_query_names_only_what_its_role_may_use(superuser: asyncpg.Connection) -> None:
    """Planning checks no privilege, EXPLAIN does: each query is allowed to one of the roles that serve."""
    roles = ("ownkey_gateway", "ownkey_admin", "ownkey_auditor", "ownkey_rotator", "ownkey_owner")
    for name, statement in load_all_queries().items():
        if name in NOT_PREPARED:
            continue
        filled = statement
        for number, parameter in reversed(list(enumerate((await superuser.prepare(statement)).get_parameters(), 1))):
            filled = filled.replace(f"${number}", f"null::{_type_name(parameter)}")
        refusals = []
        for role in roles:
            transaction = superuser.transaction()
            await transaction.start()
            try:
                await superuser.execute(f"set local role {role}")
                await superuser.execute(f"explain {filled}")
            except asyncpg.InsufficientPrivilegeError as error:
                refusals.append(f"{role}: {error}")
            finally:
                await transaction.rollback()
        assert len(refusals) < len(roles), f"{name}: {refusals}"


def test_every_query_is_used_and_every_used_one_exists() -> None:
    source = "\n".join(path.read_text() for path in STORAGE.glob("*.py"))
    named = set(re.findall(r'"([a-z][a-z0-9_]+)"', source))
    assert set(load_all_queries()) <= named
    for name in re.findall(r'\bquery\("([a-z0-9_]+)"\)', source):
        assert query(name)


def test_families_are_files() -> None:
    assert set(load_queries("users")) <= set(load_all_queries())
    with pytest.raises(FileNotFoundError):
        load_queries("nothing")
    with pytest.raises(KeyError):
        query("nothing")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "select 1;",
        "-- name: a\nselect 1;",
        "-- name: A\n-- Why.\nselect 1;",
        "select 0;\n-- name: a\n-- Why.\nselect 1;",
        "-- name: a\n-- Why.\nselect 1;\n-- name: b\nselect 2;",
        "-- name: a\n-- Why.\nselect 1;\n-- name: a\n-- Why.\nselect 2;",
    ],
)
def test_a_file_of_queries_is_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"queries|twice"):
        split_queries(text)


def _type_name(parameter: asyncpg.Type) -> str:
    return f'{parameter.schema}."{parameter.name}"' if parameter.kind != "array" else parameter.name
