"""The panel speaks of the API as it is: its types are the ones that the API's description gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TYPES = ROOT / "web" / "src" / "api" / "schema.ts"


@pytest.mark.skipif(not (ROOT / "web/node_modules/.bin/openapi-typescript").exists(), reason="npm is not installed")
def test_types_follow_the_api(tmp_path: Path) -> None:
    written = tmp_path / "schema.ts"
    subprocess.run([ROOT / "tools/write_panel_types", sys.executable, written], check=True)
    assert written.read_text() == TYPES.read_text(), "Run `make panel-types`."
