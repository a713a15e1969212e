"""Routing with what it needs besides the user's snapshot, and without doing the same work twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from ownkey.domain.policy import Policy
from ownkey.domain.provider import Provider
from ownkey.domain.routing import Route, RouteRequest, attempts
from ownkey.domain.settings import Snapshot
from ownkey.services.policy_board import PolicyBoard
from ownkey.upstream.health import HealthBoard, HealthView

_USERS_LIMIT: Final = 10_000
_ROUTES_PER_USER_LIMIT: Final = 64


class Router:
    """The chain for a request, now.

    While nothing is broken and no date is involved, the chain follows from snapshot, request, policy and catalogue,
    which are all immutable: then it is kept, for as long as these are the current ones.
    """

    def __init__(self, *, catalog: Mapping[str, Provider], policies: PolicyBoard, health: HealthBoard) -> None:
        self.catalog, self.policies, self.health = catalog, policies, health
        policies.follow(self.forget_all)
        self._view = HealthView(health)
        self._kept: dict[str, tuple[Snapshot, dict[RouteRequest, Route]]] = {}

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.policies.current

    def route(self, snapshot: Snapshot, request: RouteRequest) -> Route:
        """The attempts to make, in order, and the hops that are left out. Raises RequestError."""
        if not self.health.calm:
            return self._work_out(snapshot, request)
        kept = self._kept.get(snapshot.user_id)
        if kept is None or kept[0] is not snapshot:
            kept = self._keep(snapshot)
        route = kept[1].get(request)
        if route is None:
            route = self._work_out(snapshot, request)
            if len(kept[1]) < _ROUTES_PER_USER_LIMIT and not _depends_on_time(snapshot):
                kept[1][request] = route
        return route

    def forget(self, user_id: str) -> None:
        """Let go of what is kept for a user: their snapshot was dropped."""
        self._kept.pop(user_id, None)

    def forget_all(self) -> None:
        """Let go of everything: policy or catalogue are other ones."""
        self._kept.clear()

    def _keep(self, snapshot: Snapshot) -> tuple[Snapshot, dict[RouteRequest, Route]]:
        while len(self._kept) >= _USERS_LIMIT:
            del self._kept[next(iter(self._kept))]
        kept = self._kept[snapshot.user_id] = (snapshot, {})
        return kept

    def _work_out(self, snapshot: Snapshot, request: RouteRequest) -> Route:
        return attempts(
            snapshot,
            request,
            catalog=self.catalog,
            policy=self.policies.current,
            health=self._view,
            now=datetime.now(UTC),
        )


def _depends_on_time(snapshot: Snapshot) -> bool:
    return any(one.expires_at is not None or one.status_until is not None for one in snapshot.credentials)
