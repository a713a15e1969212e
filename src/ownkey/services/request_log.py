"""A user's latest requests: what was tried for each, in order, and what became of it. No text of anybody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Final

from msgspec import Struct

from ownkey.domain.settings import Payer
from ownkey.domain.usage import CostSource, Outcome, is_record_id
from ownkey.errors import NotFound
from ownkey.services.changes import Changes
from ownkey.services.csv_table import write_table
from ownkey.services.expiry import utc_now
from ownkey.services.usage_report import check_record_id, read_range
from ownkey.storage import requests as rows
from ownkey.storage.requests import LoggedAttempt, RequestQuery

PAGE_LIMIT: Final = 200
EXPORT_LIMIT: Final = 10_000
_EXPORT_PAGE: Final = 1_000

_COLUMNS: Final = (
    "request_id",
    "occurred_at",
    "attempt",
    "operation",
    "task",
    "requested_model",
    "streamed",
    "provider",
    "model",
    "payer",
    "credential_id",
    "credential_label",
    "fallback",
    "outcome",
    "http_status",
    "input_uncached",
    "cache_read",
    "cache_write",
    "output_text",
    "output_reasoning",
    "tokens_source",
    "service_tier",
    "cost_microdollars",
    "cost_source",
    "price_version",
    "duration_ms",
    "first_byte_ms",
    "finish_reason",
    "provider_request_id",
    "skipped",
)


class LoggedRequest(Struct, frozen=True, kw_only=True):
    """One request. Provider, model, payer and outcome are those of the last attempt, which the client saw.

    `cost_microdollars` covers the priced attempts and is None where none has a known price; `cost_source` is that of
    the least certain one of them. `duration_ms` is from the first attempt's begin to the last one's end.
    """

    id: str
    occurred_at: datetime
    operation: str
    task: str | None
    requested_model: str
    streamed: bool
    provider: str
    model: str
    payer: Payer
    outcome: Outcome
    duration_ms: int
    cost_microdollars: int | None
    cost_source: CostSource | None
    attempts: tuple[LoggedAttempt, ...]


class RequestLog:
    """Newest first, in pages: `before` is the id of the last request of the page before.

    Requests are those of which an attempt is as asked: by day (UTC, both ends included), provider, model, task,
    credential_id, payer or outcome, of which "error" stands for every one but ok and client_gone.
    """

    def __init__(self, changes: Changes, *, now: Callable[[], datetime] = utc_now) -> None:
        self._changes, self._now = changes, now

    async def list_requests(
        self,
        user_id: str,
        *,
        limit: int = 50,
        before: str | None = None,
        start: date | None = None,
        end: date | None = None,
        **choice: str | None,
    ) -> list[LoggedRequest]:
        """One page of the user's requests, each with all its attempts. Raises RequestError."""
        asked = self._read(start, end, choice)
        async with self._changes.read(user_id) as tx:
            return _assemble(await rows.list_requests(tx, asked, limit=min(limit, PAGE_LIMIT), before=before))

    async def get_request(self, user_id: str, request_id: str) -> LoggedRequest:
        """One of the user's requests. Raises NotFound."""
        found: list[LoggedRequest] = []
        if is_record_id(request_id):
            async with self._changes.read(user_id) as tx:
                found = _assemble(await rows.find_request(tx, request_id))
        if not found:
            raise NotFound(
                "There is no such request, or what is known of it was deleted by now. A request that was refused "
                "before any provider was called is not kept: its answer said why."
            )
        return found[0]

    async def export(
        self, user_id: str, *, start: date | None = None, end: date | None = None, **choice: str | None
    ) -> list[LoggedRequest]:
        """All of the user's requests that are as asked, at most EXPORT_LIMIT. Raises RequestError."""
        asked = self._read(start, end, choice)
        found: list[LoggedRequest] = []
        while len(found) < EXPORT_LIMIT:
            # Page by page: no transaction stays open for long.
            async with self._changes.read(user_id) as tx:
                before = found[-1].id if found else None
                page = _assemble(await rows.list_requests(tx, asked, limit=_EXPORT_PAGE, before=before))
            found += page
            if len(page) < _EXPORT_PAGE:
                break
        return found

    def _read(self, start: date | None, end: date | None, choice: dict[str, Any]) -> RequestQuery:
        check_record_id(choice.get("credential_id"), "credential_id")
        if start is None and end is None:
            return RequestQuery(**choice)
        start, end = read_range(start, end, today=self._now().date())
        return RequestQuery(
            start=datetime.combine(start, time(), UTC),
            end=datetime.combine(end, time(), UTC) + timedelta(days=1) if end < date.max else None,
            **choice,
        )


def write_requests_csv(requests: Sequence[LoggedRequest]) -> str:
    """One line per attempt. Text that a spreadsheet would run as a formula gets a quote in front."""
    attempts = (attempt for request in requests for attempt in request.attempts)
    return write_table(_COLUMNS, ([_cell(one, name) for name in _COLUMNS] for one in attempts))


def _cell(attempt: LoggedAttempt, name: str) -> object:
    if name == "skipped":
        return ", ".join(f"{hop.provider} {hop.payer} {hop.reason}" for hop in attempt.skipped)
    return getattr(attempt, name)


def _assemble(found: Sequence[LoggedAttempt]) -> list[LoggedRequest]:
    return [_describe(request_id, tuple(group)) for request_id, group in groupby(found, lambda one: one.request_id)]


def _describe(request_id: str, attempts: tuple[LoggedAttempt, ...]) -> LoggedRequest:
    first, last = attempts[0], attempts[-1]
    ended_at = max(one.occurred_at + timedelta(milliseconds=one.duration_ms) for one in attempts)
    costs = [one.cost_microdollars for one in attempts if one.cost_microdollars is not None]
    sources = {one.cost_source for one in attempts}
    return LoggedRequest(
        id=request_id,
        occurred_at=first.occurred_at,
        operation=last.operation,
        task=last.task,
        requested_model=last.requested_model,
        streamed=last.streamed,
        provider=last.provider,
        model=last.model,
        payer=last.payer,
        outcome=last.outcome,
        duration_ms=round((ended_at - first.occurred_at) / timedelta(milliseconds=1)),
        cost_microdollars=sum(costs) if costs else None,
        cost_source=next((one for one in reversed(CostSource) if one in sources), None),
        attempts=attempts,
    )
