"""What every group of commands shares: help in one form, one sentence instead of a traceback, a telling exit status.

0: done. 1: refused, or a check found something. 2: not configured, not reachable or not called correctly.
130: interrupted.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from ownkey.errors import ConfigError, OwnkeyError, StorageError

REFUSED: Final = 1
NOT_READY: Final = 2
INTERRUPTED: Final = 130


class Commands(TyperGroup):
    """A group of commands whose errors are for people."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except OwnkeyError as error:
            say_error(error.message)
            raise typer.Exit(NOT_READY if isinstance(error, ConfigError | StorageError) else REFUSED) from None


def new_group(help_text: str, *, epilog: str | None = None) -> typer.Typer:
    """A group that shows its help when called without a command."""
    return typer.Typer(
        cls=Commands,
        help=help_text,
        epilog=epilog,
        no_args_is_help=True,
        rich_markup_mode="rich",
        # Typer's own tracebacks show local variables, and a secret may be among them.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def examples(*lines: str) -> str:
    """The end of a help page. A blank line between two keeps the renderer from joining them."""
    return "\n\n".join(("[bold]Examples[/bold]", *lines))


def say_error(message: str) -> None:
    """One line on standard error."""
    print(f"ownkey: {message}", file=sys.stderr)
