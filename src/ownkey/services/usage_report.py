"""What was used, for a user and for the administrator, as rows and as a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from msgspec import Struct, structs

from ownkey.errors import RequestError
from ownkey.services.changes import Changes
from ownkey.services.csv_table import write_table
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
        start, end = read_range(start, end, today=self._now().date())
        if not group_by or not set(group_by) <= set(known):
            raise RequestError(f"group_by holds one or more of: {', '.join(known)}.", param="group_by")
        return UsageQuery(start=start, end=end, group_by=tuple(key for key in known if key in group_by))


def read_range(start: date | None, end: date | None, *, today: date) -> tuple[date, date]:
    """The days that somebody asked for, both included; by default the last 30. Raises RequestError."""
    span = timedelta(days=DEFAULT_DAYS - 1)
    if end is None:
        end = start + min(span, date.max - start) if start else today
    if start is None:
        start = end - min(span, end - date.min)
    if end < start:
        raise RequestError("The range ends before it starts.", param="to")
    if (end - start).days >= RANGE_LIMIT_DAYS:
        raise RequestError(f"The range is too long: at most {RANGE_LIMIT_DAYS} days.", param="from")
    return start, end


def write_csv(usage: Usage) -> str:
    """The rows as CSV (RFC 4180). Text that a spreadsheet would run as a formula gets a quote in front."""
    columns = [_KEY_COLUMNS[key] for key in usage.query.group_by]
    names = (*columns, *_COUNTS)
    return write_table(names, ([getattr(row, name) for name in names] for row in usage.rows))


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
