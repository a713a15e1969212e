"""The locked dependencies agree with what `pyproject.toml` asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def read_pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def asked(*texts: str) -> list[Requirement]:
    return [Requirement(text) for text in texts]


RUN = asked(*PROJECT["project"]["dependencies"])
EXTRAS = [one for name in ("demo", "redis") for one in PROJECT["project"]["optional-dependencies"][name]]
DEV = [*RUN, *asked(*EXTRAS, *PROJECT["dependency-groups"]["dev"])]

CLIENTS = asked(*PROJECT["dependency-groups"]["clients"])


@pytest.mark.parametrize(("lock", "requirements"), [("run.txt", RUN), ("dev.txt", DEV), ("clients.txt", CLIENTS)])
def test_every_requirement_is_pinned_within_its_range(lock: str, requirements: list[Requirement]) -> None:
    pins = read_pins(lock)
    for requirement in requirements:
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement} is not in {lock}: run `make lock`"
        assert pinned in requirement.specifier, f"{lock} has {pinned}, asked is {requirement}: run `make lock`"


def test_what_runs_is_what_was_tested() -> None:
    run, dev = read_pins("run.txt"), read_pins("dev.txt")
    assert run.items() <= dev.items()


@pytest.mark.parametrize("lock", ["run.txt", "dev.txt", "clients.txt"])
def test_every_pin_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert "://" not in text and "--index-url" not in text and "--find-links" not in text
    for entry in re.split(r"\n(?=[a-z0-9])", text.strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
