"""Anchors: the ends of the audit chains, signed and kept outside the database.

Hashes and seals show that no entry was changed. That the newest ones were cut off, or that all of it is an older state
out of a backup, only shows against a copy that the database does not hold. A line of the file is a signature and the
JSON that it signs: `<hex> {"at": …, "heads": [[chain, position, hash], …]}` with the chains that have grown.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hmac
import logging
import os
import stat
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ownkey.background import end_task
from ownkey.crypto.audit_seal import AuditKey
from ownkey.errors import ConfigError, StorageError
from ownkey.services.expiry import utc_now
from ownkey.storage import audit as rows
from ownkey.storage.database import Database

ANCHOR_SECONDS: Final = 60.0
# Some 200 lines: a chain that none of them names gets an anchor that it may have had already.
_TAIL_BYTES: Final = 64 * 1024
_LOCK_SECONDS: Final = 3.0

logger = logging.getLogger(__name__)


class Anchor(Struct, frozen=True, kw_only=True):
    """That a chain had this entry as its last one. `genuine`: this installation has signed it."""

    chain: int
    position: int
    hash: bytes
    taken_at: str
    genuine: bool


class _Line(Struct, frozen=True):
    at: datetime
    heads: list[tuple[int, int, str]]


class AnchorFile:
    """Only grows. Several processes may write it."""

    def __init__(self, path: Path, key: AuditKey) -> None:
        self.path, self._key = path, key

    async def read(self) -> list[Anchor]:
        """All anchors, the oldest first; none where there is no file. Raises ConfigError."""
        return await asyncio.to_thread(self._read, None)

    async def read_last(self) -> list[Anchor]:
        """The newest ones: a file of years is not read through at every start. Raises ConfigError."""
        return await asyncio.to_thread(self._read, _TAIL_BYTES)

    async def write(self, heads: Sequence[rows.AuditHead], at: datetime) -> None:
        """Add a line, on the disk when this returns. Raises OSError."""
        named = [(head.chain, head.position, head.hash.hex()) for head in heads]
        signed = msgspec.json.encode(_Line(at, named))
        await asyncio.to_thread(self._append, self._key.sign_anchor(signed).hex().encode() + b" " + signed + b"\n")

    def _read(self, last_bytes: int | None) -> list[Anchor]:
        try:
            text = _read_file(self.path, last_bytes)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"The audit anchors in {self.path} cannot be read: {error.strerror}.") from None
        # A line without an end was being written when a process ended.
        return [one for line in text.split(b"\n")[:-1] for one in self._parse(line)]

    def _parse(self, line: bytes) -> list[Anchor]:
        signature, _, signed = line.partition(b" ")
        try:
            read = msgspec.json.decode(signed, type=_Line)
            heads = [(chain, position, bytes.fromhex(end)) for chain, position, end in read.heads]
        except (msgspec.DecodeError, ValueError):
            return [Anchor(chain=0, position=0, hash=b"", taken_at=line[:40].decode("ascii", "replace"), genuine=False)]
        genuine = hmac.compare_digest(signature, self._key.sign_anchor(signed).hex().encode())
        at = read.at.isoformat(timespec="seconds")
        return [
            Anchor(chain=chain, position=position, hash=end, taken_at=at, genuine=genuine)
            for chain, position, end in heads
        ]

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, 0o600)
        try:
            _refuse_other_than_file(descriptor)
            _lock(descriptor)
            _drop_torn_end(descriptor)
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # the next one drops what was written of it
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class AnchorKeeper:
    """Writes an anchor every minute in which a chain has grown, and at the end."""

    def __init__(self, database: Database, file: AnchorFile) -> None:
        self._database, self._file = database, file
        self._known: Mapping[int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Note where the chains end, and go on in the background."""
        await self._note()
        self._task = asyncio.create_task(self._run(), name="ownkey-audit-anchors")

    async def close(self) -> None:
        """Write what has grown since the last time."""
        if self._task is not None:
            await end_task(self._task)
        await self._note()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ANCHOR_SECONDS)
            await self._note()

    async def _note(self) -> None:
        try:
            await self.anchor()
        except StorageError as error:
            logger.warning("audit anchors wait for the database: %s", error.message)
        except ConfigError as error:
            logger.error("%s", error.message)  # noqa: TRY400
        except OSError as error:
            logger.error("audit anchors cannot be written to %s: %s", self._file.path, error.strerror)  # noqa: TRY400

    async def anchor(self) -> None:
        """Write the ends that have moved. Raises StorageError, OSError."""
        heads = await rows.list_heads(self._database)
        known = self._known
        if known is None:  # another process may have written them, or this one before it ended
            known = {one.chain: one.position for one in await self._file.read_last() if one.genuine}
        grown = [head for head in heads if head.position > known.get(head.chain, 0)]
        if grown:
            await self._file.write(grown, utc_now())
        self._known = {head.chain: head.position for head in heads}


def _read_file(path: Path, last_bytes: int | None) -> bytes:
    # A pipe would be waited for without end.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        _refuse_other_than_file(descriptor)
        size = os.fstat(descriptor).st_size
        if last_bytes is None or size <= last_bytes:
            return file.read()
        file.seek(size - last_bytes)
        return file.read().partition(b"\n")[2]


def _refuse_other_than_file(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def _lock(descriptor: int) -> None:
    """Others hold it for a moment. Who holds it for longer keeps no server from starting or ending."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(errno.EAGAIN, "somebody holds its lock") from None
        time.sleep(0.01)


def _drop_torn_end(descriptor: int) -> None:
    """A process that was killed may have left half a line."""
    size = os.fstat(descriptor).st_size
    end = os.pread(descriptor, min(size, 65_536), max(0, size - 65_536))
    if end and not end.endswith(b"\n"):
        os.ftruncate(descriptor, size - len(end) + end.rfind(b"\n") + 1)
