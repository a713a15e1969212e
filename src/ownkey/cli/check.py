"""One line of `ownkey doctor`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["ok", "warn", "fail"]


class Check(Struct, frozen=True, kw_only=True):
    """What was looked at and how it is. `fix` is what to do, exactly; None where nothing needs doing."""

    name: str
    level: Level
    message: str
    fix: str | None = None


def ok(name: str, message: str) -> Check:
    """All is well."""
    return Check(name=name, level="ok", message=message)


def warn(name: str, message: str, fix: str) -> Check:
    """It works, and should be different."""
    return Check(name=name, level="warn", message=message, fix=fix)


def fail(name: str, message: str, fix: str) -> Check:
    """It does not work, or is not safe."""
    return Check(name=name, level="fail", message=message, fix=fix)
