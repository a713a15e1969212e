"""The file with the wrapping keys: read only if nobody else can read it, written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from ownkey.errors import ConfigError

_MOST_BYTES: Final = 64 * 1024


def read_key_file(path: Path) -> str:
    """The content of a regular file of ours without any right for group or others.

    The checks look at the opened file, not at the name, so that nothing can be exchanged in between. Raises
    ConfigError, whose message holds the repair and nothing of the content.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"The wrapping key file {path} cannot be read: {error.strerror}.") from None
    try:
        _check_status(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(_MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"The wrapping key file {path} is larger than {_MOST_BYTES} bytes.")
    text = _decode(content)
    if text is None:
        raise ConfigError(f"The wrapping key file {path} is not text. It holds lines of the form id:base64.")
    return text


def create_key_file(path: Path, content: str) -> None:
    """Write a new file, mode 0600, durable when this returns. Raises ConfigError if it exists or cannot be written."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            _write_new(draft, content.encode())
            # A link fails if the name is taken, a rename would replace: of two processes, one wins whole.
            os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except FileExistsError:
        raise ConfigError(f"The wrapping key file {path} exists already and is not replaced.") from None
    except OSError as error:
        raise ConfigError(f"The wrapping key file {path} cannot be written: {error.strerror}.") from None


def _check_status(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"The wrapping key file {path} is not a regular file.")
    if status.st_uid != os.geteuid():
        raise ConfigError(f"The wrapping key file {path} belongs to another user. Run: chown {os.geteuid()} {path}")
    if status.st_mode & 0o077:
        raise ConfigError(f"The wrapping key file {path} is open to other users. Run: chmod 600 {path}")


def _decode(content: bytes) -> str | None:
    # A UnicodeError would carry the content.
    with suppress(UnicodeDecodeError):
        return content.decode()
    return None


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
