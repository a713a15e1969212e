"""A page of docs/how-to/clients as the tests run it: its fenced blocks, with the address and the token of a test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from msgspec import Struct

PAGES: Final = Path(__file__).parents[3] / "docs/how-to/clients"
# What a reader replaces too.
ADDRESS: Final = "http://127.0.0.1:8484"
TOKEN: Final = "ok-…"
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INSTALL: Final = re.compile(r"(?:pip|npm) install (?:-g )?(.+)")


class Block(Struct, frozen=True):
    """One fenced block, as it stands on the page."""

    language: str
    text: str

    @property
    def installs(self) -> list[str]:
        """The packages that this block installs, if it does nothing else."""
        lines = [line.removeprefix("$ ") for line in self.text.splitlines()]
        found = [_INSTALL.fullmatch(line) for line in lines]
        return [name for match in found if match for name in match[1].split()] if all(found) else []


def list_pages() -> list[str]:
    """The names of all pages, without the index."""
    return sorted(path.stem for path in PAGES.glob("*.md") if path.name != "README.md")


def read_blocks(name: str) -> list[Block]:
    """All blocks of a page, in order."""
    return [Block(language, text) for language, text in _BLOCK.findall((PAGES / f"{name}.md").read_text())]


def read_program(name: str, language: str, url: str, token: str) -> str:
    """All blocks of one language as one program that asks `url` with `token`.

    Of a `console` block the commands: what follows `$ `, and `> ` where one goes on.
    """
    texts = [block.text for block in read_blocks(name) if block.language == language and not block.installs]
    text = "\n".join(texts)
    assert text, f"{name}.md has no {language}"
    if language == "console":
        text = re.sub(r"^(?:\$|>) ", "", text, flags=re.MULTILINE)
    return text.replace(ADDRESS, url).replace(TOKEN, token)
