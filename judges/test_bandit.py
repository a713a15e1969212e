"""bandit reads the product's Python: nothing of middle or high severity."""

from __future__ import annotations

from pathlib import Path

from judges.conftest import PROGRAMS, ROOT, ask

# B104 and B108 are ruff's S104 and S108 too, which look at every place and are answered there, each with its reason.
_ANSWERED_ELSEWHERE = "B104,B108"


def test_nothing_is_found() -> None:
    verdict = ask(PROGRAMS / "bandit", "-r", "src", "-ll", "-q", "--skip", _ANSWERED_ELSEWHERE)
    assert verdict.status == 0, verdict.output


def test_a_fault_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "fault.py").write_text("import pickle, sys\npickle.loads(sys.stdin.buffer.read())\n")
    verdict = ask(PROGRAMS / "bandit", "-r", str(tmp_path), "-ll", "-q", cwd=ROOT)
    assert verdict.status == 1
    assert "B301" in verdict.output
