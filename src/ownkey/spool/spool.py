"""The spool of one process: every call is in it from before it is made until it is in the database."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ownkey.domain.usage import UsageEvent, new_id
from ownkey.errors import ConfigError
from ownkey.spool.frames import LARGEST_FRAME_BYTES, encode_final, encode_intent
from ownkey.spool.leftovers import LOCK_SUFFIX, SEGMENT_SUFFIX, hold_lock, trim, trim_abandoned
from ownkey.spool.segment import Segment

SEGMENT_BYTES: Final = 8 * 1024 * 1024
# What the end of a call takes as a rule.
_USUAL_FRAME_BYTES: Final = 2 * 1024
# Calls that last longer than it takes to fill so many segments are written down again, so that the old ones can go.
_SEGMENTS_BEHIND: Final = 8
_RETRY_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


class SpoolFull(ConfigError):
    """The disk has no room for another spool. What processes that are gone have left may be what fills it."""


class Spool:
    """Not for several threads at once, but for `sync`, which waits in one.

    A segment is removed when everything in it is in the database, and no older one is left: what a call began with
    is never there without what it ended with.
    """

    def __init__(self, directory: Path, *, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Raises ConfigError for a directory that cannot be used or that is not ours alone."""
        self.directory, self._max_bytes, self._segment_bytes = directory, max_bytes, segment_bytes
        _prepare(directory)
        self._process = new_id()
        self._number = 0
        self._lock_path = directory / f"{self._process}{LOCK_SUFFIX}"
        # From the oldest to the one that is written.
        self._segments: deque[Segment] = deque()
        # The next one, made before it is needed.
        self._spare: Segment | None = None
        # Where each call was begun, and ended, until it is in the database.
        self._begun: dict[str, tuple[Segment, UsageEvent, int]] = {}
        self._ended: dict[str, tuple[Segment, Segment | None, UsageEvent]] = {}
        # How many have asked for the disk, and how many of them have it.
        self._asked = self._synced = 0
        self._syncing: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._lock = -1
        try:
            self._lock = hold_lock(self._lock_path)
            self._segments.append(self._make_first_segment())
        except OSError as error:
            if self._lock >= 0:
                self._lock_path.unlink(missing_ok=True)
                os.close(self._lock)
            failure = SpoolFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else ConfigError
            raise failure(f"No usage spool can be made in {directory}: {error.strerror}.") from None

    @property
    def open_calls(self) -> int:
        """Calls that have begun and are not over."""
        return len(self._begun)

    @property
    def size_bytes(self) -> int:
        """What the segments take of the disk."""
        return (len(self._segments) + (self._spare is not None)) * self._segment_bytes

    def has_room(self) -> bool:
        """Whether another call can be begun: for each that is under way there is room to end."""
        needed = len(self._begun) * _USUAL_FRAME_BYTES + 4 * LARGEST_FRAME_BYTES
        room = self._segments[-1].room
        if room > needed:
            return True
        if self._spare is None:
            self._try_to_make_spare()
        return self._spare is not None and room + self._spare.room > needed

    def begin(self, event: UsageEvent, body_bytes: int) -> None:
        """A call is about to be made. Raises OSError when there was no room."""
        segment = self._append(encode_intent(event, body_bytes))
        segment.open_frames += 1
        self._begun[event.id] = (segment, event, body_bytes)

    def finish(self, event: UsageEvent) -> None:
        """A call is over. Raises OSError when there was no room."""
        segment = self._append(encode_final(event))
        segment.open_frames += 1
        begun = self._begun.pop(event.id, None)
        self._ended[event.id] = (segment, begun[0] if begun is not None else None, event)

    def release(self, events: Iterable[UsageEvent]) -> None:
        """These are in the database."""
        for event in events:
            where = self._ended.pop(event.id, None)
            if where is not None:
                where[0].open_frames -= 1
            # Whose end could not be written, for want of room, is over all the same.
            began = where[1] if where is not None else self._begun.pop(event.id, (None,))[0]
            if began is not None:
                began.open_frames -= 1
        self._remove_done()

    async def sync(self) -> None:
        """Wait until all that was written before is on the disk. All who wait at once wait for one `fdatasync`.

        Raises OSError when the disk does not take it, not even in another file.
        """
        self._asked += 1
        mine = self._asked
        while self._synced < mine:
            if self._syncing is None:
                self._syncing = asyncio.ensure_future(self._sync_all())
            await asyncio.shield(self._syncing)

    def close(self) -> None:
        """Let go. What is not in the database stays, for whoever comes next."""
        keep = bool(self._begun or self._ended)
        for segment in self._segments:
            segment.close(remove=not keep)
            if keep:
                with suppress(OSError):
                    trim(segment.path)
        if self._spare is not None:
            self._spare.close(remove=True)
        if not keep:
            self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)

    async def _sync_all(self) -> None:
        upto = self._asked
        try:
            try:
                await self._sync_dirty()
            except OSError:
                # What the kernel could not write it forgets: to ask again for the same file would be told all is well.
                logger.exception("the usage spool could not be written to the disk; writing it again elsewhere")
                self._move_everything()
                await self._sync_dirty()
        finally:
            self._syncing = None
        self._synced = upto

    async def _sync_dirty(self) -> None:
        dirty = [segment for segment in self._segments if segment.dirty]
        for segment in dirty:
            segment.dirty, segment.syncing = False, True
        try:
            for segment in dirty:
                await asyncio.to_thread(segment.sync)
        finally:
            for segment in dirty:
                segment.syncing = False

    def _move_everything(self) -> None:
        """Write all that is not in the database into a new segment. Raises OSError."""
        begun, ended = list(self._begun.values()), list(self._ended.values())
        for segment in self._segments:
            segment.open_frames = 0
        self._begun.clear()
        self._ended.clear()
        self._turn_over()
        for _, event, body_bytes in begun:
            self.begin(event, body_bytes)
        for _, _, event in ended:
            self.finish(event)

    def _append(self, frame: bytes) -> Segment:
        segment = self._segments[-1]
        if segment.room < len(frame):
            segment = self._turn_over()
        segment.append(frame)
        return segment

    def _turn_over(self) -> Segment:
        """Go on in the next segment."""
        spare, self._spare = self._spare, None
        segment = spare or self._make_segment()
        self._segments.append(segment)
        if len(self._segments) > _SEGMENTS_BEHIND:
            self._write_again(self._segments[0], segment)
        self._try_to_make_spare()
        self._remove_done()
        return segment

    def _write_again(self, old: Segment, new: Segment) -> None:
        """Calls that began in the oldest segment and are not over hold up all the others."""
        for event_id, (segment, event, body_bytes) in list(self._begun.items()):
            frame = encode_intent(event, body_bytes) if segment is old else b""
            if frame and new.room > len(frame) + LARGEST_FRAME_BYTES:
                new.append(frame)
                old.open_frames -= 1
                new.open_frames += 1
                self._begun[event_id] = (new, event, body_bytes)

    def _remove_done(self) -> None:
        while len(self._segments) > 1:
            oldest = self._segments[0]
            if oldest.open_frames or oldest.syncing:
                return
            self._segments.popleft()
            oldest.close(remove=True)

    def _try_to_make_spare(self) -> None:
        now = time.monotonic()
        if now < self._retry_at or self.size_bytes + self._segment_bytes > self._max_bytes:
            return
        try:
            self._spare = self._make_segment()
        except OSError as error:
            self._retry_at = now + _RETRY_SECONDS
            logger.error("no further usage can be written to %s: %s", self.directory, error.strerror)  # noqa: TRY400

    def _make_first_segment(self) -> Segment:
        try:
            return self._make_segment()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        trim_abandoned(self.directory)
        return self._make_segment()

    def _make_segment(self) -> Segment:
        self._number += 1
        path = self.directory / f"{self._process}-{self._number:06}{SEGMENT_SUFFIX}"
        return Segment(path, self._segment_bytes)


def _prepare(directory: Path) -> None:
    """Raises ConfigError unless the directory is there, or can be made, for this user alone."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise ConfigError(
            f"The usage spool {directory} cannot be made: {error.strerror}. Set OWNKEY_SPOOL_DIR to a directory on a "
            "disk that stays, or OWNKEY_USAGE_DURABILITY=database where there is none."
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigError(f"The usage spool {directory} belongs to somebody else, or is a link. Choose another one.")
    if found.st_mode & 0o077:
        directory.chmod(0o700)
