"""What an administrator watches: users and the health of providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from ownkey.domain.provider import Provider
from ownkey.domain.routing import shared_credential_id
from ownkey.services.changes import Changes
from ownkey.services.csv_table import write_table
from ownkey.services.expiry import utc_now
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.usage_report import DEFAULT_DAYS
from ownkey.storage import overview
from ownkey.storage.overview import UserOverview
from ownkey.upstream.health import HealthBoard


class ProviderHealth(Struct, frozen=True, kw_only=True):
    """A provider as this process sees it. None: nothing is known to be wrong."""

    provider: str
    label: str
    allowed: bool
    shared_key: bool
    down_until: datetime | None
    shared_key_blocked_until: datetime | None


USERS_EXPORT_LIMIT: Final = 100_000


class Oversight:
    """Read-only, and without a way to any secret. Whether somebody may ask is the caller's to check."""

    def __init__(
        self,
        changes: Changes,
        *,
        catalog: Mapping[str, Provider],
        policies: PolicyBoard,
        health: HealthBoard,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._now = now
        self._changes = changes
        self._catalog, self._policies, self._health = catalog, policies, health

    async def list_users(
        self, admin_id: str, *, after: str = "", limit: int = 100, holding: str | None = None
    ) -> list[UserOverview]:
        """A page of users by id, with the status of their credentials per provider and their last 30 days.

        `holding` leaves only those whose id, login or name holds this text.
        """
        since = self._now().date() - timedelta(days=DEFAULT_DAYS - 1)
        async with self._changes.oversee(admin_id) as tx:
            return await overview.list_overviews(tx, since=since, after=after, limit=limit, holding=holding)

    def list_health(self) -> list[ProviderHealth]:
        """Every provider as this process has met it lately."""
        policy = self._policies.current
        return [
            ProviderHealth(
                provider=one.id,
                label=one.label,
                allowed=policy.allows(one.id),
                shared_key=one.id in policy.shared,
                down_until=self._health.find_down_until(one.base_url),
                shared_key_blocked_until=self._health.credential_blocked_until(shared_credential_id(one.id)),
            )
            for one in self._catalog.values()
        ]


def write_users_csv(users: Sequence[UserOverview]) -> str:
    """One line per user; `keys` lists provider, status and number."""
    columns = tuple(name for name in UserOverview.__struct_fields__ if name != "credentials")
    lines = (
        (
            *(_text(getattr(one, name)) for name in columns),
            " ".join(f"{held.provider}:{held.status}:{held.count}" for held in one.credentials),
        )
        for one in users
    )
    return write_table((*columns, "keys"), lines)


def _text(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
