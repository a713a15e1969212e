"""What was used, for a user and for the administrator, as rows and as a CSV file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from msgspec import Struct, structs

from ownkey.errors import RequestError
from ownkey.services.changes import Changes
from ownkey.services.expiry import utc_now
from ownkey.storage import usage as rows
from ownkey.storage.usage import MeasuredCalls, UsageKey, UsageRow

USAGE_KEYS: Final[tuple[UsageKey, ...]] = ("day", "provider", "model", "task", "credential", "payer")
ADMIN_USAGE_KEYS: Final[tuple[UsageKey, ...]] = ("user", *USAGE_KEYS)
DEFAULT_DAYS: Final = 30
RANGE_LIMIT_DAYS: Final = 732
MEASURED_DAYS: Final = 92

_COUNTS: Final = (
    "requests",
    "errors",
    "input_uncached",
    "cache_read",
    "cache_write",
    "output_text",
    "output_reasoning",
    "cost_microdollars",
    "unpriced_requests",
)
_SUMMED: Final = (*_COUNTS, "duration_ms", "first_byte_ms", "first_byte_requests")
_KEY_COLUMNS: Final = {
    "user": "user_id",
    "day": "day",
    "provider": "provider",
    "model": "model",
    "task": "task",
    "credential": "credential_id",
    "payer": "payer",
}
# What a spreadsheet takes for the start of a formula: OWASP's list for CSV injection.
# What a spreadsheet runs, at the start of a text or of what its locale takes for the next cell; full-width forms count.
_FORMULA: Final = re.compile(r"(^|[;,|\t\r\n])(\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


class UsageQuery(Struct, frozen=True, kw_only=True):
    """A range of whole UTC days, both ends included, and what to group by."""

    start: date
    end: date
    group_by: tuple[UsageKey, ...]


class UsageSums(Struct, frozen=True, kw_only=True):
    """One group. `cost_microdollars` covers the priced requests and is None where no request has a known price.

    `fallback_requests` are calls that took over from another key or provider. They and the percentiles of the
    duration are None unless they were asked for, and for long ranges.
    """

    user_id: str | None = None
    day: date | None = None
    provider: str | None = None
    model: str | None = None
    task: str | None = None
    credential_id: str | None = None
    payer: str | None = None
    requests: int = 0
    errors: int = 0
    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output_text: int = 0
    output_reasoning: int = 0
    cost_microdollars: int | None = None
    unpriced_requests: int = 0
    mean_duration_ms: int | None = None
    mean_first_byte_ms: int | None = None
    fallback_requests: int | None = None
    p50_duration_ms: int | None = None
    p95_duration_ms: int | None = None


class Usage(Struct, frozen=True, kw_only=True):
    """The answer to a query, its sum included."""

    query: UsageQuery
    rows: tuple[UsageSums, ...]
    total: UsageSums


class UsageReport:
    """Reads the daily sums. Own and shared usage are told apart by the key `payer`."""

    def __init__(self, changes: Changes, *, now: Callable[[], datetime] = utc_now) -> None:
        self._changes, self._now = changes, now

    async def query(
        self,
        user_id: str,
        *,
        start: date | None = None,
        end: date | None = None,
        group_by: Sequence[str] = ("day",),
        measure: bool = False,
    ) -> Usage:
        """The user's own usage; by default of the last 30 days by day. Raises RequestError.

        `measure` looks at the single calls as well, for fallbacks and percentiles, in a range of up to 92 days.
        """
        query = self._check(start, end, group_by, USAGE_KEYS)
        async with self._changes.read(user_id) as tx:
            found = await rows.query_usage(tx, start=query.start, end=query.end, group_by=query.group_by)
            usage = _with_total(query, found)
            if not measure or (query.end - query.start).days >= MEASURED_DAYS:
                return usage
            by_key = await rows.measure_calls(tx, start=query.start, end=query.end, group_by=query.group_by)
            whole = await rows.measure_calls(tx, start=query.start, end=query.end, group_by=())
        measured = {_key(one): one for one in by_key}
        return structs.replace(
            usage,
            rows=tuple(_measured(row, measured.get(_key(row))) for row in usage.rows),
            total=_measured(usage.total, whole[0] if whole else None),
        )

    async def query_all(
        self,
        admin_id: str,
        *,
        start: date | None = None,
        end: date | None = None,
        group_by: Sequence[str] = ("user",),
    ) -> Usage:
        """Everybody's usage, for an administrator; by default of the last 30 days by user. Raises RequestError."""
        query = self._check(start, end, group_by, ADMIN_USAGE_KEYS)
        async with self._changes.oversee(admin_id) as tx:
            found = await rows.query_usage(tx, start=query.start, end=query.end, group_by=query.group_by)
        return _with_total(query, found)

    def _check(
        self, start: date | None, end: date | None, group_by: Sequence[str], known: Sequence[UsageKey]
    ) -> UsageQuery:
        span = timedelta(days=DEFAULT_DAYS - 1)
        if end is None:
            end = start + min(span, date.max - start) if start else self._now().date()
        if start is None:
            start = end - min(span, end - date.min)
        if end < start:
            raise RequestError("The range ends before it starts.", param="to")
        if (end - start).days >= RANGE_LIMIT_DAYS:
            raise RequestError(f"The range is too long: at most {RANGE_LIMIT_DAYS} days.", param="from")
        if not group_by or not set(group_by) <= set(known):
            raise RequestError(f"group_by holds one or more of: {', '.join(known)}.", param="group_by")
        return UsageQuery(start=start, end=end, group_by=tuple(key for key in known if key in group_by))


def write_csv(usage: Usage) -> str:
    """The rows as CSV (RFC 4180). Text that a spreadsheet would run as a formula gets a quote in front."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    columns = [_KEY_COLUMNS[key] for key in usage.query.group_by]
    writer.writerow([*columns, *_COUNTS])
    for row in usage.rows:
        writer.writerow([_cell(getattr(row, name)) for name in (*columns, *_COUNTS)])
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


def _with_total(query: UsageQuery, found: Sequence[UsageRow]) -> Usage:
    whole = {name: sum(getattr(row, name) for row in found) for name in _SUMMED}
    return Usage(query=query, rows=tuple(_sums(row) for row in found), total=_sums(UsageRow(**whole)))


def _sums(row: UsageRow) -> UsageSums:
    fields = {name: getattr(row, name) for name in UsageSums.__struct_fields__ if hasattr(row, name)}
    # Nothing priced is "unpriced", which is not the same as free; a failed call has no tokens to price.
    if row.unpriced_requests == row.requests or (row.unpriced_requests and not row.cost_microdollars):
        fields["cost_microdollars"] = None
    return UsageSums(
        **fields,
        mean_duration_ms=row.duration_ms // row.requests if row.requests else None,
        mean_first_byte_ms=row.first_byte_ms // row.first_byte_requests if row.first_byte_requests else None,
    )


def _key(row: UsageSums | MeasuredCalls) -> tuple[object, ...]:
    return row.day, row.provider, row.model, row.task, row.credential_id, row.payer


def _measured(sums: UsageSums, calls: MeasuredCalls | None) -> UsageSums:
    if calls is None:
        return structs.replace(sums, fallback_requests=0)
    return structs.replace(
        sums,
        fallback_requests=calls.fallback_requests,
        p50_duration_ms=calls.p50_duration_ms,
        p95_duration_ms=calls.p95_duration_ms,
    )
