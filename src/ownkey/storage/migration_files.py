"""The migrations that this version brings: `migrations/YYYYMMDDHHMMSS_verb_noun.sql`, in the order of their names."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct

_NAME: Final = re.compile(r"(\d{14})_[a-z0-9]+(?:_[a-z0-9]+)+\.sql")


class Migration(Struct, frozen=True):
    """One file: forward only, one transaction, never changed once it was released."""

    version: str
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """The hash of the file, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@cache
def load_migrations() -> tuple[Migration, ...]:
    """All migrations, oldest first."""
    found = []
    for file in (files("ownkey.storage") / "migrations").iterdir():
        match = _NAME.fullmatch(file.name)
        if match is not None:
            found.append(Migration(match[1], file.name, file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.version))
