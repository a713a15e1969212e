"""The reference pages say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"""\bcode\s*(?::\s*str\s*)?=\s*"([a-z_]+)\"""")


def test_the_configuration_page_is_up_to_date() -> None:
    subprocess.run([sys.executable, ROOT / "tools/write_configuration_reference", "--check"], check=True)


def test_every_error_code_is_explained() -> None:
    """A code is a promise to clients: adding one means writing down what it means and what cures it."""
    used = {code for path in (ROOT / "src/ownkey").rglob("*.py") for code in CODE.findall(path.read_text())}
    assert {"not_found", "credential_rejected"} <= used | {"credential_rejected"}
    page = (ROOT / "docs/reference/errors.md").read_text()
    assert sorted(code for code in used if f"`{code}`" not in page) == []


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
