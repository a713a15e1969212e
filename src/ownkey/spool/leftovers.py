"""What processes that are gone have left in a spool directory.

Each process holds a lock as long as it lives, on a file beside its segments. Whoever gets that lock is the heir of all
of its segments together: a call may have begun in one and ended in another.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ownkey.domain.usage import Outcome, Tokens, TokensSource, UsageEvent
from ownkey.spool.frames import LARGEST_FRAME_BYTES, Damage, Intent, read_frames

LOCK_SUFFIX: Final = ".lock"
SEGMENT_SUFFIX: Final = ".spool"
QUARANTINE_SUFFIX: Final = ".damaged"
# What a call that was cut off has in the place of a reason.
INTERRUPTED: Final = "interrupted"
_NAME: Final = re.compile(r"(?P<process>[0-9a-f-]{36})-(?P<number>\d{6,})\.spool", re.ASCII)
_BYTES_PER_TOKEN: Final = 4

logger = logging.getLogger(__name__)


class Leftovers(Struct):
    """The calls of one process that is gone, and the lock under which they are ours.

    `damaged` counts places that cannot be read, as far as has been read.
    """

    segments: list[Path]
    lock_path: Path
    lock: int
    damaged: int = 0

    def batches(self, limit: int) -> Iterator[list[UsageEvent]]:
        """Every call, as it ended, or else as one that was cut off; at most so many at a time. Raises OSError.

        A call may come twice, the first time as what it is to be recorded as: who records it must count it once. Only
        what is under way at a place in the spool is kept in memory, however much there is.
        """
        batch: dict[str, UsageEvent] = {}
        for event in self._calls():
            batch.setdefault(event.id, event)
            if len(batch) == limit:
                yield list(batch.values())
                batch.clear()
        if self.damaged:
            for path in self.segments:
                _keep_damaged(path)
        if batch:
            yield list(batch.values())

    def _calls(self) -> Iterator[UsageEvent]:
        begun: dict[str, Intent] = {}
        for path in self.segments:
            try:
                for frame in read_frames(path.read_bytes()):
                    if isinstance(frame, Damage):
                        self.damaged += 1
                        logger.error("%s: %d bytes at %d are damaged", path, frame.length, frame.offset)
                    elif isinstance(frame.content, Intent):
                        begun[frame.content.event.id] = frame.content
                    else:
                        begun.pop(frame.content.id, None)
                        yield frame.content
            except ValueError as error:
                self.damaged += 1
                logger.error("%s cannot be read: %s", path, error)  # noqa: TRY400  # the cause is in the message
        yield from map(_interrupt, begun.values())

    def discard(self) -> None:
        """They are in the database."""
        for path in self.segments:
            path.unlink(missing_ok=True)
        self.lock_path.unlink(missing_ok=True)
        os.close(self.lock)

    def leave(self) -> None:
        """Not now: somebody else may have them. What they do not fill goes back to the disk."""
        for path in self.segments:
            with suppress(OSError):
                trim(path)
        os.close(self.lock)


def take_leftovers(directory: Path) -> Iterator[Leftovers]:
    """Those of every process that is gone, one after the other. Raises OSError."""
    for lock_path in sorted(directory.glob(f"*{LOCK_SUFFIX}")):
        lock = _try_lock(lock_path)
        if lock is None:
            continue
        process = lock_path.name.removesuffix(LOCK_SUFFIX)
        segments = sorted(path for path in directory.glob(f"{process}-*{SEGMENT_SUFFIX}") if _NAME.fullmatch(path.name))
        yield Leftovers(segments, lock_path, lock)


def find_abandoned(directory: Path) -> int:
    """How many processes that are gone have left something. Raises OSError."""
    count = 0
    for lock_path in directory.glob(f"*{LOCK_SUFFIX}"):
        lock = _try_lock(lock_path)
        if lock is not None:
            os.close(lock)
            count += 1
    return count


def trim_abandoned(directory: Path) -> None:
    """Give back to the disk what the segments of processes that are gone do not fill. Raises OSError.

    Else a few processes that died while the database was away fill a small disk, and none can start to record them.
    """
    for lock_path in directory.glob(f"*{LOCK_SUFFIX}"):
        lock = _try_lock(lock_path)
        if lock is not None:
            try:
                for path in directory.glob(f"{lock_path.name.removesuffix(LOCK_SUFFIX)}-*{SEGMENT_SUFFIX}"):
                    trim(path)
            finally:
                os.close(lock)


def trim(path: Path) -> None:
    """Cut the zeros off the end of a segment that nobody writes any more. Raises OSError."""
    # The last frame may itself end with zeros.
    used = len(path.read_bytes().rstrip(b"\0")) + LARGEST_FRAME_BYTES
    if used < path.stat().st_size:
        os.truncate(path, used)


def hold_lock(path: Path) -> int:
    """Make this process's lock, and hold it. Raises OSError."""
    # Under another name at first: between making and locking it, somebody might take it for that of a dead process.
    made = path.with_suffix(".new")
    lock = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    made.rename(path)
    return lock


def _try_lock(path: Path) -> int | None:
    try:
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None  # somebody was faster
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    os.close(lock)
    return None


def _keep_damaged(path: Path) -> None:
    """A copy for who wants to look, since the file itself goes when what is left of it is in the database."""
    copy = path.with_suffix(QUARANTINE_SUFFIX)
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)


def _interrupt(intent: Intent) -> UsageEvent:
    """A call that was under way when its process ended: the provider may have charged for all of it."""
    event = intent.event
    if event.operation not in ("chat", "embeddings"):
        return replace(event, outcome=Outcome.INTERNAL, finish_reason=INTERRUPTED)
    return replace(
        event,
        outcome=Outcome.INTERNAL,
        finish_reason=INTERRUPTED,
        tokens=Tokens(input_uncached=intent.body_bytes // _BYTES_PER_TOKEN),
        tokens_source=TokensSource.ESTIMATED,
    )
