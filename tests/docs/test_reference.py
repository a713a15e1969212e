"""The reference pages say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE_CELL = re.compile(r"`([a-z_]+)`")
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


# What no page of ours can meet: answers of the gateway, paths that no page asks for, and what stops a start.
UNSEEN = frozenset(
    """
    all_attempts_failed answer_too_large cannot_carry config_invalid content_refused internal_error
    method_not_allowed migration_failed model_lacks_operation model_lists_need_own_key no_provider_available
    postgres_too_old request_timeout response_not_stored schema_changed server_ending server_full sign_in_denied
    sign_in_expired sign_in_not_fresh sign_in_other_user stored_objects_need_own_key stream_broken
    thread_unsupported_request token_missing too_many_at_once too_many_connections
    unknown_path unsupported_encoding usage_queue_full
    usage_unwritable
    """.split()  # noqa: SIM905  # a list that people read
)


def test_every_error_that_a_page_can_meet_is_said_in_german_and_spanish() -> None:
    """The compiler keeps the languages of the panel equal; this keeps them equal to the server's codes."""
    page = (ROOT / "docs/reference/errors.md").read_text()
    codes = {
        code for line in page.splitlines() if line.startswith("| `") for code in CODE_CELL.findall(line.split("|")[1])
    }
    assert codes >= UNSEEN, "a code that is no more"
    texts = (ROOT / "web/src/i18n/errors.ts").read_text()
    for name in ("german", "spanish"):
        translated = texts[texts.index(f"const {name}") :].split("};")[0]
        assert sorted(code for code in codes - UNSEEN if f"\n  {code}: " not in translated) == [], name
