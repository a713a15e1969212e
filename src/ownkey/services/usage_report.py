"""What was used, for a user and for the administrator, as rows and as files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from msgspec import Struct, structs

from ownkey.domain.histogram import Histogram
from ownkey.domain.usage import is_record_id
from ownkey.errors import RequestError
from ownkey.services.changes import Changes
from ownkey.services.csv_table import write_table
from ownkey.services.expiry import utc_now
from ownkey.storage import usage as rows
from ownkey.storage.usage import DayLatencies, Latencies, UsageKey, UsageQuery, UsageRow

USAGE_KEYS: Final[tuple[UsageKey, ...]] = ("day", "provider", "model", "task", "credential", "payer")
ADMIN_USAGE_KEYS: Final[tuple[UsageKey, ...]] = ("user", *USAGE_KEYS)
DEFAULT_DAYS: Final = 30
RANGE_LIMIT_DAYS: Final = 732
# So many calls are looked at one by one, in some 30 ms; of more, the daily histograms tell.
EXACT_CALLS: Final = 10_000
# A table of more rows than anybody reads has sums alone.
MEASURED_ROWS: Final = 1_000
# The histograms of users are read day by day: of more calls than that, in more time than anybody waits.
MEASURED_CALLS: Final = 1_000_000

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
    "estimated_requests",
    "fallback_requests",
)
_SUMMED: Final = (*_COUNTS, "duration_ms", "first_byte_ms", "first_byte_requests")
_TIMES: Final = (
    "p50_duration_ms",
    "p95_duration_ms",
    "p99_duration_ms",
    "p50_first_byte_ms",
    "p95_first_byte_ms",
    "p99_first_byte_ms",
)
_QUANTILES: Final = (0.5, 0.95, 0.99)
_KEYS: Final = ("user_id", "day", "provider", "model", "task", "credential_id", "payer")
_KEY_COLUMNS: Final[dict[UsageKey, tuple[str, ...]]] = {
    "user": ("user_id",),
    "day": ("day",),
    "provider": ("provider",),
    "model": ("model",),
    "task": ("task",),
    "credential": ("credential_id", "credential_label"),
    "payer": ("payer",),
}

_Read = Callable[[Any, UsageQuery], Awaitable[list[UsageRow]]]


class UsageSums(Struct, frozen=True, kw_only=True):
    """One group. `cost_microdollars` covers the priced requests and is None where no request has a known price.

    `estimated_requests` have counters and costs that are estimates. `fallback_requests` are calls that took over from
    another key or provider. The percentiles are None unless they were asked for, and in tables of more than 1,000 rows.
    `credential_label` is None for a key that was removed, too.
    """

    user_id: str | None = None
    day: date | None = None
    provider: str | None = None
    model: str | None = None
    task: str | None = None
    credential_id: str | None = None
    credential_label: str | None = None
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
    estimated_requests: int = 0
    fallback_requests: int = 0
    mean_duration_ms: int | None = None
    mean_first_byte_ms: int | None = None
    p50_duration_ms: int | None = None
    p95_duration_ms: int | None = None
    p99_duration_ms: int | None = None
    p50_first_byte_ms: int | None = None
    p95_first_byte_ms: int | None = None
    p99_first_byte_ms: int | None = None


class Usage(Struct, frozen=True, kw_only=True):
    """The answer to a query, its sum included. `exact` says of the percentiles: measured, or good to 4.5 per cent."""

    query: UsageQuery
    rows: tuple[UsageSums, ...]
    total: UsageSums
    exact: bool | None = None


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
        **choice: str | None,
    ) -> Usage:
        """The user's own usage; by default of the last 30 days by day. Raises RequestError.

        `choice` is what all of it has in common: provider, model, task, credential_id or payer. `measure` adds the
        percentiles.
        """
        asked = self._check(start, end, group_by, USAGE_KEYS, choice)
        async with self._changes.read(user_id) as tx:
            return await _report(tx, asked, rows.query_usage, measure=measure)

    async def query_all(
        self,
        admin_id: str,
        *,
        start: date | None = None,
        end: date | None = None,
        group_by: Sequence[str] = ("user",),
        measure: bool = False,
        **choice: str | None,
    ) -> Usage:
        """Everybody's usage, for an administrator; by default of the last 30 days by user. Raises RequestError.

        `choice` may name a `user_id`, too.
        """
        asked = self._check(start, end, group_by, ADMIN_USAGE_KEYS, choice)
        async with self._changes.oversee(admin_id) as tx:
            if asked.asks_for_people_alone:
                return await _report(tx, asked, rows.query_usage_spans, measure=measure)
            if asked.names_people:
                return await _report(tx, asked, rows.query_usage, measure=measure)
            return await _report(tx, asked, rows.query_usage_total, measure=measure, everybody=True)

    def _check(
        self,
        start: date | None,
        end: date | None,
        group_by: Sequence[str],
        known: Sequence[UsageKey],
        choice: dict[str, Any],
    ) -> UsageQuery:
        start, end = read_range(start, end, today=self._now().date())
        if not group_by or not set(group_by) <= set(known):
            raise RequestError(f"group_by holds one or more of: {', '.join(known)}.", param="group_by")
        check_record_id(choice.get("credential_id"), "credential_id")
        return UsageQuery(start=start, end=end, group_by=tuple(key for key in known if key in group_by), **choice)


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


def check_record_id(text: str | None, field: str) -> None:
    """Raises RequestError for what is not the form of an id."""
    if text is not None and not is_record_id(text):
        raise RequestError(f"{field} is not the form of an id.", param=field)


def write_csv(usage: Usage) -> str:
    """The rows as CSV (RFC 4180). Text that a spreadsheet would run as a formula gets a quote in front."""
    keys = [column for key in usage.query.group_by for column in _KEY_COLUMNS[key]]
    names = (*keys, *_COUNTS, "mean_duration_ms", "mean_first_byte_ms", *(_TIMES if usage.exact is not None else ()))
    return write_table(names, ([getattr(row, name) for name in names] for row in usage.rows))


async def _report(tx: Any, asked: UsageQuery, read: _Read, *, measure: bool, everybody: bool = False) -> Usage:
    await rows.prepare_report(tx)
    found = await read(tx, asked)
    whole = UsageRow(**{name: sum(getattr(row, name) for row in found) for name in _SUMMED})
    usage = Usage(query=asked, rows=tuple(_sums(row) for row in found), total=_sums(whole))
    if "credential" in asked.group_by:
        ids = {row.credential_id for row in found if row.credential_id}
        labels = await rows.list_credential_labels(tx, sorted(ids))
        named = (structs.replace(one, credential_label=labels.get(one.credential_id or "")) for one in usage.rows)
        usage = structs.replace(usage, rows=tuple(named))
    return await _measure(tx, usage, everybody=everybody) if measure else usage


async def _measure(tx: Any, usage: Usage, *, everybody: bool) -> Usage:
    """Add the percentiles: of few calls as they were, of many or of days whose calls are gone from the histograms."""
    asked = usage.query
    if await _count_read(tx, usage, everybody=everybody) <= EXACT_CALLS:
        whole = next(iter(await rows.measure_calls(tx, structs.replace(asked, group_by=()))), Latencies())
        if whole.calls == usage.total.requests:
            return _with_times(usage, await rows.measure_calls(tx, asked), whole, exact=True)
    if len(usage.rows) > MEASURED_ROWS or (asked.asks_for_people_alone and usage.total.requests > MEASURED_CALLS):
        return structs.replace(usage, exact=False)
    days = await (rows.measure_days_total if everybody else rows.measure_days)(tx, asked)
    return await asyncio.to_thread(_read_histograms, usage, days)


async def _count_read(tx: Any, usage: Usage, *, everybody: bool) -> int:
    """How many calls are looked at when they are measured one by one: of what they have in common, the user alone."""
    asked = UsageQuery(start=usage.query.start, end=usage.query.end, user_id=usage.query.user_id)
    if asked == structs.replace(usage.query, group_by=()):
        return usage.total.requests
    counted = await (rows.query_usage_total if everybody else rows.query_usage)(tx, asked)
    return sum(row.requests for row in counted)


def _read_histograms(usage: Usage, days: Sequence[DayLatencies]) -> Usage:
    """Not for the event loop: it takes some 20 µs for each of up to 2,000."""
    durations, first_bytes = Histogram(), Histogram()
    measured = []
    for one in days:
        duration, first_byte = Histogram(one.duration), Histogram(one.first_byte)
        durations.add(duration)
        first_bytes.add(first_byte)
        measured.append(Latencies(**{name: getattr(one, name) for name in _KEYS}, **_quantiles(duration, first_byte)))
    return _with_times(usage, measured, Latencies(**_quantiles(durations, first_bytes)), exact=False)


def _quantiles(duration: Histogram, first_byte: Histogram) -> dict[str, Any]:
    found = (*duration.quantiles(_QUANTILES), *first_byte.quantiles(_QUANTILES))
    return dict(zip(_TIMES, found, strict=True))


def _with_times(usage: Usage, measured: Sequence[Latencies], whole: Latencies, *, exact: bool) -> Usage:
    by_key = {_key(one): one for one in measured}
    return structs.replace(
        usage,
        rows=tuple(_add_times(row, by_key.get(_key(row))) for row in usage.rows),
        total=_add_times(usage.total, whole),
        exact=exact,
    )


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


def _key(row: UsageSums | Latencies) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _KEYS)


def _add_times(sums: UsageSums, times: Latencies | None) -> UsageSums:
    return sums if times is None else structs.replace(sums, **{name: getattr(times, name) for name in _TIMES})
