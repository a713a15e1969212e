"""The how-to pages can be followed: their links lead somewhere, their variables are read, their issuers are trusted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec
import pytest

from ownkey.config import Config
from ownkey.services.host_token_rules import read_host_token_rules
from ownkey.testing import SimulatedProviders
from ownkey.testing.faults import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs/how-to").glob("*.md"), ROOT / "README.md", *(ROOT / "examples").glob("*/README.md")])
SIMULATED = (ROOT / "docs/how-to/try-without-a-provider.md").read_text()
SIGN_IN = (ROOT / "docs/how-to/sign-in.md").read_text()
# Read by what starts the server, or by an example, and no settings of it.
OTHERS = {"OWNKEY_ADMIN_TOKEN", "OWNKEY_URL", "OWNKEY_TOKEN"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_variables_are_read(page: Path) -> None:
    text = page.read_text()
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []
    known = {f"OWNKEY_{field.name.upper()}" for field in msgspec.structs.fields(Config)} | OTHERS
    assert set(re.findall(r"(?<!VITE_)\bOWNKEY_[A-Z_]*[A-Z]\b", text)) - known == set()


@pytest.mark.parametrize(
    ("who", "issuer"),
    [
        ("Supabase", "https://ref.supabase.co/auth/v1"),
        ("Auth0", "https://tenant.eu.auth0.com/"),
        ("A secret that your back end signs with", "https://app.example.com"),
    ],
)
def test_each_issuer_is_trusted_as_the_page_says(who: str, issuer: str) -> None:
    part = SIGN_IN[SIGN_IN.index(f"**{who}**") :].split("\n**")[0]
    lines = [line for line in part.splitlines() if line.startswith("$ export ")]
    settings = dict(re.findall(r'(OWNKEY_\w+)=("[^"]*"|\S+)', "\n".join(lines)))
    settings = {name: value.strip('"').replace("<ref>", "ref") for name, value in settings.items()}
    if "OWNKEY_JWT_SECRET" in settings:
        settings["OWNKEY_JWT_SECRET"] = "0123456789abcdef" * 2
    rules = read_host_token_rules(Config.from_env(settings))
    assert rules is not None
    assert rules.claims.issuer == issuer


def test_the_pages_that_embed_the_panel_do_not_pass_an_error_on_as_a_token() -> None:
    """A host's error page is no token: whoever copies a snippet is told that there was none."""
    files = [
        *PAGES,
        *(ROOT / "examples").glob("*/*.html"),
        *(ROOT / "examples").glob("*/templates/*.html"),
        *(ROOT / "examples").glob("*/src/*.jsx"),
    ]
    snippets = [path for path in files if re.search(r"getToken.{0,120}fetch\(", path.read_text(), re.DOTALL)]
    assert len(snippets) >= 4
    assert [path.name for path in snippets if "answer.ok" not in path.read_text()] == []


def test_every_fault_is_written_down() -> None:
    table = SIMULATED[SIMULATED.index("| `kind` |") : SIMULATED.index("## The rest")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    named = [name for row in rows for name in re.findall(r"`([a-z_]+)`", row)]
    assert set(named) - {"kind"} == KINDS


def test_the_simulated_providers_do_what_the_page_tells_them() -> None:
    calls = re.findall(r"^sim ([a-z_]+)(?: '(.*)')?$", SIMULATED, re.MULTILINE)
    calls += re.findall(r"^\| `([a-z_]+)` \| `(\{[^`]+\})`", SIMULATED, re.MULTILINE)
    assert {"break_provider", "fix", "reset", "accept_keys", "pace", "set_usage", "reply"} <= {
        name for name, _ in calls
    }
    with SimulatedProviders() as simulated:
        for name, body in calls:
            asked = Request(f"{simulated.url}/_sim/{name}", data=body.encode(), method="POST")
            with urlopen(asked, timeout=10) as answer:
                assert json.load(answer) == {"result": None}, name
