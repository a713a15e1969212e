"""Any text as the one argument of a function, and back, however it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.providers.conversation import Grammar, Tool
from ownkey.providers.freeform import Unwrapper, describe, unwrap, wrap


def pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def stream(arguments: str, size: int) -> str:
    unwrapper = Unwrapper()
    return "".join([*map(unwrapper.feed, pieces(arguments, size)), unwrapper.finish()])


@given(st.text(), st.integers(1, 9), st.booleans(), st.sampled_from([None, 2]))
def test_any_text_survives(text: str, size: int, ascii_only: bool, indent: int | None) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=indent)

    assert unwrap(wrap(text)) == text
    assert unwrap(arguments) == text
    assert stream(arguments, size) == text


def test_text_comes_out_as_it_arrives() -> None:
    unwrapper = Unwrapper()

    given = ['{"in', 'put": "', "*** Begin", "\\", "n+ 3 \\ud83d", '\\ude00 x"', "}"]
    assert [unwrapper.feed(piece) for piece in given] == ["", "", "*** Begin", "", "\n+ 3 ", "😀 x", ""]
    assert unwrapper.finish() == ""


@pytest.mark.parametrize("arguments", ["", "ls -l", '{"cmd": "ls"}', '{"input": 3}', "[1]", '"text"', '{"input'])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_what_was_written_otherwise_is_passed_on(arguments: str, size: int) -> None:
    assert unwrap(arguments) == arguments
    assert stream(arguments, size) == arguments


@given(st.text(alphabet='{"input: }\\udn8\n', max_size=30), st.integers(1, 4))
def test_nothing_breaks_the_unwrapper(arguments: str, size: int) -> None:
    stream(arguments, size)


def test_a_grammar_is_told_in_words() -> None:
    tool = Tool(name="patch", description="Edits files.", freeform=True, grammar=Grammar("lark", "start: LINE+"))

    assert describe(tool) == "Edits files.\n\nThe input must match this lark grammar:\nstart: LINE+"
    assert describe(Tool(name="shell", description="Runs it.", freeform=True)) == "Runs it."
