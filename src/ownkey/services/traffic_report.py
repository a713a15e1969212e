"""What administrators see of the traffic: how providers answer, where requests fall, who uses the operator's keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from msgspec import Struct

from ownkey.services.changes import Changes
from ownkey.services.csv_table import write_table
from ownkey.services.expiry import utc_now
from ownkey.services.usage_report import read_range
from ownkey.storage import traffic as rows
from ownkey.storage.traffic import ProviderMeasure, SharedUse

MEASURED: Final = timedelta(hours=1)
_LIMIT: Final = 1000


class Fallback(Struct, frozen=True, kw_only=True):
    """How often requests fell from one hop to another, and because of which errors."""

    from_provider: str
    from_payer: str
    to_provider: str
    to_payer: str
    requests: int
    answered: int
    errors: dict[str, int]
    last_at: datetime


class TrafficReport:
    """Read-only. Whether somebody may ask is the caller's to check."""

    def __init__(self, changes: Changes, *, now: Callable[[], datetime] = utc_now) -> None:
        self._changes, self._now = changes, now

    async def measure_providers(self, admin_id: str) -> dict[str, ProviderMeasure]:
        """How each provider answered everybody's calls in the last hour, whichever process made them."""
        async with self._changes.oversee(admin_id) as tx:
            return await rows.measure_providers(tx, self._now() - MEASURED)

    async def list_fallbacks(
        self, admin_id: str, *, start: date | None = None, end: date | None = None
    ) -> list[Fallback]:
        """The most frequent first, over whole UTC days, both included. Raises RequestError."""
        start, end = read_range(start, end, today=self._now().date())
        async with self._changes.oversee(admin_id) as tx:
            causes = await rows.list_fallbacks(tx, start, end, limit=_LIMIT)
        found: dict[tuple[str, str, str, str], Fallback] = {}
        for one in causes:
            hops = (one.from_provider, one.from_payer, one.to_provider, one.to_payer)
            before = found.get(hops)
            found[hops] = Fallback(
                from_provider=one.from_provider,
                from_payer=one.from_payer,
                to_provider=one.to_provider,
                to_payer=one.to_payer,
                requests=one.requests + (before.requests if before else 0),
                answered=one.answered + (before.answered if before else 0),
                errors={**(before.errors if before else {}), one.error: one.requests},
                last_at=max(one.last_at, before.last_at) if before else one.last_at,
            )
        return sorted(found.values(), key=lambda one: -one.requests)

    async def list_shared_users(
        self, admin_id: str, *, start: date | None = None, end: date | None = None
    ) -> list[SharedUse]:
        """The most expensive first, over whole UTC days, both included. Raises RequestError."""
        start, end = read_range(start, end, today=self._now().date())
        async with self._changes.oversee(admin_id) as tx:
            return await rows.list_shared_users(tx, start, end, limit=_LIMIT)


def write_shared_users_csv(users: Sequence[SharedUse]) -> str:
    """One line per user."""
    columns = tuple(name for name in SharedUse.__struct_fields__ if name != "providers")
    lines = ((*(getattr(one, name) for name in columns), " ".join(one.providers)) for one in users)
    return write_table((*columns, "providers"), lines)
