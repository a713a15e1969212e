"""What the page on guarantees names as proof is there."""

from __future__ import annotations

import re

import pytest

from tests.docs.named_tests import ROOT, is_there, named_tests

PAGE = (ROOT / "docs" / "reference" / "guarantees.md").read_text()
TESTS = named_tests(PAGE)


def test_the_page_names_many() -> None:
    assert len(TESTS) > 40


@pytest.mark.parametrize("name", TESTS)
def test_a_test_that_is_named_is_there(name: str) -> None:
    assert is_there(name)


def test_every_fault_of_the_audit_trail_is_said_in_three_languages() -> None:
    source = (ROOT / "src/ownkey/services/audit_verification.py").read_text()
    faults = set(re.findall(r'"((?:the|rows|entries|an anchor|there is) [a-z ,:]+)"', source))
    texts = (ROOT / "web/src/i18n/admin_audit.ts").read_text()
    assert len(faults) > 12
    assert {fault: texts.count(f'"{fault}": ') for fault in faults} == dict.fromkeys(faults, 3)


def test_every_command_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    promises = [row for row in rows if row[0] != "Promise" and set(row[0]) != {"-"}]
    for row in promises:
        commands = re.findall(r"`make ([a-z-]+)`", row[-1])
        assert commands, row[0]
        assert set(commands) <= targets, row[0]
    assert len(promises) > 20
