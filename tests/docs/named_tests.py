"""The tests that a page names as its proof."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"`((?:tests|judges)/[\w/.]+\.py(?:::\w+)?)`")


def named_tests(text: str) -> list[str]:
    """`tests/place/test_file.py::test_name`, or a whole file."""
    return sorted(set(_NAME.findall(text)))


def is_there(name: str) -> bool:
    """Whether there is such a test; of a whole file, whether it has any."""
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return function in found if function else any(one.startswith("test_") for one in found)
