"""Usage events and their daily sums.

Writing takes an event as it comes: what PostgreSQL could not store (NUL, half a surrogate pair, a number beyond
64 bits) is cut to what it can, because one refused event would hold up everybody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, SkippedHop, Tokens, TokensSource, UsageEvent, is_record_id
from ownkey.storage.database import Database
from ownkey.storage.sql import query

UsageKey = Literal["user", "day", "provider", "model", "task", "credential", "payer"]

# Sums of nine million such counts still fit into 64 bits.
_COUNT_LIMIT: Final = 10**12
_SMALL_LIMIT: Final = 2**31 - 1
_TEXT_LIMIT: Final = 300
_RAW_LIMIT: Final = 16 * 1024
_ROWS_AT_ONCE: Final = 20
_WRITE_TRIES: Final = 3
_SKIPPED: Final = msgspec.json.Decoder(tuple[SkippedHop, ...])
# The kinds of spans that the database keeps, counted from the first of them.
_SPAN_DAYS: Final = (8, 1)
_EPOCH: Final = date(1970, 1, 1)
_NO_TOKENS: Final = Tokens()
# The columns of a row that hold what others said.
_TEXTS: Final = (
    "request_id",
    "user_id",
    "task",
    "provider",
    "model",
    "requested_model",
    "operation",
    "service_tier",
    "price_version",
    "provider_request_id",
    "finish_reason",
)
_SMALL_NUMBERS: Final = ("attempt", "http_status")
_NUMBERS: Final = (
    *_SMALL_NUMBERS,
    *Tokens.__struct_fields__,
    "cost_microdollars",
    "duration_ms",
    "first_byte_ms",
)

_take_texts, _take_numbers = itemgetter(*_TEXTS), itemgetter(*_NUMBERS)


class UsageRow(Struct, frozen=True, kw_only=True):
    """Sums of one group; keys that were not asked for are None, as are "no task" and "no credential"."""

    user_id: str | None = None
    day: date | None = None
    provider: str | None = None
    model: str | None = None
    task: str | None = None
    credential_id: str | None = None
    payer: str | None = None
    requests: int
    errors: int
    input_uncached: int
    cache_read: int
    cache_write: int
    output_text: int
    output_reasoning: int
    cost_microdollars: int
    unpriced_requests: int
    estimated_requests: int
    fallback_requests: int
    duration_ms: int
    first_byte_ms: int
    first_byte_requests: int


class UsageQuery(Struct, frozen=True, kw_only=True):
    """Whole UTC days, both ends included, what to group by, and which rows; None chooses all."""

    start: date
    end: date
    group_by: tuple[UsageKey, ...] = ()
    provider: str | None = None
    model: str | None = None
    task: str | None = None
    credential_id: str | None = None
    payer: str | None = None
    user_id: str | None = None

    @property
    def names_people(self) -> bool:
        """Whether users or their credentials matter: else the sums of everybody answer it."""
        return bool({"user", "credential"} & set(self.group_by) or self.user_id or self.credential_id)

    @property
    def asks_for_people_alone(self) -> bool:
        """Whether it is about users and who paid, and nothing else: then few rows answer it, however long the range."""
        return (
            self.names_people
            and set(self.group_by) <= {"user", "payer"}
            and not (self.provider or self.model or self.task is not None or self.credential_id)
        )


class Latencies(Struct, frozen=True, kw_only=True):
    """How long the middle and the slow calls of one group took, in milliseconds; keys as in `UsageRow`."""

    user_id: str | None = None
    day: date | None = None
    provider: str | None = None
    model: str | None = None
    task: str | None = None
    credential_id: str | None = None
    payer: str | None = None
    calls: int = 0
    p50_duration_ms: int | None = None
    p95_duration_ms: int | None = None
    p99_duration_ms: int | None = None
    p50_first_byte_ms: int | None = None
    p95_first_byte_ms: int | None = None
    p99_first_byte_ms: int | None = None


class DayLatencies(Struct, frozen=True, kw_only=True):
    """The histograms of one group, see `domain.histogram`; keys as in `UsageRow`."""

    user_id: str | None = None
    day: date | None = None
    provider: str | None = None
    model: str | None = None
    task: str | None = None
    credential_id: str | None = None
    payer: str | None = None
    duration: str
    first_byte: str


class UsageDay(Struct, frozen=True, kw_only=True):
    """The sums of one day (UTC) for one provider, model, task, credential and payer."""

    day: date
    provider: str
    model: str
    task: str | None
    credential_id: str | None
    payer: str
    requests: int
    errors: int
    input_uncached: int
    cache_read: int
    cache_write: int
    output_text: int
    output_reasoning: int
    cost_microdollars: int
    unpriced_requests: int
    estimated_requests: int
    fallback_requests: int
    duration_ms: int
    first_byte_ms: int
    first_byte_requests: int


class EventWriter:
    """Writes events with `insert_events`: what metering calls."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, events: Sequence[UsageEvent]) -> int:
        """Store the events; says how many were new. Raises StorageError."""
        return await insert_events(self._database, events)


