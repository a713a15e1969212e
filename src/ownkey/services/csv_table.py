"""Tables as CSV files that are safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

# What a spreadsheet runs, at the start of a text or of what its locale takes for the next cell; full-width forms count.
# OWASP's list for CSV injection.
_FORMULA: Final = re.compile(r"(^|[;,|\t\r\n])(\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def write_table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A header and rows (RFC 4180). Text that a spreadsheet would run as a formula gets a quote in front."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, int):
        return value
    text = str(value)
    if text.startswith(("\t", "\r", "\n")):
        text = "'" + text
    return _FORMULA.sub(r"\1'\2", text)
