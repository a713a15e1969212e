"""A short look by each fuzzer; `make fuzz` looks for longer."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from typing import Final

import pytest

from judges.conftest import PROGRAMS, ROOT

TARGETS: Final = re.findall(r"^@target\ndef (\w+)", (ROOT / "judges" / "fuzz.py").read_text(), re.MULTILINE)
_SECONDS: Final = os.environ.get("FUZZ_SECONDS", "2")
_EXECUTED: Final = re.compile(r"number_of_executed_units: (\d+)")


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_it(name: str) -> None:
    # atheris lives with the judges; what it reads needs the product's own packages.
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    done = subprocess.run(
        [PROGRAMS / "python", "-m", "judges.fuzz", name, _SECONDS],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
        timeout=60 + 2 * int(_SECONDS),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    [executed] = _EXECUTED.findall(done.stderr)
    print(f"{name}: {int(executed):,} inputs in {_SECONDS} s")
    assert int(executed) > 1000
