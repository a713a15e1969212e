"""The wheel and the source distribution hold the finished panel, and are built on a machine without Node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PANEL = {"page.html", "page.css", "page.js", "panel.js", "admin.js", "favicon.svg"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git knows of this tree, changes included, and nothing that was built."""
    target = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture(scope="module")
def without_node(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose PATH leads to a shell and little else."""
    programs = tmp_path_factory.mktemp("programs")
    for name in ("sh", "bash", "env", "git", "uname", "dirname"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    environment = {**os.environ, "PATH": str(programs)}
    assert shutil.which("node", path=environment["PATH"]) is None
    return environment


def build(source: Path, target: Path, environment: dict[str, str], kind: str) -> Path:
    """One distribution, in an isolated environment as pip makes it."""
    if kind == "wheel":
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(target),
            str(source),
        ]
    else:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(target)]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.iterdir()
    return built


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {Path(name).name for name in archive.namelist() if "ownkey/http/static/" in name}


@pytest.mark.slow
def test_a_clone_builds_without_node(clone: Path, without_node: dict[str, str], tmp_path: Path) -> None:
    wheel = build(clone, tmp_path / "wheel", without_node, "wheel")
    assert names_in(wheel) >= PANEL


def test_a_source_distribution_needs_neither_node_nor_npm(
    clone: Path, without_node: dict[str, str], tmp_path: Path
) -> None:
    archive = build(clone, tmp_path / "sdist", dict(os.environ), "sdist")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    wheel = build(source, tmp_path / "wheel", without_node, "wheel")
    assert names_in(wheel) >= PANEL
