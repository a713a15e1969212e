"""The page on providers says what the catalogue says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_providers_page_is_up_to_date() -> None:
    subprocess.run([sys.executable, ROOT / "tools/write_providers_reference", "--check"], check=True)
