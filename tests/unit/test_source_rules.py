"""Rules for the source that no general linter knows; each is shown to bite on a line that breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).parents[2] / "src" / "ownkey"
PYTHON: Final = sorted(SOURCE.rglob("*.py"))
# Migrations are left out: they set the owner's role on a connection of their own, which is closed after them.
QUERIES: Final = sorted((SOURCE / "storage" / "queries").glob("*.sql"))

_RUNS_SQL: Final = {"execute", "executemany", "fetch", "fetchrow", "fetchval", "prepare", "cursor", "copy_from_query"}
_SECRET: Final = re.compile(r"(^|_)(secret|token|password|digest|signature|mac|hmac|commitment)s?($|_)")
# Equality of these says nothing about a secret: the text is public, or is compared by value on purpose.
_PUBLIC_NAMES: Final = re.compile(r"(^|_)(kind|type|id|ids|name|path|count|url|uri|endpoint|version|purpose|length)s?$")
# Both sides come from the caller's own request, who learns nothing by timing them.
_BOTH_FROM_THE_CALLER: Final = {
    ("http/identity.py", "token != found"),
    ("http/identity.py", "key.encode() != token"),
    ("http/session_cookie.py", "token != found"),
}
# Written for operators who apply the files by hand, and ended by `reset role`.
_EXPORTED: Final = {"migrate.py"}
_SESSION_SETTING: Final = re.compile(
    r"^\s*set\s+(?!local\b)(session\b|role\b|request\.|search_path\b|row_security\b)"
    r"|set_config\s*\([^;]*?,\s*false\s*\)",
    re.IGNORECASE | re.MULTILINE,
)


def find_made_sql(tree: ast.AST) -> Iterator[int]:
    """Lines where a statement is put together from parts instead of being a named file with bound values."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _RUNS_SQL
            and node.args
            and _is_made(node.args[0])
        ):
            yield node.lineno


def find_secrets_compared(tree: ast.AST) -> Iterator[str]:
    """Comparisons where `==` takes a time that depends on how much of a secret was right."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare) or not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            continue
        sides = [node.left, *node.comparators]
        # What is written in the source is no secret.
        if any(isinstance(side, ast.Constant) for side in sides):
            continue
        if any(_SECRET.search(name) and not _PUBLIC_NAMES.search(name) for name in map(_last_name, sides)):
            yield ast.unparse(node)


def find_session_settings(sql: str) -> list[str]:
    """Statements that leave a setting on a connection which the next user gets from the pool."""
    without_comments = re.sub(r"--[^\n]*", "", sql)
    return [found.group().strip() for found in _SESSION_SETTING.finditer(without_comments)]


def _is_made(argument: ast.expr) -> bool:
    if isinstance(argument, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in argument.values)
    if isinstance(argument, ast.BinOp):
        return True
    return (
        isinstance(argument, ast.Call) and isinstance(argument.func, ast.Attribute) and argument.func.attr == "format"
    )


def _last_name(side: ast.expr) -> str:
    if isinstance(side, ast.Call):
        side = side.func
    if isinstance(side, ast.Attribute):
        return side.attr.lower()
    return side.id.lower() if isinstance(side, ast.Name) else ""


def test_no_statement_is_put_together() -> None:
    found = [f"{path.relative_to(SOURCE)}:{line}" for path in PYTHON for line in find_made_sql(_read(path))]
    assert found == []


def test_no_secret_is_compared_with_an_operator() -> None:
    found = {
        (path.relative_to(SOURCE).as_posix(), text) for path in PYTHON for text in find_secrets_compared(_read(path))
    }
    assert found - _BOTH_FROM_THE_CALLER == set()


def test_no_query_leaves_a_setting_on_its_connection() -> None:
    assert len(QUERIES) > 10
    found = [f"{path.name}: {each}" for path in QUERIES for each in find_session_settings(path.read_text("utf-8"))]
    for path in (path for path in PYTHON if path.name not in _EXPORTED):
        texts = (node.value for node in ast.walk(_read(path)) if isinstance(node, ast.Constant))
        found += [
            f"{path.name}: {each}" for text in texts if isinstance(text, str) for each in find_session_settings(text)
        ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'tx.execute(f"delete from {table}")',
        'tx.fetch("select * from t where id = " + key)',
        'tx.fetchval("select %s" % key)',
        'tx.fetchrow("select {}".format(key))',
    ],
)
def test_a_made_statement_would_be_found(line: str) -> None:
    assert list(find_made_sql(ast.parse(line))) == [1]


@pytest.mark.parametrize(
    "line", ["token == given", "row.digest != found", "a.signature() == b", "stored_password == x"]
)
def test_a_compared_secret_would_be_found(line: str) -> None:
    assert list(find_secrets_compared(ast.parse(line))) == [line]


@pytest.mark.parametrize("line", ["token_type == given", "token == ''", "hmac.compare_digest(token, given)"])
def test_what_is_public_may_be_compared(line: str) -> None:
    assert list(find_secrets_compared(ast.parse(line))) == []


@pytest.mark.parametrize(
    "sql",
    [
        "set role ownkey_gateway",
        "set session authorization somebody",
        "select 1;\nSET request.jwt.claims = '{}'",
        "select set_config('role', $1, false)",
    ],
)
def test_a_session_setting_would_be_found(sql: str) -> None:
    assert find_session_settings(sql)


@pytest.mark.parametrize(
    "sql", ["set local role ownkey_gateway", "select set_config('role', $1, true)", "-- set role x"]
)
def test_a_setting_of_the_transaction_may_be_made(sql: str) -> None:
    assert find_session_settings(sql) == []


def _read(path: Path) -> ast.AST:
    return ast.parse(path.read_text("utf-8"))
