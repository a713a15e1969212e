"""A disk whose power can fail: what was not written out by then is not there afterwards.

It is a file that holds a file system. What a process has written into a file lies in the memory of the kernel until it
is asked for, or some seconds pass; a copy of the file that holds the disk is what a power failure would have left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEGABYTE = 1024 * 1024


class Disk:
    """Mounted at `mount_point` while it is open."""

    def __init__(self, directory: Path, name: str) -> None:
        self._image = directory / f"{name}.img"
        self.mount_point = directory / name

    @classmethod
    @contextmanager
    def open(cls, directory: Path, name: str, megabytes: int = 192) -> Iterator[Disk]:
        """Raises subprocess.CalledProcessError where no file system may be mounted."""
        disk = cls(directory, name)
        disk._image.touch(0o600)
        os.truncate(disk._image, megabytes * _MEGABYTE)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(disk._image))
        disk.mount_point.mkdir()
        with _mounted(disk._image, disk.mount_point):
            yield disk

    def photograph(self, number: int) -> Path:
        """What would be left of it if the power failed now."""
        copy = self._image.with_name(f"{self._image.stem}-{number}.img")
        shutil.copyfile(self._image, copy)
        return copy


@contextmanager
def repaired(image: Path) -> Iterator[Path]:
    """The file system of an image, after the kernel has replayed its journal as it does when power is back."""
    place = image.with_suffix("")
    place.mkdir()
    with _mounted(image, place):
        yield place
    image.unlink()


@contextmanager
def _mounted(image: Path, place: Path) -> Iterator[None]:
    # No write of its own accord before the test is over.
    _run("mount", "-o", "loop,commit=300", str(image), str(place))
    try:
        yield
    finally:
        _run("umount", "-l", str(place))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
