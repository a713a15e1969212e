"""Where a secret could have been left, and the shapes in which it could lie there."""

from __future__ import annotations

import base64
import logging
import re
import secrets
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg

from ownkey import Ownkey

_TOKEN: Final = re.compile(rb"ok-[\w-]{20,}")


def shapes(key: str) -> list[str]:
    """How a key could be written down."""
    raw = key.encode()
    return [key, base64.b64encode(raw).decode().rstrip("=")[:-2], raw.hex(), quote(key, safe="")]


class Canaries:
    """Keys and tokens that must be nowhere. Keys begin alike, so that hundreds are found as quickly as one."""

    def __init__(self) -> None:
        self._stem, self._count = f"key-{secrets.token_hex(13)}".encode(), 0
        # As base64 at each of the three places where it can begin within something longer.
        aligned = (base64.b64encode(bytes(shift) + self._stem)[4 if shift else 0 : -4] for shift in range(3))
        self._forms = {self._stem, self._stem.hex().encode(), *aligned}
        self._tokens: set[bytes] = set()

    def make_key(self, form: str = "{}+/%Z") -> str:
        """A new one."""
        self._count += 1
        return form.format(f"{self._stem.decode()}{self._count}")

    def add_token(self, token: str) -> str:
        """One more that begins with `ok-`."""
        self._tokens.add(token.encode())
        return token

    def find(self, content: bytes) -> list[bytes]:
        """What of them is in there."""
        tokens = self._tokens & set(_TOKEN.findall(content))
        return [form for form in self._forms if form in content] + sorted(tokens)

    def find_in_files(self, directory: Path) -> tuple[list[str], int]:
        """The same with every byte of every file, and how many bytes those were."""
        found, size = [], 0
        for path in sorted(directory.rglob("*")):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                size += len(content)
                found += [f"{one.decode()} in {path.relative_to(directory)}" for one in self.find(content)]
        return found, size


def write_with_variables(records: Iterable[logging.LogRecord]) -> str:
    """What a collector of errors would send off: each logged exception with the variables of all its frames."""
    lines: list[str] = []
    for record in records:
        if record.exc_info and record.exc_info[1] is not None:
            error = traceback.TracebackException.from_exception(record.exc_info[1], capture_locals=True)
            lines += error.format()
    return "".join(lines)


async def dump(ok: Ownkey) -> str:
    """Every column of every table, as PostgreSQL's superuser sees it."""
    dsn = await superuser_dsn(ok)
    connection: Any = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables "
            "where schemaname in ('ownkey', 'ownkey_private', 'public')"
        )
        rows: list[str] = []
        for table in tables:
            found = await connection.fetch(f"select t::text as row from {table['name']} t")
            rows += [f"{table['name']} {row['row']}" for row in found]
        return "\n".join(rows)
    finally:
        await connection.close()


async def superuser_dsn(ok: Ownkey) -> str:
    from ownkey.storage.embedded import EmbeddedPostgres

    server = await EmbeddedPostgres.start(ok.config.data_dir)
    try:
        return server.migration_dsn
    finally:
        await server.stop()
