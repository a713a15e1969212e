"""The page on OWASP's standard leaves none of its requirements out, and what it names as proof is there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.docs.named_tests import ROOT, is_there, named_tests

PAGE = (ROOT / "docs" / "reference" / "asvs.md").read_text()
# Levels 1 and 2 of version 5.0.0: of each section, how many requirements, which are numbered from 1.
SECTIONS = """
1.1:2 1.2:9 1.3:11 1.4:3 1.5:2 2.1:3 2.2:3 2.3:4 2.4:1 3.2:2 3.3:4 3.4:6 3.5:5 3.7:2 4.1:3 4.2:1 4.3:2 4.4:4 5.1:1
5.2:3 5.3:2 5.4:3 6.1:3 6.2:12 6.3:4 6.4:4 6.5:5 6.6:3 6.8:4 7.1:3 7.2:4 7.3:2 7.4:5 7.5:2 7.6:2 8.1:2 8.2:3 8.3:1
8.4:1 9.1:3 9.2:4 10.1:2 10.2:2 10.3:4 10.4:11 10.5:5 10.6:2 10.7:3 11.1:2 11.2:3 11.3:3 11.4:4 11.5:1 11.6:1 12.1:3
12.2:2 12.3:4 13.1:1 13.2:5 13.3:2 13.4:5 14.1:2 14.2:4 14.3:3 15.1:3 15.2:3 15.3:7 16.1:1 16.2:5 16.3:4 16.4:3
16.5:3 17.1:1 17.2:4 17.3:2
"""
ANSWERS = ("met", "the host's", "not applicable", "**not met**")


def requirements() -> Iterator[str]:
    for section in SECTIONS.split():
        name, count = section.split(":")
        yield from (f"{name}.{number}" for number in range(1, int(count) + 1))


def rows() -> list[list[str]]:
    lines = (line.strip("| ").split(" | ", 3) for line in PAGE.splitlines())
    return [line for line in lines if re.fullmatch(r"\d+\.\d+\.\d+", line[0])]


def test_each_requirement_is_there_once() -> None:
    assert [row[0] for row in rows()] == list(requirements())


def test_each_answer_has_its_proof_or_its_reason() -> None:
    for number, asked, answer, proof in rows():
        assert asked and answer in ANSWERS, number
        if answer == "met":
            assert named_tests(proof), number
        else:
            assert proof.endswith((".", ".)", ")).")) and len(proof) > 10, number


def test_the_sums_are_those_of_the_tables() -> None:
    counts = {chapter: Counter[str]() for chapter in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)}
    by_number = {chapter.split()[0]: chapter for chapter in counts}
    for number, _, answer, _ in rows():
        counts[by_number[number.split(".")[0]]][answer] += 1
    counts["all"] = sum(counts.values(), Counter())
    told = re.findall(r"^\| (.+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert {name: [int(one) for one in numbers] for name, *numbers in told} == {
        chapter: [found[answer] for answer in ANSWERS] for chapter, found in counts.items()
    }


@pytest.mark.parametrize("name", named_tests(PAGE))
def test_a_test_that_is_named_is_there(name: str) -> None:
    assert is_there(name)
