"""The page on logs names every part of the product that writes a line, and no other."""

from __future__ import annotations

import re

from tests.docs.named_tests import ROOT

_WRITES = re.compile(r"\blogger\.(?:debug|info|warning|error|exception|critical)\(")


def test_every_logger_is_named() -> None:
    page = (ROOT / "docs" / "reference" / "logs.md").read_text()
    named = set(re.findall(r"`(ownkey(?:\.\w+)+)`", page.split("| --- |", 1)[1]))
    source = ROOT / "src"
    writing = {
        ".".join(path.relative_to(source).with_suffix("").parts)
        for path in source.rglob("*.py")
        if _WRITES.search(path.read_text())
    }
    assert named == writing
