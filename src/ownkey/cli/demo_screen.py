"""What the demo says: progress, the table, and where to go on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ownkey.cli.demo_doors import Doors

_COLUMNS: Final = (
    "user",
    "what happens",
    "task",
    "provider",
    "model",
    "whose key",
    "attempts",
    "tokens",
    "cost",
    "time",
)
_NUMBERS: Final = frozenset({"attempts", "tokens", "cost", "time"})
_PIPE_WIDTH: Final = 160


class Line(Struct, frozen=True, kw_only=True):
    """One request as the table shows it. Cost None: no price is known."""

    user: str
    scene: str
    task: str
    streamed: bool
    provider: str
    model: str
    payer: str
    attempts: str
    input_tokens: int
    output_tokens: int
    cost_microdollars: int | None
    seconds: float


class Screen:
    """Standard output, for people."""

    def __init__(self) -> None:
        console = Console()
        # Into a pipe or a log nothing is folded.
        self._console = console if console.is_terminal else Console(width=_PIPE_WIDTH, color_system=None)

    def say_done(self, what: str, begin: float) -> None:
        """A step that is done; `begin` on the monotonic clock."""
        self._print(f"  {time.monotonic() - begin:5.1f} s  {what}")

    def show(self, lines: Sequence[Line]) -> None:
        """The table, one part per user and situation."""
        table = Table(title="Each request went out with its user's own key", title_justify="left")
        for column in _COLUMNS:
            table.add_column(column, justify="right" if column in _NUMBERS else "left", overflow="fold")
        for line, following in pairwise([*lines, None]):
            if line is not None:
                ends = following is None or (line.user, line.scene) != (following.user, following.scene)
                table.add_row(*map(Text, _cells(line)), end_section=ends)
        self._console.print()
        self._console.print(table)
        self._print("Tokens are in > out as the provider reported them, retries included; * means streamed.")

    def say_ledger(self, requests: int, wrong: int) -> None:
        """What the providers' own books say."""
        verdict = "each with the right user's key" if not wrong else f"{wrong} OF THEM WITH A WRONG KEY"
        self._print(f"The providers saw {requests} requests, {verdict}.")

    def say_serving(self, url: str, providers_url: str, tokens: Mapping[str, str], doors: Doors) -> None:
        """How to go on by hand."""
        user, token = next(iter(tokens.items()))
        width = max(map(len, tokens))
        self._print("\nStill serving; Ctrl-C ends everything and leaves nothing behind.")
        *users, administrator = doors.logins
        self._print(f"  panel       {url}/        sign in as {', '.join(users)}; password {doors.password}")
        self._print(f"  for admins  {url}/admin   sign in as {administrator}; the same password")
        self._print(f"  OpenAI API  {url}/v1")
        self._print(f"  settings    {url}/api     described by {url}/openapi.json")
        for name, text in tokens.items():
            self._print(f"  token of {name:<{width}}  {text}")
        self._print(f"\nAs {user}, a coding request:")
        self._print(
            f"  curl -i {url}/v1/chat/completions -H 'Authorization: Bearer {token}' \\\n"
            "    -H 'Content-Type: application/json' \\\n"
            """    -d '{"model":"task:coding","messages":[{"role":"user","content":"Hello"}]}'"""
        )
        self._print("Break a provider, send it again, and look at X-Ownkey-Provider:")
        self._print(f'  curl {providers_url}/_sim/break_provider -d \'{{"provider":"groq"}}\'')
        self._print(f"  curl {providers_url}/_sim/fix -d '{{}}'")

    def say_stopping(self) -> None:
        """After Ctrl-C."""
        self._print("\nStopping.")

    def _print(self, text: str) -> None:
        # A long line stays one line, so that a command can be copied.
        self._console.print(Text(text), soft_wrap=True)


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.user,
        line.scene,
        line.task + ("*" if line.streamed else ""),
        line.provider,
        line.model,
        line.payer,
        line.attempts,
        f"{line.input_tokens} > {line.output_tokens}",
        "-" if line.cost_microdollars is None else f"${line.cost_microdollars / 1_000_000:.6f}",
        f"{line.seconds * 1000:.0f} ms",
    )
