"""One file of a spool: made at its full size, then written through a mapping of it, without system calls.

What is stored into a mapping is in the page cache at once: it survives the process, however that ends. The file's
blocks are there from the beginning, so that a full disk is noticed when a segment is made and never when it is written.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path
from typing import Final

from ownkey.spool.frames import HEAD

# The first store into a page that the file system has never written costs ten times as much as into one of zeros.
_READY_BYTES: Final = 64 * 1024
_ZEROS: Final = bytes(_READY_BYTES)


class Segment:
    """A segment that this process writes.

    `open_frames` counts what is not in the database yet. `dirty`: something was written since the disk was asked.
    `syncing`: it is being asked, in a thread that needs the file open.
    """

    __slots__ = ("_fd", "_map", "_position", "_ready", "dirty", "open_frames", "path", "size", "syncing")

    def __init__(self, path: Path, size: int) -> None:
        """Make the file. Raises OSError; nothing is left behind then."""
        self.path, self.size, self.open_frames = path, size, 0
        self.dirty, self.syncing = True, False
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            path.unlink(missing_ok=True)
            raise
        self._position = self._ready = 0
        self.append(HEAD)

    @property
    def room(self) -> int:
        """Bytes that are still free."""
        return self.size - self._position

    def append(self, frame: bytes) -> None:
        """Write a frame for which there is room."""
        self._position += len(frame)
        if self._position > self._ready:
            self._make_ready()
        self._map.write(frame)
        self.dirty = True

    def _make_ready(self) -> None:
        """Have the pages of the next frames written once, which is quicker than to find them unwritten."""
        while self._ready < min(self._position, self.size):
            with contextlib.suppress(OSError):  # a frame can be stored all the same
                os.pwrite(self._fd, _ZEROS[: self.size - self._ready], self._ready)
            self._ready += _READY_BYTES

    def sync(self) -> None:
        """Wait until the disk has it. Raises OSError: then nobody knows what the disk has of this file."""
        os.fdatasync(self._fd)

    def close(self, *, remove: bool) -> None:
        """Let go of the file."""
        with contextlib.suppress(BufferError):
            self._map.close()
        os.close(self._fd)
        if remove:
            self.path.unlink(missing_ok=True)
