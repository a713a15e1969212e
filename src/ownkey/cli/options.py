"""The options that several commands take, so that they look and mean the same everywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

_DATE_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]

UserOption = Annotated[str, typer.Option("--user", "-u", metavar="ID", help="Whose: the user's id.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs instead of a table.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ExpiresOption = Annotated[
    datetime | None,
    typer.Option("--expires", formats=_DATE_FORMATS, help="UTC date, or date and time, after which it is not used."),
]


def to_utc(moment: datetime | None) -> datetime | None:
    """What was typed without a time zone means UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None else None


def confirm(question: str, yes: bool) -> None:
    """Ask before something that cannot be undone. Raises typer.Abort for no."""
    if not yes:
        typer.confirm(question, abort=True)
