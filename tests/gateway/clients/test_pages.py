"""The pages on clients: all in the index, every snippet run, and what they say to install is what was tested."""

from __future__ import annotations

import json
import re

from tests.docs.test_lock import read_pins
from tests.gateway.clients import test_agent_pages, test_sdk_pages
from tests.gateway.clients.page import PAGES, list_pages, read_blocks
from tests.gateway.clients.programs import ROOT

# Language by language, what the tests beside this one run.
RUN = {
    *((case.page, case.language) for case in test_sdk_pages.CASES),
    *((page, language) for page, (_, language) in test_agent_pages.FILES.items()),
    *((page, "console") for page in test_agent_pages.SHELLS),
    ("open-webui", "sh"),
}


def test_every_snippet_is_run() -> None:
    blocks = [(page, block) for page in list_pages() for block in read_blocks(page)]
    assert {(page, block.language) for page, block in blocks if not block.installs} == RUN
    # No block that the pattern overlooks.
    for page in list_pages():
        assert len(read_blocks(page)) * 2 == (PAGES / f"{page}.md").read_text().count("```"), page


def test_what_is_to_be_installed_is_what_is_tested() -> None:
    python = {**read_pins("clients.txt"), **read_pins("dev.txt")}
    node = {
        name
        for folder in ("node", "agents")
        for name in json.loads((ROOT / f"tests/{folder}/package.json").read_text())["dependencies"]
    }
    named = {name for page in list_pages() for block in read_blocks(page) for name in block.installs}
    assert named and named - set(python) - node == set()


def test_the_index_has_every_page_and_every_link_leads_somewhere() -> None:
    index = (PAGES / "README.md").read_text()
    listed = re.findall(r"^\| \[[^\]]+\]\(([\w-]+)\.md\)", index, re.MULTILINE)
    assert sorted(listed) == list_pages()
    for path in PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            file, _, anchor = target.partition("#")
            assert "://" in target or (PAGES / file).exists(), (path.name, target)
            if anchor:
                titles = re.findall(r"^#+ (.+)$", (PAGES / file).read_text(), re.MULTILINE)
                assert anchor in {title.lower().replace(" ", "-") for title in titles}, (path.name, target)
