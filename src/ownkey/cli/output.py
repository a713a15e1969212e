"""How commands speak: tables for people, JSON for programs, and text that a terminal cannot be tricked with."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text


def print_json(value: object) -> None:
    """Indented JSON of structs, mappings and lists."""
    print(msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table without colours that carry meaning; `empty` is said when there are no rows."""
    lines = [[to_text(cell) for cell in row] for row in rows]
    if not lines:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        numeric = all(_is_number(line[position]) for line in lines)
        table.add_column(escape(column), justify="right" if numeric else "left", overflow="fold")
    for line in lines:
        # Text, not markup: what a user typed as a label is data.
        table.add_row(*(Text(cell) for cell in line))
    _console(lines).print(table)


def print_pairs(pairs: Mapping[str, object]) -> None:
    """One thing: names on the left, values on the right."""
    width = max(map(len, pairs))
    for name, value in pairs.items():
        print(f"{name:<{width}}  {to_text(value)}")


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """CSV for a spreadsheet, which would run a cell that begins like a formula."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_disarm(cell) for cell in row])


def to_text(value: object) -> str:
    """A cell. Times are UTC to the minute; control characters become visible instead of steering the terminal."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):
        return ", ".join(to_text(one) for one in value)
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(value))


def format_cost(microdollars: int | None) -> str:
    """Dollars with as many digits as matter, four at least; nothing known is "-", which is not the same as free."""
    if microdollars is None:
        return "-"
    dollars, rest = divmod(microdollars, 1_000_000)
    digits = f"{rest:06d}"
    return f"${dollars:,}.{digits[:4]}{digits[4:].rstrip('0')}"


def _disarm(cell: object) -> Any:
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return "" if cell is None else cell


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "").removeprefix("$").removeprefix("-").isdigit()


def _console(lines: Sequence[Sequence[str]]) -> Console:
    if sys.stdout.isatty():
        return Console(soft_wrap=False)
    # Into a pipe nothing is folded: whoever reads lines there wants one per row.
    widest = max(sum(map(len, line)) + 2 * len(line) for line in lines)
    return Console(width=max(200, widest + 80), color_system=None)
