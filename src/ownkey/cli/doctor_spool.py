"""What `ownkey doctor` looks at where calls stand until they are in PostgreSQL."""

from __future__ import annotations

import os
import shutil
import stat
from typing import Final

from ownkey.cli.check import Check, fail, ok, warn
from ownkey.config import Config
from ownkey.spool.leftovers import QUARANTINE_SUFFIX, find_abandoned
from ownkey.startup import find_spool_dir

_NAME: Final = "usage spool"
_LITTLE_BYTES: Final = 256 * 2**20


def check_spool(config: Config) -> Check:
    """Whether calls can be written down, and whether any were left behind. Changes nothing."""
    directory = find_spool_dir(config)
    if directory is None:
        return ok(_NAME, "Each call is in PostgreSQL before its answer ends (OWNKEY_USAGE_DURABILITY=database).")
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return ok(_NAME, f"{directory} will be made at the first start.")
    except OSError as error:
        return fail(_NAME, f"{directory} cannot be looked into: {error.strerror}.", "Give it to the server's user.")
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        return fail(
            _NAME,
            f"{directory} is not a directory of this user alone.",
            f"chown and chmod 700 {directory}, or set OWNKEY_SPOOL_DIR.",
        )
    damaged = list(directory.glob(f"*{QUARANTINE_SUFFIX}"))
    if damaged:
        return warn(
            _NAME,
            f"{len(damaged)} files in {directory} were damaged: calls in them may be missing from the usage.",
            "Look for the cause (the disk?) and at the log; then remove the files.",
        )
    abandoned = find_abandoned(directory)
    if abandoned:
        return warn(
            _NAME,
            f"{abandoned} processes that ended without a word left calls in {directory}.",
            "Start a server: it writes them into PostgreSQL within seconds.",
        )
    if shutil.disk_usage(directory).free < _LITTLE_BYTES:
        return warn(_NAME, f"Little room is left for {directory}.", "Make room: without any, requests are refused.")
    return ok(_NAME, f"Calls stand in {directory} until they are in PostgreSQL.")
