"""Named queries: `queries/*.sql`, each with `-- name: x` and a line that says what it is for."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

_HEAD: Final = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\n-- (?P<purpose>\S[^\n]*)\n", re.MULTILINE)


def query(name: str) -> str:
    """The SQL of one query. KeyError for a name that no file has."""
    return load_all_queries()[name]


@cache
def load_queries(family: str) -> dict[str, str]:
    """The queries of one file by name."""
    return split_queries((files("ownkey.storage") / "queries" / f"{family}.sql").read_text(encoding="utf-8"))


@cache
def load_all_queries() -> dict[str, str]:
    """All queries by name. Raises ValueError for a name that appears twice."""
    names = sorted(file.name for file in (files("ownkey.storage") / "queries").iterdir())
    found: dict[str, str] = {}
    for file_name in names:
        if file_name.endswith(".sql"):
            for name, statement in load_queries(file_name.removesuffix(".sql")).items():
                if name in found:
                    raise ValueError(f"the query {name} is defined twice")
                found[name] = statement
    return found


def split_queries(text: str) -> dict[str, str]:
    """The queries of one file. Raises ValueError for a query without a purpose and for text outside queries."""
    heads = list(_HEAD.finditer(text))
    if not heads or text[: heads[0].start()].strip() or len(heads) != text.count("-- name:"):
        raise ValueError("a file of queries holds only queries, each with a name and a purpose")
    ends = [head.start() for head in heads[1:]] + [len(text)]
    found = {
        head["name"]: text[head.end() : end].strip().removesuffix(";") for head, end in zip(heads, ends, strict=True)
    }
    if len(found) != len(heads):
        raise ValueError("a query of this file is defined twice")
    return found