async def insert_events(db: Database, events: Sequence[UsageEvent]) -> int:
    """Store the events with their daily sums and the counters of their credentials; says how many were new.

    All or none of them are stored. An event that is stored already changes nothing, so a batch whose fate is unknown
    is to be written again. Raises StorageError, and ValueError for an event whose id is not a UUID.
    """
    if not events:
        return 0
    rows = await _write_rows(events)
    for attempt in range(_WRITE_TRIES):
        try:
            return int(await db.fetch_value("record_usage", rows))
        except asyncpg.DeadlockDetectedError:
            # Rows are taken in the order of their keys, so this is not expected; writing again is safe.
            if attempt == _WRITE_TRIES - 1:
                raise
    raise AssertionError("unreachable")


async def _write_rows(events: Sequence[UsageEvent]) -> str:
    """Their rows as JSON, a few at a time: meanwhile others are served."""
    parts: list[bytes] = []
    for begin in range(0, len(events), _ROWS_AT_ONCE):
        rows = [_event_row(event) for event in events[begin : begin + _ROWS_AT_ONCE]]
        parts.append(msgspec.json.encode(rows)[1:-1])
        await asyncio.sleep(0)
    return f"[{b','.join(parts).decode()}]"


async def prepare_report(tx: Any) -> None:
    """Make this transaction one that sums up: what follows is planned for what is asked."""
    await tx.fetchval(query("prepare_report"))


async def query_usage(tx: Any, asked: UsageQuery, *, limit: int = 100_000) -> list[UsageRow]:
    """Sums of all users that the transaction may see."""
    rows = await tx.fetch(query("query_usage"), asked.start, asked.end, list(asked.group_by), limit, *_choice(asked))
    return [UsageRow(**row) for row in rows]


async def query_usage_total(tx: Any, asked: UsageQuery, *, limit: int = 100_000) -> list[UsageRow]:
    """Sums of everybody, for the role `ownkey_admin`, where the query names no people."""
    choice = (asked.provider, asked.model, asked.task, asked.payer)
    rows = await tx.fetch(query("query_usage_total"), asked.start, asked.end, list(asked.group_by), limit, *choice)
    return [UsageRow(**row) for row in rows]


async def query_usage_spans(tx: Any, asked: UsageQuery, *, limit: int = 100_000) -> list[UsageRow]:
    """Sums of everybody by user, for the role `ownkey_admin`, where the query asks for people alone."""
    days, first_days = tile(asked.start, asked.end)
    rows = await tx.fetch(
        query("query_usage_spans"), days, first_days, list(asked.group_by), limit, asked.payer, asked.user_id
    )
    return [UsageRow(**row) for row in rows]


def tile(start: date, end: date) -> tuple[list[int], list[date]]:
    """The fewest spans that make up these days, both ends included: how many days each has, and its first day."""
    days, first_days = list[int](), list[date]()
    begin, behind = (start - _EPOCH).days, (end - _EPOCH).days + 1
    while begin < behind:
        days.append(next(days for days in _SPAN_DAYS if begin % days == 0 and begin + days <= behind))
        first_days.append(_EPOCH + timedelta(days=begin))
        begin += days[-1]
    return days, first_days


async def measure_calls(tx: Any, asked: UsageQuery) -> list[Latencies]:
    """From the single calls, exactly. Reads each of them: some 50 ms for 40,000."""
    rows = await tx.fetch(query("measure_calls"), asked.start, asked.end, list(asked.group_by), *_choice(asked))
    return [Latencies(**row) for row in rows]


async def measure_days(tx: Any, asked: UsageQuery) -> list[DayLatencies]:
    """The daily histograms, which stay when the single calls are gone."""
    rows = await tx.fetch(query("measure_days"), asked.start, asked.end, list(asked.group_by), *_choice(asked))
    return [DayLatencies(**row) for row in rows]


async def measure_days_total(tx: Any, asked: UsageQuery) -> list[DayLatencies]:
    """Those of everybody, for the role `ownkey_admin`, where the query names no people."""
    choice = (asked.provider, asked.model, asked.task, asked.payer)
    rows = await tx.fetch(query("measure_days_total"), asked.start, asked.end, list(asked.group_by), *choice)
    return [DayLatencies(**row) for row in rows]


async def list_credential_labels(tx: Any, ids: Sequence[str]) -> dict[str, str]:
    """What these credentials are called, by id; those that were removed are missing."""
    rows = await tx.fetch(query("list_credential_labels"), [UUID(one) for one in ids])
    return {row["id"]: row["label"] for row in rows}


