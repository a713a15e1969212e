"""Where this installation is, said when a command has made a new one.

A second shell without the first one's OWNKEY_DATA_DIR would otherwise get an empty installation, and nobody would
notice until a key is not found.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import typer

from ownkey.config import Config, default_data_dir

_PROCESSES: Final = Path("/proc")
_VARIABLE: Final = b"OWNKEY_DATA_DIR="


def find_new_place(config: Config) -> Path | None:
    """The data directory, if a start will make an installation in it; None where there is one."""
    place = config.data_dir.expanduser().resolve()
    return None if config.database_url or (place / "postgres" / "data").exists() else place


def tell_new_place(place: Path) -> None:
    """Say on stderr that an installation was made here, and where servers of this machine have theirs."""
    typer.echo(f"New installation in {place} (OWNKEY_DATA_DIR).", err=True)
    for process, other in find_servers().items():
        if other is None:
            typer.echo(f"A server runs here as process {process}: for its data set the same OWNKEY_DATA_DIR.", err=True)
        elif other != place:
            typer.echo(f"A server runs here with its data in {other}: for those set OWNKEY_DATA_DIR={other}.", err=True)


def find_servers(processes: Path = _PROCESSES) -> dict[int, Path | None]:
    """The servers of this machine and their data directories; None for one that nobody may look into.

    Where there is no /proc, none are found.
    """
    found: dict[int, Path | None] = {}
    for entry in processes.glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if entry.name == str(os.getpid()) or not _is_server(arguments):
                continue
        except OSError:  # it ended meanwhile
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # a server's memory is closed to all but the administrator of the machine
            found[int(entry.name)] = None
            continue
        if any(one.startswith(b"OWNKEY_DATABASE_URL=") for one in variables):
            continue
        told = next((one.removeprefix(_VARIABLE) for one in variables if one.startswith(_VARIABLE)), b"")
        found[int(entry.name)] = (Path(os.fsdecode(told)) if told else default_data_dir()).expanduser().resolve()
    return found


def _is_server(arguments: list[bytes]) -> bool:
    """`ownkey serve`, as a program or as `python -m ownkey serve`."""
    if b"serve" not in arguments:
        return False
    before = arguments[: arguments.index(b"serve")]
    return bool(before) and before[-1].rpartition(b"/")[2] in (b"ownkey", b"__main__.py")
