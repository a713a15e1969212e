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
    """The calls of one process that is gone, and the lock under which they are ours."""

    events: list[UsageEvent]
    segments: list[Path]
    damaged: int
    lock_path: Path
    lock: int

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
    """Those of every process that is gone, one after the other.

    What cannot be read now, or copied where it is damaged, is left for the next time. Raises OSError.
    """
    for lock_path in sorted(directory.glob(f"*{LOCK_SUFFIX}")):
        lock = _try_lock(lock_path)
        if lock is None:
            continue
        process = lock_path.name.removesuffix(LOCK_SUFFIX)
        segments = sorted(path for path in directory.glob(f"{process}-*{SEGMENT_SUFFIX}") if _NAME.fullmatch(path.name))
        try:
            events, damaged = _read_all(segments)
        except OSError as error:
            # Held on to, nobody could ever record it.
            os.close(lock)
            logger.error("%s waits, because it cannot be read or copied: %s", lock_path, error.strerror)  # noqa: TRY400
            continue
        yield Leftovers(events, segments, damaged, lock_path, lock)


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


def _read_all(segments: list[Path]) -> tuple[list[UsageEvent], int]:
    """Every call once: as it ended, or else as one that was cut off. And how many places were damaged."""
    begun: dict[str, Intent] = {}
    ended: dict[str, UsageEvent] = {}
    damaged = 0
    for path in segments:
        try:
            for frame in read_frames(path.read_bytes()):
                if isinstance(frame, Damage):
                    damaged += 1
                    logger.error("%s: %d bytes at %d are damaged", path, frame.length, frame.offset)
                elif isinstance(frame.content, Intent):
                    begun[frame.content.event.id] = frame.content
                else:
                    ended[frame.content.id] = frame.content
        except ValueError as error:
            damaged += 1
            logger.error("%s cannot be read: %s", path, error)  # noqa: TRY400  # the cause is in the message
    if damaged:
        for path in segments:
            _keep_damaged(path)
    cut_off = [_interrupt(intent) for event_id, intent in begun.items() if event_id not in ended]
    return [*ended.values(), *cut_off], damaged


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