async def list_days(tx: Any, *, after: UsageDay | None = None, limit: int = 1000) -> list[UsageDay]:
    """The transaction's user's sums as they are stored, oldest first, those behind a given one."""
    start = after and (
        after.day,
        after.provider,
        after.model,
        after.task or "",
        UUID(after.credential_id) if after.credential_id else UUID(int=0),
        after.payer,
    )
    rows = await tx.fetch(query("list_usage_days"), *(start or (date.min, "", "", "", UUID(int=0), "")), limit)
    return [UsageDay(**row) for row in rows]


async def list_events(tx: Any, *, start: datetime, end: datetime, limit: int = 1000) -> list[UsageEvent]:
    """Single events from `start` to before `end`, the newest first."""
    return [_event(row) for row in await tx.fetch(query("list_usage_events"), start, end, limit)]


async def ensure_partitions(db: Database, months: int = 3) -> int:
    """Make the partitions for the months ahead; says how many were missing. Raises StorageError."""
    return int(await db.fetch_value("ensure_usage_partitions", months))


async def drop_old_usage(db: Database, months: int) -> int:
    """Drop the events of months that ended that many months ago; says how many partitions went. Raises StorageError.

    This month and the one before stay whatever is asked for, and so do all daily sums.
    """
    return int(await db.fetch_value("drop_old_usage", months))


def _choice(asked: UsageQuery) -> tuple[object, ...]:
    credential = UUID(asked.credential_id) if asked.credential_id else None
    return asked.provider, asked.model, asked.task, credential, asked.payer, asked.user_id


def _event_row(event: UsageEvent) -> dict[str, object]:
    if not is_record_id(event.id):
        raise ValueError("a usage event's id is a UUID")
    tokens = event.tokens or _NO_TOKENS
    occurred_at = event.occurred_at
    if occurred_at.tzinfo is None:
        occurred_at = occurred_at.replace(tzinfo=UTC)
    row: dict[str, Any] = {
        "id": event.id,
        "occurred_at": occurred_at,
        "request_id": event.request_id,
        "user_id": event.user_id,
        "attempt": event.attempt,
        "task": event.task,
        "provider": event.provider,
        "model": event.model,
        "requested_model": event.requested_model,
        "credential_id": event.credential_id if event.credential_id and is_record_id(event.credential_id) else None,
        "payer": event.payer,
        "operation": event.operation,
        "streamed": event.streamed,
        "outcome": event.outcome,
        "http_status": event.http_status,
        "input_uncached": tokens.input_uncached,
        "cache_read": tokens.cache_read,
        "cache_write": tokens.cache_write,
        "output_text": tokens.output_text,
        "output_reasoning": tokens.output_reasoning,
        "tokens_source": event.tokens_source,
        "raw_usage": event.raw_usage[:_RAW_LIMIT] if event.raw_usage is not None else None,  # Base64 in JSON
        "service_tier": event.service_tier,
        "fallback": event.fallback,
        "cost_microdollars": event.cost_microdollars,
        "cost_source": event.cost_source,
        "price_version": event.price_version,
        "duration_ms": event.duration_ms,
        "first_byte_ms": event.first_byte_ms,
        "provider_request_id": event.provider_request_id,
        "finish_reason": event.finish_reason,
        "skipped": event.skipped or None,
    }
    if not _fits(row):
        _cut(row)
    return row


def _fits(row: dict[str, Any]) -> bool:
    """Whether PostgreSQL can store a row as it is. All at once: most often there is nothing to cut."""
    texts = "".join(filter(None, _take_texts(row)))
    numbers = [*filter(None, _take_numbers(row)), 0]
    return (
        len(texts) <= _TEXT_LIMIT
        and texts.isascii()
        and "\x00" not in texts
        and min(numbers) >= 0
        and max(numbers) <= _SMALL_LIMIT
    )


def _cut(row: dict[str, Any]) -> None:
    for name in _TEXTS:
        if row[name] is not None:
            row[name] = row[name][:_TEXT_LIMIT].replace("\x00", "").encode("utf-8", "replace").decode()
    for name in _NUMBERS:
        if row[name] is not None:
            limit = _SMALL_LIMIT if name in _SMALL_NUMBERS else _COUNT_LIMIT
            row[name] = max(0, min(row[name], limit))


def _event(row: Any) -> UsageEvent:
    values = dict(row)
    tokens = Tokens(**{name: values.pop(name) for name in Tokens.__struct_fields__})
    source = TokensSource(values.pop("tokens_source"))
    return UsageEvent(
        **{
            **values,
            "payer": Payer(values["payer"]),
            "outcome": Outcome(values["outcome"]),
            "tokens": tokens if source is not TokensSource.NONE else None,
            "tokens_source": source,
            "cost_source": CostSource(values["cost_source"]) if values["cost_source"] else None,
            "skipped": read_skipped(values["skipped"]),
        }
    )


def read_skipped(stored: str | None) -> tuple[SkippedHop, ...]:
    """The hops that an event tells were left out."""
    return () if stored is None else _SKIPPED.decode(stored)
