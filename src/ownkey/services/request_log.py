"""A user's latest requests: what was tried for each, in order, and what became of it. No text of anybody."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from msgspec import Struct

from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome
from ownkey.services.changes import Changes
from ownkey.storage import requests as rows
from ownkey.storage.requests import LoggedAttempt

PAGE_LIMIT: Final = 200


class LoggedRequest(Struct, frozen=True, kw_only=True):
    """One request. Provider, model, payer and outcome are those of the last attempt, which the client saw.

    `cost_microdollars` covers the priced attempts and is None where none has a known price. `duration_ms` is from the
    first attempt's begin to the last one's end.
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
    attempts: tuple[LoggedAttempt, ...]


class RequestLog:
    """Newest first, in pages: `before` is the id of the last request of the page before."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def list_requests(
        self,
        user_id: str,
        *,
        limit: int = 50,
        before: str | None = None,
        provider: str | None = None,
        task: str | None = None,
        outcome: str | None = None,
    ) -> list[LoggedRequest]:
        """The user's requests of which an attempt is as asked, each with all its attempts.

        `outcome` "error" stands for every outcome but ok and client_gone.
        """
        async with self._changes.read(user_id) as tx:
            found = await rows.list_requests(
                tx, limit=min(limit, PAGE_LIMIT), before=before, provider=provider, task=task, outcome=outcome
            )
        return [_assemble(request_id, tuple(group)) for request_id, group in groupby(found, lambda one: one.request_id)]


def _assemble(request_id: str, attempts: tuple[LoggedAttempt, ...]) -> LoggedRequest:
    first, last = attempts[0], attempts[-1]
    ended_at = max(one.occurred_at + timedelta(milliseconds=one.duration_ms) for one in attempts)
    costs = [one.cost_microdollars for one in attempts if one.cost_microdollars is not None]
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
        attempts=attempts,
    )
