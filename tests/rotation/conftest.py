"""A directory that PostgreSQL's account may enter."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def private_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ownkey-rotation-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
